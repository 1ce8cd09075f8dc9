"""Published mixes as files: they resolve over attributes as the taggers of that name write them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import MakeDataset
from mixes import CLUSTERS, SPANS, measure

from dolma_pipe.config import bundled, convert, read_yaml
from dolma_pipe.stages.mix import Mix, MixConfig
from dolma_pipe.stages.mix.source import Source
from dolma_pipe.tagger import load

PILE_WEIGHTS = {
    "pile_cc": 18.11, "pubmed_central": 14.40, "books3": 12.07, "openwebtext2": 10.01, "arxiv": 8.96, "github": 7.59,
    "freelaw": 6.12, "stackexchange": 5.13, "uspto": 3.65, "pubmed_abstracts": 3.07, "gutenberg_pg_19": 2.17,
    "opensubtitles": 1.55, "wikipedia_en": 1.53, "dm_mathematics": 1.24, "ubuntu_irc": 0.88, "bookcorpus2": 0.75,
    "europarl": 0.73, "hackernews": 0.62, "youtubesubtitles": 0.60, "philpapers": 0.38, "nih_exporter": 0.30,
    "enron": 0.14,
}  # fmt: skip
DEDUPS: dict[str, dict[str, pa.DataType]] = {"dedup_paragraph": {"duplicate": SPANS}}
OPTIONS: dict[str, Any] = {name: {"name": name, "use": "toxicity"} for name in ("hate", "nsfw")}


def types_of(name: str) -> dict[str, pa.DataType]:
    """The fields of a set as the stage that makes it writes them."""
    if name.startswith("dedup_"):
        return DEDUPS.get(name, CLUSTERS)
    return {field: kind.type for field, kind in load(OPTIONS.get(name, name)).fields.items()}


def resolved(name: str, make_dataset: MakeDataset, tmp_path: Path) -> tuple[dict[str, Source], Any]:
    """The bundled mix over data sets of one empty shard per source."""
    data: Any = read_yaml(bundled(f"mix/{name}.yaml"))
    for source in data["sources"]:
        folder = re.sub(r"\W", "_", source["dataset"])
        inner = source.get("include", ["x/*"])[0].rstrip("/*")
        source["dataset"] = make_dataset({f"{inner}/0.jsonl": []}, folder)
        for name_of_set in source.get("attributes", ()):
            measure(source["dataset"], name_of_set, types_of(name_of_set), [])
    data["to"] = str(tmp_path / "out")
    return {source.name: source for source in Mix(convert(data, MixConfig, name), name).sources}, data


@pytest.mark.parametrize("name", ["pile", "dolma_1_6", "olmo_2t", "small"])
def test_a_bundled_mix_resolves(make_dataset: MakeDataset, tmp_path: Path, name: str) -> None:
    assert resolved(name, make_dataset, tmp_path)[0]


def test_the_pile_has_the_weights_of_its_paper(make_dataset: MakeDataset, tmp_path: Path) -> None:
    sources, _ = resolved("pile", make_dataset, tmp_path)
    comments = dict(re.findall(r"- name: (\w+)\s+# ([\d.]+) GiB", bundled("mix/pile.yaml").read_text()))
    epochs = {name: source.sample.epochs or 1.0 if source.sample else 1.0 for name, source in sources.items()}
    effective = {name: float(comments[name]) * epochs[name] for name in sources}
    assert len(sources) == 22
    assert sum(effective.values()) == pytest.approx(1254.20, abs=0.5)
    weights = {name: 100 * size / sum(effective.values()) for name, size in effective.items()}
    assert weights == pytest.approx(PILE_WEIGHTS, abs=0.02)


def test_dolma_1_6_has_its_rules_and_edits(make_dataset: MakeDataset, tmp_path: Path) -> None:
    sources, _ = resolved("dolma_1_6", make_dataset, tmp_path)
    head = sources["cc_en_head"]
    assert len(head.rules) == 20
    assert [edit.name for edit in head.edits] == [
        "dedup_paragraph.duplicate", "hate.lines", "nsfw.lines", "dolma_pii.email", "dolma_pii.phone", "dolma_pii.ip",
    ]  # fmt: skip
    assert " ".join(sources) == "cc_en_head cc_en_middle cc_en_tail c4 stack reddit pes2o books wiki"


def test_olmo_samples_common_crawl_only(make_dataset: MakeDataset, tmp_path: Path) -> None:
    sources, _ = resolved("olmo_2t", make_dataset, tmp_path)
    assert {name: source.sample.epochs for name, source in sources.items() if source.sample} == dict.fromkeys(
        ["cc_en_head", "cc_en_middle", "cc_en_tail"], 0.5104606781
    )
