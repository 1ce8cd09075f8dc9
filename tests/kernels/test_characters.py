"""Documents with characters that nobody has vouched for, beside a plain definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dolma_pipe.batch import make_batch
from dolma_pipe.kernels.characters import MET, SURE, UNKNOWN, UNSURE, find_doubtful

CHARACTERS = "ab \n\0\x7f\x80éß\u07ff\u0800漢\uffff\U00010000😀\U0010ffff"


@given(
    st.lists(st.text(st.sampled_from(CHARACTERS), max_size=90), max_size=5),
    st.dictionaries(st.sampled_from(CHARACTERS[6:]), st.sampled_from([SURE, UNSURE])),
)
def test_a_document_is_doubtful_for_one_character_that_is_not_sure(texts: list[str], known: dict[str, int]) -> None:
    verdicts = np.zeros(0x110000, np.uint8)
    for character, verdict in known.items():
        verdicts[ord(character)] = verdict
    batch = make_batch(texts)
    doubtful, met = find_doubtful(batch.data, batch.offsets, verdicts)
    strange = [{c for c in text if c > "\x7f" and known.get(c) != SURE} for text in texts]
    assert doubtful.tolist() == [bool(found) for found in strange]
    new = set().union(*strange) - set(known)
    assert (met, {chr(code) for code in np.flatnonzero(verdicts == MET)}) == (len(new), new)
    assert find_doubtful(batch.data, batch.offsets, verdicts)[1] == 0
    assert verdicts[: 1 << 7].max() == UNKNOWN
