"""Deduplication: it measures which documents or paragraphs are copies, and decides nothing."""

from dolma_pipe.stages.dedup.exact import Dedup, DedupConfig

__all__ = ["Dedup", "DedupConfig"]
