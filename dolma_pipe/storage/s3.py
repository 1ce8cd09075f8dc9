"""Objects of `s3://bucket/key`, for the room's other files.

A request that a service refuses for the moment (503 SlowDown, 500, a reset connection) is sent again, ten times in
all unless `AWS_MAX_ATTEMPTS` says otherwise, with growing pauses. What fails for good is one `DataError`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from dolma_pipe.errors import ConfigError, DataError, DependencyError

ATTEMPTS = 10


class Object(NamedTuple):
    """Size in bytes and ETag."""

    size: int
    stamp: str


_client: Any = None


def _connected() -> Any:
    global _client
    if _client is None:
        try:
            import boto3
            from botocore.config import Config
        except ImportError as error:
            raise DependencyError("boto3", "s3", "reading and writing s3://") from error
        own = {} if "AWS_MAX_ATTEMPTS" in os.environ else {"total_max_attempts": ATTEMPTS}
        mode = {} if "AWS_RETRY_MODE" in os.environ else {"mode": "standard"}
        _client = boto3.client("s3", config=Config(retries=own | mode))
    return _client


def _split(path: str) -> tuple[str, str]:
    scheme, _, rest = path.partition("://")
    if scheme != "s3":
        raise ConfigError(f"{path}: {scheme}:// is not supported; use a local path or s3://")
    bucket, _, key = rest.partition("/")
    if not bucket:
        raise ConfigError(f"{path}: names no bucket; expected s3://BUCKET/KEY")
    return bucket, key


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """What the service or the way to it refuses, as one line that names the object."""
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
    from urllib3.exceptions import HTTPError

    try:
        yield
    except NoCredentialsError as error:
        hint = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        raise DataError(f"{path}: no credentials for s3 were found; {hint}") from error
    except (BotoCoreError, ClientError, HTTPError, OSError) as error:
        raise DataError(f"{path}: {' '.join(str(error).split())}") from error


class _Stream:
    """smart_open's stream of one object, whose errors name it."""

    def __init__(self, path: str, stream: Any) -> None:
        self._path, self._stream = path, stream

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._stream, name)
        if not callable(found):
            return found

        def told(*given: Any) -> Any:
            with _named(self._path):
                return found(*given)

        self.__dict__[name] = told
        return told

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[bytes]:
        with _named(self._path):
            yield from self._stream


def open_object(path: str, mode: str) -> Any:
    """A stream of an object; one that is written appears when it is closed, and does not when it is terminated."""
    client = _connected()
    from smart_open import open as smart_open

    with _named(path):
        opened = smart_open(path, mode, compression="disable", transport_params={"client": client})
        return _Stream(path, opened)


def get(path: str) -> bytes | None:
    """A whole object, None where there is none; a body that breaks off is asked for again."""
    bucket, key = _split(path)
    client = _connected()
    from botocore.exceptions import BotoCoreError
    from urllib3.exceptions import HTTPError

    with _named(path):
        for left in reversed(range(ATTEMPTS)):
            try:
                return client.get_object(Bucket=bucket, Key=key)["Body"].read()
            except client.exceptions.NoSuchKey:
                return None
            except (BotoCoreError, HTTPError, OSError):
                if not left:
                    raise
    raise AssertionError  # the last attempt has returned or raised


def put(path: str, data: bytes) -> None:
    """Write a small object, in one request."""
    bucket, key = _split(path)
    client = _connected()
    with _named(path):
        client.put_object(Bucket=bucket, Key=key, Body=data)


def stat(path: str) -> Object | None:
    bucket, key = _split(path)
    if not key:
        return None
    client = _connected()
    from botocore.exceptions import ClientError

    with _named(path):
        try:
            head = client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
                return None
            raise
    return Object(head["ContentLength"], head["ETag"].strip('"'))


def names(folder: str, limit: int | None = None) -> list[str]:
    """Names, relative to it, of all objects below a folder; about `limit` of them."""
    bucket, prefix = _split(folder.rstrip("/") + "/")
    client = _connected()
    found: list[str] = []
    with _named(folder):
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
            keys = [item["Key"][len(prefix) :] for item in page.get("Contents", ())]
            found += [key for key in keys if key and not key.endswith("/")]  # consoles make empty "folder" objects
            if limit is not None and len(found) >= limit:
                break
    return found


def remove(path: str) -> None:
    bucket, key = _split(path)
    client = _connected()
    with _named(path):
        client.delete_object(Bucket=bucket, Key=key)
