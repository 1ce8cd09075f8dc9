"""Pre-training's objective: the mean loss of the next token, by source where asked."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dolma_pipe.train.config import TrainConfig
from dolma_pipe.train.data.loader import IGNORED, Batch
from dolma_pipe.train.model.compiling import compiled
from dolma_pipe.train.model.transformer import Transformer
from dolma_pipe.train.objective import Loss, Report, Whole
from dolma_pipe.train.parallel import World
from dolma_pipe.train.sources import SourceLosses, SourceNames


class LanguageModelling:
    """Cross-entropy of the labels that count, with z-loss and the experts' routing loss."""

    def __init__(self, config: TrainConfig, names: SourceNames | None, world: World) -> None:
        self._z_loss, self._every, self._device = config.z_loss, config.source_loss_every, world.device
        self._losses = compiled(label_losses) if config.compile else label_losses
        self._sources = None if names is None else SourceLosses(names, world)
        self._seen = self._positions = 0

    def weight(self, rows: Batch) -> int:
        return int((rows.labels != IGNORED).sum())

    def loss(self, model: Transformer, rows: Batch, whole: Whole) -> Loss:
        documents = None if rows.documents is None else rows.documents.to(self._device, non_blocking=True)
        labels = rows.labels.to(self._device, non_blocking=True)
        logits = model(rows.inputs.to(self._device, non_blocking=True), documents)
        losses, z_loss = self._losses(logits, labels, self._z_loss > 0)
        if rows.documents is not None:
            self._seen += positions_seen(rows.documents, model.config.sliding_window)
            self._positions += rows.documents.numel()
        if self._sources is not None and rows.sources is not None:
            again = rows.again.to(self._device, non_blocking=True)
            self._sources.add(losses, labels != IGNORED, rows.sources.to(self._device, non_blocking=True), again)
        return Loss(losses.sum() / whole.weight, self._extra(model.routing_loss, z_loss, whole))

    def _extra(self, routing: Tensor | None, z_loss: Tensor | None, whole: Whole) -> Tensor | None:
        extra = None if routing is None else routing / whole.rows
        if z_loss is not None:
            z = self._z_loss * z_loss / whole.weight
            extra = z if extra is None else extra + z
        return extra

    def report(self, step: int) -> Report:
        seen = self._seen / self._positions if self._positions else None
        self._seen = self._positions = 0
        if self._sources is None or step % self._every:
            return Report(seen=seen)
        return Report(sources=self._sources.report(), seen=seen)


def positions_seen(documents: Tensor, window: int | None) -> int:
    """How many keys all positions together attend to; `documents` [rows, S] numbers each position's document."""
    positions = torch.arange(documents.shape[1]).expand_as(documents)
    begins = torch.ones_like(documents, dtype=torch.bool)
    begins[:, 1:] = documents[:, 1:] != documents[:, :-1]
    first = torch.where(begins, positions, 0).cummax(dim=1).values
    seen = positions - first + 1
    return int((seen if window is None else seen.clamp(max=window)).sum())


def label_losses(logits: Tensor, labels: Tensor, with_z: bool) -> tuple[Tensor, Tensor | None]:
    """`token_losses`, and the `summed_z_loss` where asked; compiled, neither writes down float32 logits."""
    return token_losses(logits, labels), summed_z_loss(logits, labels) if with_z else None


def token_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each label in nats [rows, S], 0 where it does not count; computed in float32 or better."""
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    flat = F.cross_entropy(exact.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return flat.view_as(labels)


def summed_z_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """logsumexp(logits)^2, summed over the labels that count; computed in float32 or better."""
    exact = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (exact.logsumexp(dim=-1).square() * (labels != IGNORED)).sum()
