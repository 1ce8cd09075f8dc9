"""How well a document compresses: text that repeats itself does so too well, noise hardly at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import zstandard

from dolma_pipe.batch import Batch
from dolma_pipe.errors import ConfigError
from dolma_pipe.kernels.ratios import ratio
from dolma_pipe.tagger import Tagger, count64, real

HEAD = 6
"""Bytes of a frame's magic number and header, which are no part of the text and are left out."""


class Compression(Tagger):
    """Zstandard of each document alone; 0 and 0.0 for an empty one.

    level: zstd's, 1 (fastest) to 19 (default 3). The sizes are those of the installed zstd library, which may change a
    little from one release to the next: its version is part of the attributes' definition.
    """

    version = 1
    fields = {
        "zstd_bytes": count64(f"bytes of the text as one zstd frame, without its first {HEAD} and without a checksum"),
        "zstd_ratio": real(
            "zstd_bytes / bytes of the text in UTF-8: English prose has about 0.5, one line repeated near 0, random "
            "letters 0.75; short texts more than long ones"
        ),
    }

    def __init__(self, *, level: int = 3) -> None:
        if not 1 <= level <= 19:
            raise ConfigError(f"compression: level is {level}; zstd has 1 to 19")
        self.level = level
        self.model_hash = f"zstd-{'.'.join(map(str, zstandard.ZSTD_VERSION))}"

    def tag(self, batch: Batch) -> dict[str, Any]:
        sizes = np.diff(batch.offsets)
        filled = sizes > 0
        found = np.zeros(len(batch), np.int64)
        if filled.any():
            found[filled] = self.compressed_sizes(batch, filled) - HEAD
        return {"zstd_bytes": found, "zstd_ratio": ratio(found, sizes)}

    def compressed_sizes(self, batch: Batch, filled: Any) -> Any:
        """Bytes of the frames of the documents that have text, all made in one call of the library."""
        ranges = np.stack((batch.offsets[:-1], np.diff(batch.offsets)), 1)[filled].astype(np.uint64)
        compressor = zstandard.ZstdCompressor(level=self.level, write_checksum=False, write_content_size=False)
        texts = zstandard.BufferWithSegments(batch.data.data, ranges.tobytes())
        frames = compressor.multi_compress_to_buffer(texts)
        return np.array([len(frame) for frame in frames], np.int64)
