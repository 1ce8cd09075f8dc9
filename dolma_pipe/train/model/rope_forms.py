"""Scaled rotary positions as Hugging Face's config.json has them."""

from __future__ import annotations

from typing import Any

from dolma_pipe.errors import ConfigError
from dolma_pipe.train.model.architecture import ModelConfig, RopeScaling
from dolma_pipe.types import Plain

_NAMES = {
    "factor": "factor", "original_length": "original_max_position_embeddings", "beta_fast": "beta_fast",
    "beta_slow": "beta_slow", "low_frequency_factor": "low_freq_factor", "high_frequency_factor": "high_freq_factor",
}  # fmt: skip
_DEFAULTS = {"beta_fast": 32.0, "beta_slow": 1.0, "low_frequency_factor": 1.0, "high_frequency_factor": 4.0}
_USED = {
    "linear": ("factor",),
    "yarn": ("factor", "original_length", "beta_fast", "beta_slow"),
    "llama3": ("factor", "original_length", "low_frequency_factor", "high_frequency_factor"),
}


def to_hugging_face(config: ModelConfig) -> dict[str, Plain]:
    """The keys of a config.json that say how positions turn; `ntk` is another theta there."""
    scaling, theta = config.rope_scaling, config.rope_theta
    if scaling is None or scaling.kind == "ntk":
        if scaling is not None:
            theta *= scaling.factor ** (config.head / (config.head - 2))
        return {"rope_theta": theta, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    found: dict[str, Plain] = {"rope_type": scaling.kind, "rope_theta": theta}
    for ours in _USED[scaling.kind]:
        value = getattr(scaling, ours)
        found[_NAMES[ours]] = _DEFAULTS[ours] if value is None else value
    return {"rope_theta": theta, "rope_parameters": found, "rope_scaling": found}


def from_hugging_face(found: dict[str, Any], where: str) -> RopeScaling | None:
    """The scaling that a config.json's `rope_parameters` (or `rope_scaling`) describe; what is not ours is refused."""
    kind = found.get("rope_type", found.get("type", "default"))
    if kind == "default":
        return None
    if kind not in _USED or found.get("attention_factor") or found.get("mscale") or found.get("truncate") is False:
        raise ConfigError(f"{where}: rotary positions scaled like {found} are not supported")
    values = {ours: found[_NAMES[ours]] for ours in _USED[kind] if found.get(_NAMES[ours]) is not None}
    return RopeScaling(kind=kind, **values)
