"""report: the numbers are those of the lock, and documents cannot leave their place."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from report_data import EMAIL, HOSTILE, IP, PHONE, RULES, make
from typer.testing import CliRunner, Result

from dolma_pipe.cli import app
from dolma_pipe.report.excerpts import Mark, excerpt
from dolma_pipe.report.fates import survival
from dolma_pipe.report.histograms import histogram, scale_of
from dolma_pipe.report.sampling import Tagged, draw_sample
from dolma_pipe.rules import Expression
from dolma_pipe.rules.comparisons import Clause, clauses
from dolma_pipe.shards import document_shards


def report(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def facts_in(page: str) -> Any:
    [found] = re.findall(r'<script type="application/json" id="facts">(.*?)</script>', page)
    return json.loads(found)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a mix of it, and the report on the mix."""
    from handmade import encode_lines, store

    folder = tmp_path_factory.mktemp("report")

    def make_dataset(shards: dict[str, Any]) -> str:
        for name, rows in shards.items():
            store(folder / "data" / "documents" / name, encode_lines(rows))
        return str(folder / "data")

    make(make_dataset, folder / "mixed")
    done = report(folder / "mixed")
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def page(made: Path) -> str:
    return (made / "mixed" / "report.html").read_text()


@pytest.fixture(scope="module")
def facts(page: str) -> Any:
    return facts_in(page)


def test_the_funnel_is_that_of_the_lock(made: Path, facts: Any) -> None:
    [source] = json.loads((made / "mixed" / "mix.lock.json").read_text())["sources"].values()
    stages = {stage["key"]: stage["amounts"]["made"] for stage in facts["stages"]}
    funnel = source["funnel"]
    assert stages["read"]["documents"] == funnel["read"]["documents"] == 60
    assert stages["read"]["documents"] - stages["rules"]["documents"] == funnel["dropped"]["rules"]["documents"]
    assert (
        stages["rules"]["documents"] - stages["dedup"]["documents"] == funnel["dropped"]["dedup_text"]["documents"] == 1
    )
    assert stages["kept"] == {"documents": funnel["kept"]["documents"], "bytes": funnel["kept"]["written_bytes"]}
    assert {rule["name"]: rule["counts"]["made"] for rule in facts["rules"]} == funnel["rules"]


def test_comparisons_with_numbers_can_be_moved_and_others_are_fixed(facts: Any) -> None:
    found = {rule["name"]: rule["clauses"] for rule in facts["rules"]}
    assert found["words"] == [
        {"sql": "q.words", "operator": ">=", "value": 10.0},
        {"sql": "q.words", "operator": "<=", "value": 90.0},
    ]
    assert found["either"] == []
    assert list(facts["sample"]["made"]["fixed"]) == ["either"]
    assert set(facts["sample"]["made"]["values"]) == {"q.words", "q.share"}


@pytest.mark.parametrize(
    ("sql", "found"),
    [
        ("a.b >= 1", [(">=", 1.0)]),
        ("0.30 > a.b", [("<", 0.3)]),
        ("a.b BETWEEN -1 AND 2 AND (a.c < 5 AND a.d > 1e-3)", [(">=", -1.0), ("<=", 2.0), ("<", 5.0), (">", 0.001)]),
        ("a.b / greatest(a.c, 1) <= 2 * 50", [("<=", 100.0)]),
        ("a.b > 1 OR a.c > 2", None),
        ("NOT a.b > 1", None),
        ("a.b > a.c", None),
        ("a.b = 1", None),
        ("a.b IS NULL", None),
        ("CASE WHEN a.b THEN true ELSE false END", None),
    ],
)
def test_what_can_be_told_as_comparisons(sql: str, found: Any) -> None:
    told = clauses(Expression("r", sql, "here"))
    assert (told and [(clause.operator, clause.value) for clause in told]) == found


def test_every_attribute_has_a_histogram_of_all_documents(facts: Any) -> None:
    charts = {chart["name"]: chart for chart in facts["attributes"]}
    assert set(charts) == {"q.words", "q.share", "q.is_odd", "pii.email (spans)"}
    assert sum(charts["q.words"]["bins"]["made"]) == 60
    assert charts["q.is_odd"]["bins"]["made"] == [30, 30]
    assert charts["q.words"]["low"] <= 10
    assert charts["q.words"]["high"] >= 90


def test_documents_are_carried_as_data_that_cannot_leave_its_element(page: str, facts: Any) -> None:
    assert len(re.findall(r"<script", page)) == len(re.findall(r"</script", page)) == 2
    assert "document.title='ran'" in json.dumps(facts, ensure_ascii=False)
    body = re.sub(r"(?s)<script>.*?</script>", "", page)
    assert "<img" not in body
    assert "\u2028" not in page
    shown = "".join(part.get("text", "") for document in facts["documents"] for part in document["parts"])
    for text in HOSTILE:
        assert text in shown


def test_the_page_runs_one_script_and_loads_nothing(page: str) -> None:
    [script] = re.findall(r"(?s)<script>(.*?)</script>", page)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy
    outside = page.replace("http://www.w3.org/2000/svg", "")
    assert not re.findall(
        r"(?:src|href)\s*=\s*[\"']?(?:https?:)?//", re.sub(r"(?s)id=\"facts\">.*?</script>", "", outside)
    )


def test_personal_data_is_counted_and_never_shown(made: Path, page: str, facts: Any) -> None:
    assert facts["personal"]["made"] == [{"field": "pii.email", "sampled": 40, "spans": 40}]
    for text in (page, (made / "mixed" / "DATA_CARD.md").read_text()):
        for secret in (EMAIL, PHONE, IP, "jane.doe", "123-4567"):
            assert secret not in text


def test_reasons_say_the_value_and_what_the_rule_asks(facts: Any) -> None:
    reasons = [reason for document in facts["documents"] for reason in document["reasons"]]
    assert {"rule": "share", "detail": "q.share is 0.916667, the rule asks <= 0.8"} in reasons
    assert any(reason["rule"] == "either" and reason["detail"] == RULES["either"] for reason in reasons)
    assert {document["output"] for document in facts["documents"]} == {"", "kept", "held_out"}


def test_the_same_inputs_give_the_same_bytes(made: Path, page: str, tmp_path: Path) -> None:
    assert report(made / "mixed", "--to", tmp_path).exit_code == 0
    assert (tmp_path / "report.html").read_text() == page
    assert (tmp_path / "DATA_CARD.md").read_bytes() == (made / "mixed" / "DATA_CARD.md").read_bytes()


def test_the_sample_does_not_depend_on_files(make_dataset: Any) -> None:
    rows = [{"id": f"d{n}", "text": "x" * n} for n in range(200)]
    one = make_dataset({"a.jsonl": rows}, name="one")
    many = make_dataset({f"{s}.jsonl": rows[s::4] for s in range(4)}, name="many")
    samples = [draw_sample(Tagged("s", document_shards(d), f"{d}/attributes", {}), 30, 7) for d in (one, many)]
    assert len(set(samples[0].ids.to_pylist())) == 30
    assert sorted(samples[0].ids.to_pylist()) == sorted(samples[1].ids.to_pylist())
    assert [s.population for s in samples] == [200, 200]
    assert sorted(samples[0].bytes) == sorted(samples[1].bytes)
    other = draw_sample(Tagged("s", document_shards(one), f"{one}/attributes", {}), 30, 8)
    assert set(other.ids.to_pylist()) != set(samples[0].ids.to_pylist())


def test_a_small_sample_stands_for_all(made: Path, tmp_path: Path) -> None:
    assert report(made / "mixed", "--to", tmp_path, "--sample", 20, "--seed", 5).exit_code == 0
    found = facts_in((tmp_path / "report.html").read_text())
    assert (found["sample"]["made"]["count"], found["sample"]["made"]["population"]) == (20, 60)
    assert found["stages"] == facts_in((made / "mixed" / "report.html").read_text())["stages"]


def test_the_card_is_one_the_hub_understands(made: Path) -> None:
    text = (made / "mixed" / "DATA_CARD.md").read_text()
    _, head, body = text.split("---\n", 2)
    front = yaml.safe_load(head)
    assert front["language"] == ["en", "de"]
    assert front["size_categories"] == ["n<1K"]
    assert front["task_categories"] == ["text-generation"]
    assert [its["split"] for its in front["configs"][0]["data_files"]] == ["train", "held_out"]
    for its in front["configs"][0]["data_files"]:
        assert list((made / "mixed").glob(its["path"]))
    for title in ("# mixed", "## Sources", "## Languages", "## Curation", "## Personal", "## Reproduction"):
        assert title in body


def test_a_data_set_by_itself_is_reported(made: Path, tmp_path: Path) -> None:
    assert report(made / "data", "--to", tmp_path).exit_code == 0
    found = facts_in((tmp_path / "report.html").read_text())
    assert found["stages"][0]["amounts"]["data"]["documents"] == 60
    assert (found["rules"], len(found["documents"]) > 0) == ([], True)
    assert "nothing was removed" in (tmp_path / "DATA_CARD.md").read_text()


def test_a_pipelines_folder_is_reported_with_its_mix(made: Path, tmp_path: Path) -> None:
    assert report(made, "--to", tmp_path).exit_code == 0
    assert facts_in((tmp_path / "report.html").read_text())["rules"]
    shutil.copytree(made / "mixed", made / "again")
    refused = report(made)
    shutil.rmtree(made / "again")
    assert "holds 2 mixes (again, mixed); report on one of them" in str(refused.exception)


def test_a_mix_whose_data_is_gone_still_has_its_funnel(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "mixed", tmp_path / "mixed")
    shutil.copytree(made / "data", tmp_path / "moved")
    for log in (tmp_path / "mixed" / "_manifest" / "runs").iterdir():
        log.unlink()
    found = report(tmp_path / "mixed")
    assert "give --dataset made=DIR" in found.output
    assert facts_in((tmp_path / "mixed" / "report.html").read_text())["stages"][0]["amounts"]["made"]["documents"] == 60
    assert report(tmp_path / "mixed", "--dataset", f"made={tmp_path / 'moved'}").exit_code == 0
    assert facts_in((tmp_path / "mixed" / "report.html").read_text())["sample"]["made"]["count"] == 60


def test_what_cannot_be_reported_is_refused_with_the_next_step(made: Path, tmp_path: Path) -> None:
    assert "no mix, no data set" in str(report(tmp_path).exception)
    assert "no such source (it has made)" in str(report(made / "mixed", "--dataset", "other=x").exception)
    assert "no effect" in str(report(made / "data", "--tokens", "x").exception)
    assert "draw at least one" in str(report(made / "mixed", "--sample", 0).exception)


def test_data_that_has_changed_since_the_mix_is_refused(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "data", tmp_path / "data")
    path = tmp_path / "data" / "documents" / "0.jsonl"
    path.write_bytes(path.read_bytes().replace(b"onerror", b"onerros"))
    assert "changed" in str(
        report(made / "mixed", "--dataset", f"made={tmp_path / 'data'}", "--to", tmp_path).exception
    )


@given(st.text("ab 1", max_size=3000), st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 200), st.booleans())))
def test_an_excerpt_accounts_for_every_character_and_hides_what_is_masked(
    text: str, found: list[tuple[int, int, bool]]
) -> None:
    text = text.replace("1", "2 ")  # no run of digits: nothing is masked by its looks
    marks = [Mark(at, at + length, "s.f", masked) for at, length, masked in found]
    parts = excerpt(text, marks, len(text) + 5)
    hidden = np.zeros(len(text) + 1, np.bool_)
    for mark in marks:
        hidden[mark.start : mark.end] |= mark.masked
    at = 0
    for part in parts:
        if "gap" in part:
            at += part["gap"]
        elif "masked" in part:
            while at < len(text) and hidden[at]:
                at += 1
        else:
            at = text.index(part["text"], at)
            assert not hidden[at : at + len(part["text"])].any()
            at += len(part["text"])
    assert at == len(text) + 5 or hidden[: len(text)].any()


def test_what_newly_passes_counts_as_its_like() -> None:
    passed = np.array([True, True, True, True, False, False])
    written = np.array([True, False, True, True, False, False])
    clustered = np.array([True, True, False, False, True, False])
    assert survival(passed, written, clustered).tolist() == [1, 0, 1, 1, 0.5, 1]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50), st.lists(st.floats(-1e6, 1e6), max_size=2))
def test_a_histogram_counts_every_value(values: list[float], thresholds: list[float]) -> None:
    scale = scale_of(np.array(values), thresholds)
    if scale is None:
        assert len(set(values)) == 1
    else:
        assert sum(histogram(scale, np.array([*values, np.nan]))) == len(values)


def test_a_clause_is_its_comparison() -> None:
    assert Clause("x", ">", 2.0).holds(np.array([1.0, 2.0, 3.0])).tolist() == [False, False, True]


def test_licences_that_documents_name_are_in_the_card(tmp_path: Path) -> None:
    from handmade import encode_lines, store

    def card_of(name: str, *licences: object) -> tuple[Any, str]:
        rows = [
            {"id": str(i), "text": f"text {i}", "metadata": {} if licence is None else {"license": licence}}
            for i, licence in enumerate(licences)
        ]
        store(tmp_path / name / "documents/s.jsonl", encode_lines(rows))
        assert report(tmp_path / name).exit_code == 0
        text = (tmp_path / name / "DATA_CARD.md").read_text()
        return yaml.safe_load(text.split("---")[1])["license"], text

    assert card_of("none", None, None)[0] == "unknown"
    assert "## Licences" not in card_of("none", None)[1]
    assert card_of("one", "MIT", "mit")[0] == "mit"
    found, text = card_of("some", "Apache-2.0", "Apache-2.0", "Apache-2.0", "My | own", "My | own", None)
    assert found == ["apache-2.0", "other", "unknown"]
    assert "| `My \\| own` | 2 |" in text


def test_budget_and_upsampling_are_tables_of_the_page(tmp_path: Path) -> None:
    from handmade import encode_lines, store
    from mixes import measure, run_mix

    rows = [{"id": str(i), "text": "x" * 50} for i in range(60)]
    store(tmp_path / "data/documents/s.jsonl", encode_lines(rows))
    measure(str(tmp_path / "data"), "size", {"n": pa.int32()}, [{"n": i} for i in range(60)])
    step = {"upsample": {"by": "size.n", "start": 0.5, "max_epochs": 3, "share": 1, "buckets": 4}}
    source = {"name": "web", "dataset": str(tmp_path / "data"), "attributes": ["size"], "steps": [step]}
    run_mix(tmp_path / "out", source, budget={"bytes": 2000})
    assert report(tmp_path / "out").exit_code == 0
    tables = {table["title"]: table for table in facts_in((tmp_path / "out/report.html").read_text())["tables"]}
    assert tables["Budget"]["rows"][0][:4] == ["web", "bytes", "2,000", "3,000"]
    buckets = tables["Upsampled"]["rows"]
    assert [bucket[5] for bucket in buckets] == ["15"] * 4
    assert buckets[0][6] == "0"
    assert sum(int(bucket[6]) for bucket in buckets) == 40
