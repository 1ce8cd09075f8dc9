"""Direct preference optimisation (Rafailov et al. 2023, equation 7).

    loss = -log sigmoid(beta * ((log p(chosen) - log q(chosen)) - (log p(rejected) - log q(rejected))))

averaged over pairs; p is the model that is trained, q the one that it started from, both given the prompt.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dolma_pipe.errors import DataError
from dolma_pipe.train.adaptation.chat import ChatEncoder, Message, chat_rows, starting_tokenizer
from dolma_pipe.train.adaptation.config import DpoConfig
from dolma_pipe.train.adaptation.tuning import Counted, Examples, TuneRows, fitting, keep_tokenizer, tune_plan
from dolma_pipe.train.checkpoints.start import architecture_of, load_weights
from dolma_pipe.train.data.chunks import IGNORED
from dolma_pipe.train.language_modelling import token_losses
from dolma_pipe.train.loop import TrainResult, run, sharded_model
from dolma_pipe.train.metrics import Listener
from dolma_pipe.train.model.transformer import Transformer
from dolma_pipe.train.objective import Loss, Report, Whole
from dolma_pipe.train.parallel import World
from dolma_pipe.train.phases import Progress
from dolma_pipe.train.plan import Plan


class PreferenceLoss:
    """The loss of pairs, and in the metrics: how often and by how much the chosen answer's reward is the higher one.

    An answer's reward is beta * (log p - log q).
    """

    def __init__(self, config: DpoConfig, world: World) -> None:
        self._config, self._world = config, world
        self.reference = sharded_model(config, architecture_of(config), world).eval().requires_grad_(False)
        load_weights(self.reference, config.start or "", world)
        self._sums = torch.zeros(5, dtype=torch.float64, device=world.device)

    def weight(self, rows: TuneRows) -> int:
        return int((rows.labels != IGNORED).flatten(1).any(dim=1).sum())

    def loss(self, model: Transformer, rows: TuneRows, whole: Whole) -> Loss:
        inputs, labels = (
            tensor.flatten(0, 1).to(self._world.device, non_blocking=True) for tensor in (rows.inputs, rows.labels)
        )
        with torch.no_grad():
            before = log_probabilities(self.reference, inputs, labels, self._config.per_token)
        now = log_probabilities(model, inputs, labels, self._config.per_token)
        routing = model.routing_loss
        rewards = self._config.beta * (now - before).view(-1, 2)
        counted = (labels != IGNORED).any(dim=1).view(-1, 2).any(dim=1)
        self._count(rewards.detach(), counted)
        losses = preference_losses(rewards) * counted
        return Loss(losses.sum() / whole.weight, None if routing is None else routing / whole.rows)

    def _count(self, rewards: Tensor, counted: Tensor) -> None:
        chosen, rejected = rewards[:, 0].double(), rewards[:, 1].double()
        found = torch.stack((torch.ones_like(chosen), chosen > rejected, chosen - rejected, chosen, rejected))
        self._sums += (found * counted).sum(dim=1)

    def report(self, step: int) -> Report:
        """Means over the pairs of the step."""
        pairs, *sums = self._world.add_up(self._sums.clone()).tolist()
        self._sums.zero_()
        names = ("reward_accuracy", "reward_margin", "chosen_reward", "rejected_reward")
        return Report(measures={name: total / max(pairs, 1.0) for name, total in zip(names, sums, strict=True)})


def preference_losses(rewards: Tensor) -> Tensor:
    """Of each pair's rewards [pairs, 2], the chosen one's first."""
    return -F.logsigmoid(rewards[:, 0] - rewards[:, 1])


def log_probabilities(model: Transformer, inputs: Tensor, labels: Tensor, per_token: bool) -> Tensor:
    """Of each row's labels that count [rows]: the sum, or the mean, of their log-probabilities."""
    sums = -token_losses(model(inputs), labels).sum(dim=1)
    return sums / (labels != IGNORED).sum(dim=1).clamp(min=1) if per_token else sums


def dpo(config: DpoConfig, listen: Listener = lambda event: None, force: bool = False) -> TrainResult | None:
    """Train until the end or a signal, from the newest checkpoint in `config.to` if there is one."""
    config.check()
    keep_tokenizer(config)
    return run(config, make_dpo_plan, listen, force)


def make_dpo_plan(config: DpoConfig, done: Progress | None = None) -> Plan:
    return tune_plan(config, pairs(config)[0], lambda world: PreferenceLoss(config, world), done)


def pairs(config: DpoConfig) -> tuple[Examples, Counted]:
    """The rows of a run, and what they hold."""
    stored = starting_tokenizer(config)
    encoder = ChatEncoder(stored, config.chat())
    said = [_pair(encoder, row, place) for row, place in chat_rows(config.data)]
    chosen, rejected = (encoder.encode([pair[number] for pair in said], last_only=True) for number in (0, 1))
    found = list(zip(chosen, rejected, strict=True))
    kept = fitting(found, config)
    rows = [[[part] for part in parts] for parts in kept]
    return Examples(rows, config, stored), Counted(len(kept), len(rows), len(found) - len(kept))


def _pair(encoder: ChatEncoder, row: dict[str, Any], place: str) -> tuple[list[Message], list[Message]]:
    chosen, rejected = (_conversation(encoder, row, name, place) for name in ("chosen", "rejected"))
    if chosen[:-1] != rejected[:-1]:
        raise DataError(f"{place}: chosen and rejected answer different prompts")
    return chosen, rejected


def _conversation(encoder: ChatEncoder, row: dict[str, Any], name: str, place: str) -> list[Message]:
    answer, prompt = row.get(name), row.get("prompt")
    if isinstance(answer, list):
        return encoder.messages(answer, place)
    if not isinstance(answer, str) or not isinstance(prompt, str):
        raise DataError(f"{place}: neither a text nor messages in {name!r} and 'prompt' ({', '.join(sorted(row))})")
    return [Message("user", prompt), Message("assistant", answer)]
