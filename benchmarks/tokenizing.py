"""Tokenizing beside reading, the Dolma toolkit, and a loop over `encode_batch_fast` that writes the same."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zstandard

from benchmarks import data, peers
from benchmarks.measure import Measured, best_of, command, ours, table

TOKENIZERS = {"GPT-NeoX/OLMo": "allenai_gpt-neox-olmo-dolma-v1_5.json", "dolma2": "allenai_dolma2.json"}
EOS = "<|endoftext|>"
PEER_BYTES = 40_000_000
LOOP_BATCH = 1000
ROUNDS = 3
SHARD_BYTES = 32_000_000


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        work = Path(name)
        whole, small = lay_out(work / "whole"), lay_out(work / "small", PEER_BYTES, "gz")
        runs: dict[str, Callable[[], Measured]] = {
            "read and parse": lambda: ours("read", data=whole),
            "read and parse, zstandard + msgspec": lambda: ours("read_plainly", folder=whole),
        }
        for label, file in TOKENIZERS.items():
            for name, task in (("gigatoken alone", "encode"), ("tokenize", "tokenize")):
                settings = _settings(file, whole, work / f"{task} {file}")
                runs[f"{name}, {label}"] = lambda task=task, settings=settings: ours(task, **settings)
        found = best_of(ROUNDS, runs)
        reading, plainly = (found[name] for name in list(runs)[:2])
        rows = [
            [
                name, one.said["bytes"] / 1e6 / one.seconds, one.seconds / reading.seconds,
                one.cpu / reading.cpu, one.cpu / plainly.cpu, one.peak_mb,
            ]
            for name, one in found.items()
        ]  # fmt: skip
        table(
            "One process, the whole corpus; beside reading by the clock, and by time of the processor",
            ["task", "MB/s of text", "x reading", "x reading, CPU", "x reading plainly, CPU", "peak MB"], rows,
        )  # fmt: skip
        _beside_others(work, small)


def _settings(file: str, folder: str, to: Path) -> dict[str, Any]:
    tokenizer = str(data.corpus() / "tokenizers" / file)
    return {"datasets": [folder], "tokenizer": tokenizer, "to": str(to), "eos": EOS}


def lay_out(to: Path, limit: int | None = None, ending: str = "zst") -> str:
    """The corpus as shards of 32 MB; with a limit, so many bytes of it, the beginning of every file."""
    (to / "documents").mkdir(parents=True)
    paths = sorted((data.corpus() / "corpus").glob("*/documents/*"))
    share = None if limit is None else limit // len(paths)
    texts = [data.read(path)[:share] for path in paths]
    lines = b"".join(text[: text.rfind(b"\n") + 1] for text in texts)
    compress = zstandard.ZstdCompressor(3).compress if ending == "zst" else gzip.compress
    number = start = 0
    while start < len(lines):
        end = lines.find(b"\n", min(start + SHARD_BYTES, len(lines) - 1)) + 1
        (to / "documents" / f"{number:03}.jsonl.{ending}").write_bytes(compress(lines[start:end]))
        number, start = number + 1, end
    return str(to)


def _beside_others(work: Path, folder: str) -> None:
    size = ours("read", data=folder).said["bytes"] / 1e6
    rows: list[list[object]] = []
    for label, file in TOKENIZERS.items():
        mine = ours("tokenize", **_settings(file, folder, work / f"small {file}"))
        dolma = _dolma_tokens(work, folder, file)
        loop = ours("encode_loop", folder=folder, tokenizer=str(data.corpus() / "tokenizers" / file), to=str(work))
        busy = [found.cpu for found in (mine, dolma, loop)]
        ratios = [dolma.seconds / mine.seconds, loop.seconds / mine.seconds, busy[1] / busy[0], busy[2] / busy[0]]
        rows.append([label, size / mine.seconds, size / dolma.seconds, size / loop.seconds, *ratios])
    header = ["tokenizer", "MB/s", "Dolma MB/s", "loop MB/s", "x Dolma", "x loop", "x Dolma, CPU", "x loop, CPU"]
    table("Beside others, one process, the same files; by the clock, and by time of the processor", header, rows)


def _dolma_tokens(work: Path, folder: str, file: str) -> Measured:
    """`dolma tokens`, without the time its process takes to start; it must have written something."""
    tokenizer, to = data.corpus() / "tokenizers" / file, work / f"dolma {file}"
    ids = {token["content"]: token["id"] for token in json.loads(tokenizer.read_text())["added_tokens"]}
    width = "uint32" if "dolma2" in file else "uint16"
    dolma = str(peers.environment("dolma") / "dolma")
    found = command(
        [
            dolma, "tokens", "--documents", f"{folder}/documents/*.gz", "--destination", str(to),
            "--tokenizer.name_or_path", str(tokenizer), "--tokenizer.eos_token_id", str(ids[EOS]),
            "--tokenizer.pad_token_id", str(ids[EOS]), "--dtype", width, "--processes", "1",
        ]
    )  # fmt: skip
    rows = sum(gzip.decompress(path.read_bytes()).count(b"\n") for path in to.glob("*.csv.gz"))
    if not rows:  # it ends with status 0 when it could not read its input
        sys.exit(f"dolma tokens wrote no documents of {folder}")
    start = command([dolma, "tokens", "--help"])
    return Measured(found.seconds - start.seconds, found.peak_mb, {}, found.cpu - start.cpu)


class _Document(msgspec.Struct):
    id: str
    text: str


def read_plainly(folder: str) -> dict[str, Any]:
    """What one would write by hand: lines of a zstandard stream, decoded by msgspec; texts as UTF-8."""
    decoder = msgspec.json.Decoder(_Document)
    started, busy, size = time.perf_counter(), time.process_time(), 0
    for path in sorted(Path(folder, "documents").iterdir()):
        with path.open("rb") as stored:
            lines = io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(stored), 1 << 20)
            size += sum(len(decoder.decode(line).text.encode()) for line in lines)
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - busy, "bytes": size}


def encode_loop(folder: str, tokenizer: str, to: str) -> dict[str, Any]:
    """What one would write by hand: lines, `encode_batch_fast`, an array of ids and the documents' places."""
    import tokenizers

    encoder = tokenizers.Tokenizer.from_file(tokenizer)
    eos = encoder.token_to_id(EOS)
    started, busy, size, at = time.perf_counter(), time.process_time(), 0, 0
    with (Path(to) / "loop.npy").open("wb") as out, gzip.open(Path(to) / "loop.csv.gz", "wt", 2) as places:
        rows = csv.writer(places)
        for path in sorted(Path(folder, "documents").iterdir()):
            documents = [json.loads(line) for line in data.read(path).splitlines()]
            for first in range(0, len(documents), LOOP_BATCH):
                batch = documents[first : first + LOOP_BATCH]
                encodings = encoder.encode_batch_fast([one["text"] for one in batch], add_special_tokens=False)
                for number, (one, encoding) in enumerate(zip(batch, encodings, strict=True)):
                    ids = np.array([*encoding.ids, eos], np.uint32)
                    out.write(ids.tobytes())
                    rows.writerow((at, at + len(ids), one["id"], path.name, first + number + 1))
                    at += len(ids)
                    size += len(one["text"].encode())
    return {"seconds": time.perf_counter() - started, "cpu": time.process_time() - busy, "bytes": size}


def encode(datasets: list[str], tokenizer: str, eos: str, to: str) -> dict[str, Any]:
    """gigatoken alone: every batch encoded, nothing written; reading is not timed. `to` is not used."""
    from dolma_pipe.shards import DocumentReader, document_shards
    from dolma_pipe.tokenizer import identify, open_tokenizer

    encoder = open_tokenizer(identify(tokenizer, eos=eos))
    seconds, busy, size = 0.0, 0.0, 0
    for shard in document_shards(datasets[0]):
        for batch in DocumentReader(shard):
            started, before = time.perf_counter(), time.process_time()
            encoder.encode(batch.data, batch.offsets)
            seconds, busy = seconds + time.perf_counter() - started, busy + time.process_time() - before
            size += len(batch.data)
    return {"seconds": seconds, "cpu": busy, "bytes": size}
