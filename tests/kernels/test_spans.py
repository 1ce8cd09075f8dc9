"""Spans merged and replaced, against the definition in plain Python."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mixes import SPANS, spans

from dolma_pipe.batch import make_batch
from dolma_pipe.editing import Editor
from dolma_pipe.errors import DataError
from dolma_pipe.mixer import Edit
from dolma_pipe.pseudonyms import pseudonym

Found = list[list[Any]]
EDITS = [Edit("s", "first", "<1>"), Edit("s", "second", ""), Edit("s", "third", "…")]


PERSONAL = "\ue000"
"""Stands in the text where personal data is, and nowhere else."""


def by_definition(text: str, found: Found) -> str:
    """Unions of overlapping or touching spans give way to the longest span's text, else the first edit's."""
    covered = [(start, end, edit) for edit, pairs in enumerate(found) for start, end in pairs if end > start]
    regions = []
    for start, end, edit in sorted(covered):
        if regions and start <= regions[-1][1]:
            regions[-1][1] = max(end, regions[-1][1])
            regions[-1][2].append((start - end, edit))
        else:
            regions.append([start, end, [(start - end, edit)]])
    out, at = "", 0
    for start, end, members in regions:
        out += text[at:start] + EDITS[min(members)[1]].text
        at = end
    return out + text[at:]


def apply(texts: list[str], found: list[Found], edits: list[Edit] = EDITS) -> list[str]:
    """The edited texts; documents without a span come back as they are."""
    batch = make_batch(texts)
    columns = [pa.array([spans(*row[index]) for row in found], SPANS) for index in range(len(edits))]
    struct = pa.StructArray.from_arrays(columns, names=[edit.field for edit in edits])
    edited = Editor(edits).apply(batch, {"s": struct}, np.ones(len(texts), np.bool_))
    changed = dict(zip(edited.rows.tolist(), edited.texts, strict=True))
    return [changed.get(row, text) for row, text in enumerate(texts)]


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, Found]:
    text = draw(st.text(st.sampled_from("ab \n\tßéﬁ文e\u0301👩\u200d👩\u200d👧🇩🇪\x00"), max_size=24))
    edge = st.integers(0, len(text))
    pair = st.tuples(edge, edge).map(lambda pair: (min(pair), max(pair)))
    return text, [draw(st.lists(pair, max_size=4)) for _ in EDITS]


@settings(max_examples=300, deadline=None)
@given(st.lists(documents(), min_size=1, max_size=5))
def test_any_spans_give_what_the_definition_gives(found: list[tuple[str, Found]]) -> None:
    texts = [text for text, _ in found]
    expected = [by_definition(text, pairs) for text, pairs in found]
    assert apply(texts, [pairs for _, pairs in found]) == expected


@settings(max_examples=300, deadline=None)
@given(documents(), st.sampled_from([Edit("s", "pii", "[PII]"), Edit("s", "pii", pseudonym="secret", seed=17)]))
def test_no_character_of_personal_data_stays_whatever_other_spans_overlap_it(
    found: tuple[str, Found], masked: Edit
) -> None:
    text, (personal, *others) = found
    hidden = {place for start, end in personal for place in range(start, end)}
    text = "".join(PERSONAL if place in hidden else character for place, character in enumerate(text))
    edits = [Edit("s", "first", "<1>"), masked, Edit("s", "third", "")]
    (edited,) = apply([text], [[others[0], personal, others[1]]], edits)
    assert PERSONAL not in edited


@settings(max_examples=200, deadline=None)
@given(st.lists(documents(), min_size=1, max_size=4))
def test_pseudonyms_stand_where_a_label_would(found: list[tuple[str, Found]]) -> None:
    texts, marks = [text for text, _ in found], [pairs for _, pairs in found]
    labelled = apply(texts, marks, [EDITS[0], Edit("s", "second", "@"), EDITS[2]])
    masked = apply(texts, marks, [EDITS[0], Edit("s", "second", pseudonym="email"), EDITS[2]])
    assert [re.sub(r"[a-z]{12}@example\.org", "@", text) for text in masked] == labelled


def test_each_span_of_one_edit_has_its_own_pseudonym() -> None:
    edit = Edit("s", "email", pseudonym="email", seed=17)
    text = "a@b.de c@d.de A@B.DE"
    (edited,) = apply([text], [[[(0, 6), (7, 13), (14, 20)]]], [edit])
    ann, bob = pseudonym("email", "a@b.de", 17), pseudonym("email", "c@d.de", 17)
    assert edited == f"{ann} {bob} {ann}"


def test_of_equally_long_spans_of_one_edit_the_first_gives_the_pseudonym() -> None:
    (edited,) = apply(["0123"], [[[(1, 3), (0, 2)]]], [Edit("s", "ssn", pseudonym="ssn")])
    assert edited == pseudonym("ssn", "01", 0) + "3"


def test_a_pseudonym_for_a_span_outside_the_text_is_refused() -> None:
    with pytest.raises(DataError, match=r"s\.ssn: span 2 to 9 of document .* lies outside its 4 characters"):
        apply(["0123"], [[[(2, 9)]]], [Edit("s", "ssn", pseudonym="ssn")])


def test_overlapping_spans_leave_nothing_of_either() -> None:
    assert apply(["keep SECRET keep"], [[[(5, 9)], [(7, 11)], []]]) == ["keep <1> keep"]


def test_touching_spans_are_one_region() -> None:
    assert apply(["abcd"], [[[(0, 1), (1, 2)], [], []]]) == ["<1>cd"]


def test_the_longest_of_nested_spans_gives_the_text() -> None:
    assert apply(["0123456789"], [[[(2, 4)], [(0, 8)], []]]) == ["89"]
    assert apply(["0123456789"], [[[(0, 8)], [(2, 4)], []]]) == ["<1>89"]


def test_of_equally_long_spans_the_first_edit_gives_the_text() -> None:
    assert apply(["0123"], [[[], [(1, 3)], [(0, 2)]]]) == ["3"]


def test_empty_spans_change_nothing() -> None:
    assert apply(["ab"], [[[(0, 0), (1, 1), (2, 2)], [], []]]) == ["ab"]


def test_spans_cut_between_code_points_of_emoji_and_combining_marks() -> None:
    assert apply(["e\u0301x👩\u200d👧y"], [[[(1, 2)], [(4, 5)], []]]) == ["e<1>x👩👧y"]


def test_spans_below_the_least_score_are_left_alone() -> None:
    edit = Edit("s", "first", "-", min_score=0.5)
    assert apply(["abcd"], [[[(0, 1, 0.4), (2, 3, 0.5)]]], [edit]) == ["ab-d"]


@settings(max_examples=100, deadline=None)
@given(st.lists(documents(), min_size=1, max_size=4))
def test_every_edit_counts_its_spans_and_the_documents_that_have_some(found: list[tuple[str, Found]]) -> None:
    marks = [pairs for _, pairs in found]
    columns = [pa.array([spans(*row[index]) for row in marks], SPANS) for index in range(len(EDITS))]
    struct = pa.StructArray.from_arrays(columns, names=[edit.field for edit in EDITS])
    edited = Editor(EDITS).apply(make_batch([text for text, _ in found]), {"s": struct}, np.ones(len(found), np.bool_))
    for index, edit in enumerate(EDITS):
        filled = [sum(end > start for start, end in row[index]) for row in marks]
        assert edited.spans[edit.name] == sum(filled)
        assert edited.documents[edit.name] == sum(count > 0 for count in filled)
    assert np.diff(edited.bounds).tolist() == [len(text.encode()) for text in edited.texts]
    assert edited.char_counts.tolist() == [len(text) for text in edited.texts]
    assert edited.is_blank.tolist() == [not text.strip() for text in edited.texts]
