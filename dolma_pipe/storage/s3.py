"""Objects of `s3://bucket/key`, for the room's other files."""

from __future__ import annotations

from typing import Any, NamedTuple

from dolma_pipe.errors import ConfigError, DataError, DependencyError


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
        except ImportError as error:
            raise DependencyError("boto3", "s3", "reading and writing s3://") from error
        _client = boto3.client("s3")
    return _client


def _split(path: str) -> tuple[str, str]:
    scheme, _, rest = path.partition("://")
    if scheme != "s3":
        raise ConfigError(f"{path}: {scheme}:// is not supported; use a local path or s3://")
    bucket, _, key = rest.partition("/")
    return bucket, key


def open_object(path: str, mode: str) -> Any:
    """A stream of an object; one that is written appears when it is closed, and does not when it is terminated."""
    client = _connected()
    from smart_open import open as smart_open

    try:
        return smart_open(path, mode, compression="disable", transport_params={"client": client})
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error}") from error


def stat(path: str) -> Object | None:
    bucket, key = _split(path)
    client = _connected()
    from botocore.exceptions import ClientError

    try:
        head = client.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound"):
            return None
        raise DataError(f"{path}: {error}") from error
    return Object(head["ContentLength"], head["ETag"].strip('"'))


def names(folder: str, limit: int | None = None) -> list[str]:
    """Names, relative to it, of all objects below a folder; about `limit` of them."""
    bucket, prefix = _split(folder.rstrip("/") + "/")
    pages = _connected().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found: list[str] = []
    for page in pages:
        found += [item["Key"][len(prefix) :] for item in page.get("Contents", ()) if item["Key"] != prefix]
        if limit is not None and len(found) >= limit:
            break
    return found


def remove(path: str) -> None:
    bucket, key = _split(path)
    _connected().delete_object(Bucket=bucket, Key=key)
