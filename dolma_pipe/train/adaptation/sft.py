"""Instruction tuning: the loss of answers, given the conversation before them."""

from __future__ import annotations

from dolma_pipe.train.adaptation.chat import ChatEncoder, chat_rows, starting_tokenizer
from dolma_pipe.train.adaptation.config import SftConfig
from dolma_pipe.train.adaptation.tuning import Counted, Examples, TuneRows, fitting, keep_tokenizer, packed, tune_plan
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.language_modelling import token_losses
from dolma_pipe.train.loop import TrainResult, run
from dolma_pipe.train.metrics import Listener
from dolma_pipe.train.model.transformer import Transformer
from dolma_pipe.train.objective import Loss, Report, Whole
from dolma_pipe.train.parallel import World
from dolma_pipe.train.phases import Progress
from dolma_pipe.train.plan import Plan


class AnswerLoss:
    """Cross-entropy of the answers' tokens, over their number in the whole batch; the experts' routing loss besides."""

    def __init__(self, world: World) -> None:
        self._device = world.device

    def weight(self, rows: TuneRows) -> int:
        return int((rows.labels != IGNORED).sum())

    def loss(self, model: Transformer, rows: TuneRows, whole: Whole) -> Loss:
        inputs, labels, documents = (part.to(self._device, non_blocking=True) for part in rows)
        logits = model(inputs, documents)
        routing = model.routing_loss
        mean = token_losses(logits, labels).sum() / whole.weight
        return Loss(mean, None if routing is None else routing / whole.rows)

    def report(self, step: int) -> Report:
        return Report()


def sft(config: SftConfig, listen: Listener = lambda event: None, force: bool = False) -> TrainResult | None:
    """Tune until the end or a signal, from the newest checkpoint in `config.to` if there is one."""
    config.check()
    keep_tokenizer(config)
    return run(config, make_sft_plan, listen, force)


def make_sft_plan(config: SftConfig, done: Progress | None = None) -> Plan:
    return tune_plan(config, conversations(config)[0], AnswerLoss, done)


def conversations(config: SftConfig) -> tuple[Examples, Counted]:
    """The rows of a run, and what they hold."""
    stored = starting_tokenizer(config)
    encoder = ChatEncoder(stored, config.chat())
    said = [encoder.messages(row.get("messages"), place) for row, place in chat_rows(config.data)]
    found = encoder.encode(said)
    kept = [parts[0] for parts in fitting([(one,) for one in found], config)]
    rows = packed(kept, config.sequence_length, config.pack)
    counted = Counted(len(kept), len(rows), len(found) - len(kept))
    return Examples([[row] for row in rows], config, stored), counted
