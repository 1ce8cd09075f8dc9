"""Which documents hold a character that nobody has vouched for."""

from __future__ import annotations

import numpy as np

from dolma_pipe.kernels import kernel
from dolma_pipe.kernels.masks import WIDTH, below, first, most, without_first
from dolma_pipe.kernels.utf8 import code_point_at

UNKNOWN, MET, SURE, UNSURE = 0, 1, 2, 3


@kernel
def find_doubtful(data: np.ndarray, offsets: np.ndarray, verdicts: np.ndarray) -> tuple[np.ndarray, int]:
    """Documents with a code point beyond ASCII whose verdict is not `SURE`: bool[n].

    `verdicts` is uint8[1114112]; what is `UNKNOWN` and occurs becomes `MET`: so many code points are the second result.
    """
    doubtful = np.zeros(len(offsets) - 1, np.bool_)
    document, met = 0, 0
    for at in range(0, len(data), WIDTH):
        found = ~most(data, at, 0xBF) & below(len(data) - at)
        while found:
            place = at + first(found)
            found = without_first(found)
            code, _ = code_point_at(data, place)
            if verdicts[code] != SURE:
                if verdicts[code] == UNKNOWN:
                    verdicts[code] = MET
                    met += 1
                while place >= offsets[document + 1]:
                    document += 1
                doubtful[document] = True
    return doubtful, met
