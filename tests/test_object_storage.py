"""Every stage on s3, simulated: what lies there is what lies in a folder, whatever happens on the way."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from handmade import encode_lines, store, tree_of
from mixes import mix_of
from tiny_tokenizers import write_tokenizer

from dolma_pipe import storage, streams
from dolma_pipe.config import convert
from dolma_pipe.errors import ConfigError, DataError
from dolma_pipe.execution import run_stage
from dolma_pipe.runners.local import Local
from dolma_pipe.stage import Stage
from dolma_pipe.stages.dedup import DedupConfig, dedup_stage
from dolma_pipe.stages.ingest import Ingest, IngestConfig
from dolma_pipe.stages.tag import Tag, TagConfig
from dolma_pipe.stages.tokenize import Tokenize, TokenizeConfig
from dolma_pipe.storage import s3

BUCKET = "s3://bucket"
PARAGRAPHS = [
    f"paragraph {number} says something that is long enough to be compared with others" for number in range(9)
]
RAW = {
    f"{shard}.jsonl": [
        {
            "id": f"{shard}-{i}",
            "text": "\n".join(PARAGRAPHS[(shard * 5 + i + j) % 9] for j in range(1 + i % 4)),
            "metadata": {"url": f"http://example.org/{(shard + i) % 11}"},
        }
        for i in range(8)
    ]
    for shard in range(3)
}


@pytest.fixture
def raw(tmp_path: Path, bucket: Any) -> Path:
    """Raw files and a tokenizer, in a folder and in the bucket."""
    home = tmp_path / "local"
    for name, documents in RAW.items():
        store(home / "raw" / name, encode_lines(documents))
    write_tokenizer(home / "tokenizer", merges=10)
    for name, data in tree_of(home).items():
        bucket.put_object(Bucket="bucket", Key=name, Body=data)
    return home


def stages(base: str, cache: str) -> Iterator[Stage]:
    """A whole pipeline below `base`; only what has to be mapped into memory lies in `cache`."""
    data = f"{base}/data"
    yield Ingest(IngestConfig(inputs=[f"{base}/raw"], to=data, shard_bytes=1000))
    yield Tag(TagConfig(datasets=[data], taggers=["length"]))
    for by in ("url", "text", "paragraph", "minhash"):
        yield dedup_stage(DedupConfig(datasets=[data], by=by))
    steps = [
        {"keep": {"long": "length.characters >= 80"}},
        {"dedup": {"by": "dedup_text"}},
        {"edit": {"remove": "dedup_paragraph.duplicate"}},
    ]
    sets = ["length", "dedup_text", "dedup_paragraph"]
    yield mix_of(f"{base}/mixed", {"name": "web", "dataset": data, "attributes": sets, "steps": steps})
    options = {"datasets": [f"{base}/mixed"], "to": f"{base}/tokens", "tokenizer": f"{base}/tokenizer/tokenizer.json"}
    yield Tokenize(convert({**options, "shard_tokens": 500, "cache": cache}, TokenizeConfig, "test"))


def run_all(base: str, cache: str) -> list[int]:
    """How many tasks each stage did."""
    return [run_stage(stage, Local(1)).done for stage in stages(base, cache)]


def objects(client: Any) -> dict[str, bytes]:
    """Every object as `tree_of` has files."""
    found: dict[str, bytes] = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
        for name in (item["Key"] for item in page.get("Contents", ())):
            if not {"runs", "stat"} & set(name.split("/")):
                data = client.get_object(Bucket="bucket", Key=name)["Body"].read()
                found[name] = streams.decompressed(f"{BUCKET}/{name}") if name.endswith((".zst", ".gz")) else data
    return found


def difference(one: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    return sorted(name for name in {*one, *other} if one.get(name) != other.get(name))


def test_a_pipeline_on_s3_writes_what_it_writes_in_a_folder_and_does_nothing_twice(
    raw: Path, bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_all(str(raw), str(tmp_path / "cache"))
    assert min(done) > 0
    with refusing(7, bucket, monkeypatch):
        assert run_all(BUCKET, str(tmp_path / "cache of s3")) == done
    assert difference(objects(bucket), tree_of(raw)) == []
    assert run_all(BUCKET, str(tmp_path / "cache of s3")) == [0] * len(done)


@contextlib.contextmanager
def refusing(nth: int, client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A service that wants to be asked again now and then, and drops some connections."""
    import time

    from botocore.awsrequest import AWSResponse
    from botocore.exceptions import ConnectionClosedError

    count = itertools.count(1)

    class Refusal:
        def stream(self) -> Iterator[bytes]:
            yield b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"

    def refuse(request: Any, **_: Any) -> AWSResponse | None:
        number = next(count)
        if number % (2 * nth) == 0:
            raise ConnectionClosedError(endpoint_url=request.url)
        return AWSResponse(request.url, 503, {}, Refusal()) if number % nth == 0 else None

    client.meta.events.register_first("before-send.s3", refuse)
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", lambda _: None)
        yield
    client.meta.events.unregister("before-send.s3", refuse)


@pytest.mark.parametrize("again", [1000, 3000], ids=["as before", "with larger shards"])
def test_a_run_killed_between_two_objects_is_finished_by_the_next(
    raw: Path, bucket: Any, monkeypatch: pytest.MonkeyPatch, again: int
) -> None:
    def ingest(to: str, shard_bytes: int) -> Ingest:
        return Ingest(IngestConfig(inputs=[f"{raw}/raw"], to=to, source="web", shard_bytes=shard_bytes))

    run_stage(ingest(f"{raw}/data", again), Local(1))
    expected = {name: data for name, data in tree_of(raw).items() if name.startswith("data/")}
    for step in (2, 5, 9, 14):
        with monkeypatch.context() as patch:
            kill_at(step, patch)
            with pytest.raises(KeyboardInterrupt):
                run_stage(ingest(f"{BUCKET}/killed-{step}/data", 1000), Local(1))
        run_stage(ingest(f"{BUCKET}/killed-{step}/data", again), Local(1))
        found = {
            name.partition("/")[2]: data for name, data in objects(bucket).items() if name.startswith(f"killed-{step}/")
        }
        assert difference(found, expected) == []


def kill_at(step: int, patch: pytest.MonkeyPatch) -> None:
    """The object number `step` that is begun, and all later ones, never appear."""
    count = itertools.count()

    def deadly(real: Any) -> Any:
        def act(*given: Any) -> Any:
            if given[-1] != "rb" and next(count) >= step:
                raise KeyboardInterrupt
            return real(*given)

        return act

    patch.setattr(s3, "put", deadly(s3.put))
    patch.setattr(s3, "open_object", deadly(s3.open_object))


def test_what_s3_refuses_is_one_line_that_names_the_object(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import EndpointConnectionError, NoCredentialsError

    with pytest.raises(DataError, match=r"s3://nowhere/data.*bucket does not exist"):
        storage.listing("s3://nowhere/data")
    with pytest.raises(ConfigError, match="s3:///data: names no bucket"):
        storage.stat("s3:///data")

    def fail(error: Exception) -> Any:
        def act(**_: Any) -> None:
            raise error

        return act

    gone = EndpointConnectionError(endpoint_url="http://localhost")
    for error, message in ((gone, "Could not connect"), (NoCredentialsError(), "no credentials .* set AWS_PROFILE")):
        with monkeypatch.context() as patch:
            for name in ("head_object", "put_object", "delete_object"):
                patch.setattr(bucket, name, fail(error))
            for act in (storage.stat, storage.remove, lambda path: storage.write_bytes(path, b"x")):
                with pytest.raises(DataError, match=f"s3://bucket/x: {message}"):
                    act(f"{BUCKET}/x")


def test_tokenize_says_at_once_what_it_needs_on_this_machine(raw: Path) -> None:
    options = {"datasets": [BUCKET], "to": f"{BUCKET}/tokens", "tokenizer": f"{raw}/tokenizer/tokenizer.json"}
    with pytest.raises(ConfigError, match=r"s3://bucket/tokens: .* give a local folder for them \(--set cache=DIR\)"):
        Tokenize(convert(options, TokenizeConfig, "test"))
