"""What Transformers are made of: products, embeddings, norms. None holds a buffer or draws a number when it is made."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Linear(nn.Linear):
    """A product without bias that computes in its input's dtype: float32 weights serve a bfloat16 pass."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def reset_parameters(self) -> None:
        """Values come from `materialise`."""

    def forward(self, input: Tensor) -> Tensor:
        return F.linear(input, self.weight.to(input.dtype))


class ExpertsLinear(nn.Module):
    """One product per expert: weight [experts, outputs, inputs]."""

    def __init__(self, experts: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(experts, outputs, inputs))


class Embedding(nn.Module):
    """Rows by id."""

    def __init__(self, rows: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, width))

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)


class LayerNorm(nn.Module):
    """LayerNorm without scale and shift: (x - mean) / sqrt(variance + eps)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.width, self.eps = width, eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, (self.width,), eps=self.eps)


class RmsNorm(nn.Module):
    """scale * x / sqrt(mean(x^2) + eps) (Zhang and Sennrich 2019), in float32 or better."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.empty(width))

    def forward(self, x: Tensor) -> Tensor:
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        return F.rms_norm(exact, (self.width,), self.weight.to(exact.dtype), self.eps).to(x.dtype)


Norm = LayerNorm | RmsNorm
