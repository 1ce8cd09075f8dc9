"""Quotients of counts, for taggers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def ratio(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """part / whole per document, 0 where the whole is."""
    return part / np.maximum(whole, 1)
