"""From a training step back to the documents that it was made of."""

from __future__ import annotations

from dolma_pipe.config import convert
from dolma_pipe.errors import ConfigError
from dolma_pipe.train import checkpoint
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.data import Loader, check_same_data
from dolma_pipe.train.documents import Traced
from dolma_pipe.train.metrics import read_metrics
from dolma_pipe.train.plan import make_plan


def training_order(run: str) -> Loader:
    """The order in which a run has shown its data, made again; refuses data that is not the same any more."""
    record = checkpoint.read_record(checkpoint.find(run))
    if "mixtures" not in record.data:
        raise ConfigError(f"trace: {run} was tuned on conversations; a step of pre-training has documents")
    config = convert(record.config, TrainConfig, f"{run}: the checkpoint's configuration")
    loader = make_plan(config, record.progress).examples
    assert isinstance(loader, Loader)
    check_same_data(record.data, loader.identity(), run)
    return loader


def trace(run: str, step: int) -> list[Traced]:
    """The documents of a step's batch, in the order of the batch; `step` counts from 1 as the metrics do."""
    loader = training_order(run)
    lines = {line.step: line for line in read_metrics(run)}
    if step not in lines:
        raise ConfigError(f"{run}: step {step} is not among the {len(lines)} steps of its metrics")
    line = lines[step]
    shown = line.batch_size * line.sequence_length
    return loader.documents((line.tokens - shown) // line.sequence_length, line.batch_size, line.sequence_length)
