"""mix: the only stage that judges. Rules, dedup, edits, splits and shares make new documents from several sources."""

from dolma_pipe.stages.mix.config import Budget, MixConfig, SourceConfig
from dolma_pipe.stages.mix.funnel import Funnel
from dolma_pipe.stages.mix.lock import funnel, read_lock
from dolma_pipe.stages.mix.stage import Mix

__all__ = ["Budget", "Funnel", "Mix", "MixConfig", "SourceConfig", "funnel", "read_lock"]
