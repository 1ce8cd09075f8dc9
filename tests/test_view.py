"""A tagger on a view measures edited text, and its spans come back as places in the original."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.batch import Batch, make_batch
from dolma_pipe.editing import Editor
from dolma_pipe.errors import ConfigError
from dolma_pipe.fused import Fused
from dolma_pipe.mixer import Edit
from dolma_pipe.view import View

SPANS = pa.list_(pa.struct({"start": pa.int32(), "end": pa.int32(), "score": pa.float64()}))


def write(tmp_path: Path, edits: str) -> str:
    path = tmp_path / "view.yaml"
    path.write_text(f"title: t\nsource: s\nedits:\n{edits}")
    return str(path)


def spans(*places: tuple[int, int]) -> pa.Array:
    return pa.array([[{"start": s, "end": e, "score": 1.0} for s, e in places]], SPANS)


def test_edits_by_spans_and_by_pattern_are_applied_at_once(tmp_path: Path) -> None:
    view = View(write(tmp_path, "- {pattern: 'https?://\\S+', with: LINK}\n- remove: a.gone\n"))
    assert view.sets == ["a"]
    attributes = {"a": pa.StructArray.from_arrays([spans((0, 3))], names=["gone"])}
    viewed = view.apply(make_batch(["é😀 see http://x.org/y now"]), attributes)
    assert viewed.batch.texts() == ["see LINK now"]
    back = viewed.trace(spans((0, 3), (4, 8), (9, 12), (0, 12)))
    assert [(s["start"], s["end"]) for s in back.to_pylist()[0]] == [(3, 6), (7, 21), (22, 25), (3, 25)]


@given(st.text(alphabet="ab é😀\n", max_size=30), st.data())
def test_a_span_of_kept_text_is_traced_back_to_the_same_text(text: str, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=6).map(sorted))
    gone = [(a, b) for a, b in zip(cuts[::2], cuts[1::2], strict=False) if a < b]
    kept = [i for i in range(len(text)) if not any(a <= i < b for a, b in gone)]
    view = View.__new__(View)
    view._patterns, view._editor = {}, Editor([Edit("a", "gone", data.draw(st.sampled_from(["", "X", "xyz"])))])
    attributes = {"a": pa.StructArray.from_arrays([spans(*gone)], names=["gone"])}
    viewed = view.apply(make_batch([text]), attributes)
    seen = viewed.batch.texts()[0]
    if view._editor.edits[0].text == "":
        assert seen == "".join(text[i] for i in kept)
        places = [(i, i + 1) for i in range(len(seen))]
        back = viewed.trace(spans(*places)).to_pylist()[0]
        assert [(s["start"], s["end"]) for s in back] == [(i, i + 1) for i in kept]
    whole = viewed.trace(spans((0, len(seen)))).to_pylist()[0][0] if seen else {"start": 0, "end": 0}
    assert 0 <= whole["start"] <= whole["end"] <= len(text)


def test_a_tagger_on_a_view_differs_from_one_on_the_text() -> None:
    text = "A line that ends as it should, with a stop.\nmenu | home | login\nAnother line of words that ends well.\n"
    batch = make_batch([text])
    fused = Fused(["length", {"name": "after", "use": "length", "view": "c4"}])
    measured = fused.measure(batch, ["length", "after"])
    assert measured["length"].values["characters"][0] == len(text)
    assert measured["after"].values["characters"].to_pylist()[0] < len(text)


def test_the_definition_of_a_set_changes_with_its_view(tmp_path: Path) -> None:
    plain = Fused(["length"]).definition("length")
    views = [write(tmp_path, f"- {{pattern: '{pattern}'}}\n") for pattern in ("a", "b")]
    assert len(views) == 2
    first = Fused([{"name": "length", "view": write(tmp_path, "- {pattern: a}\n")}]).definition("length")
    second = Fused([{"name": "length", "view": write(tmp_path, "- {pattern: b}\n")}]).definition("length")
    assert len({plain, first, second}) == 3


@pytest.mark.parametrize(
    ("edits", "message"),
    [
        ("- {remove: a.b, pattern: x}\n", "give one of remove, replace, pattern"),
        ("- {remove: a.b, with: x}\n", "'with' has no effect"),
        ("- {pattern: '('}\n", "is not a regular expression"),
        ("- {remove: nothing}\n", "names no spans"),
        ("- {erase: a.b}\n", "unknown key 'erase'"),
    ],
)
def test_a_view_that_cannot_work_is_refused(tmp_path: Path, edits: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        View(write(tmp_path, edits))
    assert message in str(error.value)


def test_an_unknown_view_is_refused_with_a_guess() -> None:
    with pytest.raises(ConfigError, match="did you mean 'c4'"):
        Fused([{"name": "length", "view": "c44"}])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.text(alphabet="ab é😀\n", max_size=12), st.booleans()), min_size=1, max_size=5), st.data())
def test_documents_of_one_batch_keep_their_own_texts(found: list[tuple[str, bool]], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(found) - 1))
    whole = make_batch([text for text, _ in found])
    batch = Batch("shard", first, whole.columns.slice(first))  # a view of part of a column
    found = found[first:]
    gone = [[(0, min(2, len(text)))] if edited and text else [] for text, edited in found]
    rows = pa.array([[{"start": s, "end": e, "score": 1.0} for s, e in one] for one in gone], SPANS)
    attributes = {"a": pa.StructArray.from_arrays([rows], names=["gone"])}
    view = View.__new__(View)
    view._patterns, view._editor = {}, Editor([Edit("a", "gone", "…")])
    viewed = view.apply(batch, attributes)
    expected = ["…" + text[2:] if spans else text for (text, _), spans in zip(found, gone, strict=True)]
    assert viewed.batch.texts() == expected
    assert viewed.batch.data.tobytes() == "".join(expected).encode()
    assert viewed.batch.ids.equals(batch.ids)
    assert viewed.batch.first_row == first


def test_patterns_match_in_each_document_by_itself(tmp_path: Path) -> None:
    view = View(write(tmp_path, "- {pattern: 'b+', with: X}\n- {pattern: '^é'}\n"))
    texts = ["éabb", "", "bé", "éé b"]
    viewed = view.apply(make_batch(texts), {})
    assert viewed.batch.texts() == ["aX", "", "Xé", "é X"]


def test_a_view_that_changes_nothing_is_the_batch_itself(tmp_path: Path) -> None:
    view, batch = View(write(tmp_path, "- {pattern: x}\n")), make_batch(["a", "", "é"])
    viewed = view.apply(batch, {})
    assert viewed.batch is batch
    assert viewed.trace(pa.array([[], [], [{"start": 0, "end": 1, "score": 1.0}]], SPANS)).to_pylist()[2] == [
        {"start": 0, "end": 1, "score": 1.0}
    ]
