"""The training stage: the only importer of torch.distributed. `config` can be imported without torch."""

from __future__ import annotations

from importlib.util import find_spec

from dolma_pipe.errors import DependencyError


def require_torch() -> None:
    """Raise `DependencyError` where PyTorch is not installed."""
    if find_spec("torch") is None:
        raise DependencyError("torch", "train", "training")
