"""tokenize: documents in, memory-mapped token shards out."""

from dolma_pipe.stages.tokenize.config import TokenizeConfig
from dolma_pipe.stages.tokenize.stage import Tokenize

__all__ = ["Tokenize", "TokenizeConfig"]
