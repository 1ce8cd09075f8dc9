"""`python -m benchmarks [NAME...]`: all benchmarks, or those named."""

from __future__ import annotations

import sys

from benchmarks import (
    bloom,
    contamination,
    curation,
    dedup,
    growth,
    memory,
    minhash,
    mixing,
    prediction,
    substring,
    tagging,
    tokenizing,
    training,
    web,
)

ALL = {
    "tagging": tagging.main, "curation": curation.main, "mixing": mixing.main, "prediction": prediction.main,
    "growth": growth.main, "memory": memory.main,
    "contamination": contamination.main, "dedup": dedup.main,
    "bloom": bloom.main, "minhash": minhash.main, "substring": substring.main, "tokenizing": tokenizing.main,
    "training": training.main, "web": web.main,
}  # fmt: skip


def main() -> None:
    for name in sys.argv[1:] or ALL:
        if name not in ALL:
            sys.exit(f"no benchmark {name!r}; there are {', '.join(ALL)}")
        ALL[name]()


main()
