"""From a training step back to the documents that it was made of."""

from __future__ import annotations

from collections.abc import Callable

from dolma_pipe.config import convert
from dolma_pipe.errors import ConfigError
from dolma_pipe.train.checkpoints import checkpoint
from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.data.config import DocumentsConfig
from dolma_pipe.train.data.documents import Traced
from dolma_pipe.train.data.loader import Loader, check_same_data
from dolma_pipe.train.data.text_stream import TextSource
from dolma_pipe.train.metrics import read_metrics
from dolma_pipe.train.objective import Remembering, Traceable
from dolma_pipe.train.plan import make_plan

OpenDocuments = Callable[[DocumentsConfig], TextSource]


def training_order(run: str) -> Loader:
    """The order in which a run on token folders has shown its data, made again; refuses data that is not the same."""
    found = _examples(run, None)
    if not isinstance(found, Loader):
        raise ConfigError(f"{run}: was not trained on token folders")
    return found


def trace(run: str, step: int, open_documents: OpenDocuments | None = None) -> list[Traced]:
    """The documents of a step's batch, in the order of the batch; `step` counts from 1 as the metrics do.

    `open_documents` opens those of a run that was trained straight from documents.
    """
    examples = _examples(run, open_documents)
    lines = {line.step: line for line in read_metrics(run)}
    if step not in lines:
        raise ConfigError(f"{run}: step {step} is not among the {len(lines)} steps of its metrics")
    line = lines[step]
    shown = line.batch_size * line.sequence_length
    return examples.documents((line.tokens - shown) // line.sequence_length, line.batch_size, line.sequence_length)


def _examples(run: str, open_documents: OpenDocuments | None) -> Traceable:
    record = checkpoint.read_record(checkpoint.find(run))
    if "mixtures" not in record.data and "documents" not in record.data:
        raise ConfigError(f"trace: {run} was tuned on conversations; a step of pre-training has documents")
    config = convert(record.config, TrainConfig, f"{run}: the checkpoint's configuration")
    source = None if config.documents is None or open_documents is None else open_documents(config.documents)
    examples = make_plan(config, record.progress, source).examples
    check_same_data(record.data, examples.identity(), run)
    if isinstance(examples, Remembering):
        examples.remember(record.memory)
    assert isinstance(examples, Traceable)
    return examples
