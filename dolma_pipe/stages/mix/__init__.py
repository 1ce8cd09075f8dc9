"""mix: the only stage that judges. Rules, dedup, edits, splits and shares make new documents from several sources."""

from dolma_pipe.stages.mix.config import Budget, MixConfig, SourceConfig
from dolma_pipe.stages.mix.funnel import Funnel
from dolma_pipe.stages.mix.lock import Lock, funnel, read_lock, read_lock_file
from dolma_pipe.stages.mix.reproduction import check_lock, check_result
from dolma_pipe.stages.mix.stage import Mix

__all__ = [
    "Budget", "Funnel", "Lock", "Mix", "MixConfig", "SourceConfig", "check_lock", "check_result", "funnel", "read_lock",
    "read_lock_file",
]  # fmt: skip
