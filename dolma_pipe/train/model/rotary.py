"""Rotary positions, as they were trained and scaled to longer sequences."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dolma_pipe.train.model.architecture import RopeScaling

Turns = tuple[Tensor, Tensor]


class Rotary(nn.Module):
    """Rotary positions (Su et al. 2021): dimensions j and j + width/2 turn by position * theta^(-2j/width).

    That pairing is the half layout, Hugging Face's; Meta's checkpoints pair 2j and 2j + 1. Angles and turns are
    float32 whatever the model computes in (float64 for a float64 model), as with OLMo's `rope_full_precision`.
    """

    def __init__(self, width: int, theta: float, scaling: RopeScaling | None = None) -> None:
        super().__init__()
        self.width, self.theta, self.scaling = width, theta, scaling

    def table(self, length: int, like: Tensor, first: int = 0) -> Turns:
        """Cosines and sines of the positions from `first` on, each [length, width / 2]."""
        dtype = torch.promote_types(like.dtype, torch.float32)
        exponents = torch.arange(0, self.width, 2, dtype=dtype, device=like.device) / self.width
        positions = torch.arange(first, first + length, dtype=dtype, device=like.device)
        angles = torch.outer(positions, self._frequencies(exponents))
        size = _attention_factor(self.scaling)
        return (angles.cos(), angles.sin()) if size == 1 else (angles.cos() * size, angles.sin() * size)

    def _frequencies(self, exponents: Tensor) -> Tensor:
        """Radians per position of each pair of dimensions."""
        frequencies = 1.0 / self.theta**exponents
        scaling = self.scaling
        if scaling is None:
            return frequencies
        if scaling.kind == "linear":
            return frequencies / scaling.factor
        if scaling.kind == "ntk":
            return 1.0 / (self.theta * scaling.factor ** (self.width / (self.width - 2))) ** exponents
        is_yarn = scaling.kind == "yarn"
        kept = self._yarn_kept(scaling, len(exponents)) if is_yarn else _llama3_kept(scaling, frequencies)
        kept = kept.to(frequencies.device, frequencies.dtype)
        return frequencies / scaling.factor * (1 - kept) + frequencies * kept

    def _yarn_kept(self, scaling: RopeScaling, pairs: int) -> Tensor:
        """How much of each frequency stays as it was: a ramp between the pairs that turn so often."""
        low = max(math.floor(self._pair_turning(scaling, scaling.beta_fast or 32.0)), 0)
        high = min(math.ceil(self._pair_turning(scaling, scaling.beta_slow or 1.0)), self.width - 1)
        ramp = (torch.arange(pairs, dtype=torch.float64) - low) / max(high - low, 0.001)
        return 1 - ramp.clamp(0, 1)

    def _pair_turning(self, scaling: RopeScaling, turns: float) -> float:
        """The (real) number of the pair that turns so often in the original length."""
        length = scaling.original_length or 1
        return self.width * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(self.theta))

    @staticmethod
    def turn(x: Tensor, table: Turns) -> Tensor:
        """Turn [..., length, width] by its positions."""
        cos, sin = table
        first, second = x.to(cos.dtype).chunk(2, dim=-1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


def _llama3_kept(scaling: RopeScaling, frequencies: Tensor) -> Tensor:
    """How much of each frequency stays as it was, by its wavelengths in the original length."""
    low, high = scaling.low_frequency_factor or 1.0, scaling.high_frequency_factor or 4.0
    turns = (scaling.original_length or 1) * frequencies / (2 * math.pi)
    return ((turns - low) / (high - low)).clamp(0, 1)


def _attention_factor(scaling: RopeScaling | None) -> float:
    """YaRN's factor of queries and keys (Peng et al. 2023, section 3.4)."""
    if scaling is None or scaling.kind != "yarn":
        return 1.0
    return 0.1 * math.log(scaling.factor) + 1.0
