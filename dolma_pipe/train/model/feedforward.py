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
        shares = best.softmax(dim=-1).to(x.dtype)
        rows = x.flatten(0, 1)
        gate, up, down = (part.weight.to(x.dtype) for part in (self.gate, self.up, self.down))
        out = torch.zeros_like(rows)
        for expert in range(len(gate)):
            row, choice = torch.where(experts == expert)
            given = rows[row]
            made = F.linear(F.silu(F.linear(given, gate[expert])) * F.linear(given, up[expert]), down[expert])
            out = out.index_add(0, row, made * shares[row, choice, None])
        return out.view_as(x), scores


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
