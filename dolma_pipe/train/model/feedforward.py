"""SwiGLU, alone or as one of several experts that a router chooses from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dolma_pipe.train.model.architecture import ExpertsConfig, ModelConfig
from dolma_pipe.train.model.layers import ExpertsLinear, Linear


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020): down(silu(gate(x)) * up(x))."""

    def __init__(self, config: ModelConfig, number: int) -> None:
        super().__init__()
        width, hidden = config.d_model, config.layer(number).ffn_hidden
        self.gate = Linear(width, hidden)
        self.up = Linear(width, hidden)
        self.down = Linear(hidden, width)

    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return self.down(F.silu(self.gate(x)) * self.up(x)), None


class Experts(nn.Module):
    """Each token's best SwiGLUs of several, their outputs weighed by a softmax over the chosen scores.

    No token is dropped and no expert has a capacity. Returns the scores [batch, length, experts] beside the output.
    """

    def __init__(self, config: ModelConfig, number: int, experts: ExpertsConfig) -> None:
        super().__init__()
        width, hidden = config.d_model, config.layer(number).ffn_hidden
        self.chosen = experts.chosen
        self.router = Linear(width, experts.count)
        self.gate = ExpertsLinear(experts.count, width, hidden)
        self.up = ExpertsLinear(experts.count, width, hidden)
        self.down = ExpertsLinear(experts.count, hidden, width)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.router(x)
        exact = scores.to(torch.promote_types(scores.dtype, torch.float32)).flatten(0, 1)
        best, experts = exact.topk(self.chosen, dim=-1)
        shares = best.softmax(dim=-1).to(x.dtype).flatten()
        order = experts.flatten().argsort(stable=True)  # the choices of all tokens, by expert
        counts = (experts.flatten()[:, None] == torch.arange(scores.shape[-1], device=x.device)).sum(dim=0)
        row, rows = order // self.chosen, x.flatten(0, 1)
        made = self._outputs(rows[row], counts) * shares[order, None]
        return torch.zeros_like(rows).index_add(0, row, made).view_as(x), scores

    def _outputs(self, rows: Tensor, counts: Tensor) -> Tensor:
        """Of the experts, each for its `counts` of the `rows`; in bfloat16 one kernel serves them all."""
        gate, up, down = (part.weight.to(rows.dtype) for part in (self.gate, self.up, self.down))
        if rows.dtype == torch.bfloat16:
            ends = counts.cumsum(dim=0).to(torch.int32)
            inner = F.silu(grouped_product(rows, gate, ends)) * grouped_product(rows, up, ends)
            return grouped_product(inner, down, ends)
        parts = zip(rows.split(counts.tolist()), gate, up, down, strict=True)
        return torch.cat([F.linear(F.silu(F.linear(part, g)) * F.linear(part, u), d) for part, g, u, d in parts])


def grouped_product(rows: Tensor, weight: Tensor, ends: Tensor) -> Tensor:
    """Rows [n, inputs] up to each of `ends` [experts] times that expert's `weight` [experts, outputs, inputs]."""
    return F.grouped_mm(rows, weight.transpose(1, 2), offs=ends)


def balance_loss(scores: Tensor, chosen: int) -> Tensor:
    """The balancing loss of every sequence, summed; `scores` [layers, batch, length, experts].

    As Hugging Face's Mixtral computes it over a batch: experts x sum over experts and choices of (share of the tokens
    of all layers whose choice it is) x (mean probability).
    """
    exact = scores.to(torch.promote_types(scores.dtype, torch.float32))
    shares = F.one_hot(exact.topk(chosen, dim=-1).indices, exact.shape[-1]).to(exact.dtype).mean(dim=(0, 2))
    probabilities = exact.softmax(dim=-1).mean(dim=(0, 2))
    return exact.shape[-1] * (shares * probabilities[:, None]).sum()


def router_z_loss(scores: Tensor) -> Tensor:
    """mean(logsumexp(scores)^2) over layers and positions of every sequence, summed (Zoph et al. 2022, section 3.1)."""
    exact = scores.to(torch.promote_types(scores.dtype, torch.float32))
    return exact.logsumexp(dim=-1).square().mean(dim=(0, 2)).sum()
