"""Lines with another text, against the JSON library."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dolma_pipe.editing import Edited, put_texts
from dolma_pipe.kernels.rewriting import put_texts as put

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT | st.just("text"), inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.tuples(st.dictionaries(TEXT, VALUES, max_size=3), TEXT, st.booleans(), st.sampled_from([None, 1]))


def spelled(others: dict[str, Any], text: str, last: bool, indent: int | None) -> bytes:
    """A document; the text stands first or last, with or without white space between values."""
    others.pop("text", None)
    document = {**others, "text": text} if last else {"text": text, **others}
    return json.dumps(document, ensure_ascii=last, indent=indent).replace("\n", " ").encode()


def laid_out(lines: list[bytes]) -> tuple[Any, Any, Any]:
    ends = np.cumsum([len(line) for line in lines])
    return np.frombuffer(b"".join(lines), np.uint8), ends - [len(line) for line in lines], ends


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(DOCUMENTS, TEXT), min_size=1, max_size=4))
def test_the_text_is_the_new_one_and_all_else_is_as_it_was(pairs: list[tuple[Any, str]]) -> None:
    lines, texts = [spelled(*document) for document, _ in pairs], [text for _, text in pairs]
    raw, starts, ends = laid_out(lines)
    encoded = [text.encode() for text in texts]
    bounds = np.cumsum([0, *map(len, encoded)])
    data = np.frombuffer(b"".join(encoded), np.uint8)
    empty = np.zeros(0, np.int64)
    edited = Edited(np.arange(len(lines)), data, bounds, empty, (empty, empty, empty, empty), {}, {})
    out, found = put_texts(raw, starts, ends, edited)
    assert out[: len(raw)].tobytes() == raw.tobytes()
    for i, line in enumerate(lines):
        new = json.loads(out[found[i] : found[i + 1]].tobytes())
        assert new == {**json.loads(line), "text": texts[i]}
        assert list(new) == list(json.loads(line))


def rewritten(line: str, text: str) -> str:
    raw, starts, ends = laid_out([line.encode()])
    data = np.frombuffer(text.encode(), np.uint8)
    out, bounds = put(raw, starts, ends, data, np.array([0, len(data)]))
    return out[bounds[0] : bounds[1]].tobytes().decode()


def test_white_space_numbers_and_nested_texts_keep_their_bytes() -> None:
    line = '{ "metadata" : {"text": "inner", "a": [1.0, 1e3, "]"]}, "text"\t:  "o\\u0062ld\\"" , "id":7}'
    assert rewritten(line, 'n"ew\n\x01é') == (
        '{ "metadata" : {"text": "inner", "a": [1.0, 1e3, "]"]}, "text"\t:  "n\\"ew\\n\\u0001é" , "id":7}'
    )


def test_a_key_that_is_written_with_escapes_is_not_vouched_for() -> None:
    raw, starts, ends = laid_out([b'{"te\\u0078t": "a"}'])
    assert len(put(raw, starts, ends, raw[:1], np.array([0, 1]))[1]) == 0
