"""Fixtures that every test may use: data sets made by hand, and the real corpus where there is one."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from handmade import encode_lines, store
from hypothesis import settings

from dolma_pipe.storage import s3

MakeDataset = Callable[..., str]

settings.register_profile("compiling", deadline=None)  # the first example may compile a kernel
settings.load_profile("compiling")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A file's tests share its fixtures, so one worker runs them; but pages of the documentation are long, and each by
    itself. Leave out, and say so, what this machine lacks the means for; .ci/run sees to it that nothing is."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.name if item.path.stem == "test_docs" else str(item.path)))
    lacking = {
        "corpus": "" if os.environ.get("DOLMA_PIPE_CORPUS") else "read real data: set DOLMA_PIPE_CORPUS to its folder",
        "chromium": "" if shutil.which("chromium") else "need a browser: apt-get install chromium",
        "kenlm": "" if importlib.util.find_spec("kenlm") else "need kenlm: pip install 'dolma_pipe[perplexity]'",
    }
    for marker, why in lacking.items():
        left_out = [item for item in items if why and item.get_closest_marker(marker)]
        if left_out:
            config.hook.pytest_deselected(items=left_out)
            items[:] = [item for item in items if item not in left_out]
            print(f"{len(left_out)} tests were left out: they {why}")


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of a simulated s3 with one empty bucket."""
    import boto3
    from moto import mock_aws

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with mock_aws():
        monkeypatch.setattr(s3, "_client", None)
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield s3._connected()  # pyright: ignore[reportPrivateUsage]
        monkeypatch.setattr(s3, "_client", None)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The folder with real data (corpus/, tokenizers/, pii/ ...)."""
    return Path(os.environ["DOLMA_PIPE_CORPUS"])


@pytest.fixture
def make_dataset(tmp_path: Path) -> MakeDataset:
    """`make_dataset({"a.jsonl": [doc, ...]}, name="web")` writes a data set and gives its folder.

    A document may be a dict, or a text, which then gets an id.
    """

    def make(shards: dict[str, Iterable[Any]], name: str = "data") -> str:
        for shard, documents in shards.items():
            rows = [
                {"id": f"{shard}-{i}", "text": document} if isinstance(document, str) else document
                for i, document in enumerate(documents)
            ]
            store(tmp_path / name / "documents" / shard, encode_lines(rows))
        return str(tmp_path / name)

    return make
