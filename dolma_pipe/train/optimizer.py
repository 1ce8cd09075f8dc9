"""AdamW with OLMo's decay groups, the learning-rate schedule, and the norm of sharded gradients."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from dolma_pipe.train.config import OptimizerConfig, ScheduleConfig
from dolma_pipe.train.model.layers import Embedding, RmsNorm


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.AdamW:
    """AdamW over all of the model's parameters, in a decayed and an undecayed group."""
    undecayed = set(_undecayed(model, config))
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p not in undecayed], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p in undecayed], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, eps=config.eps, fused=True)


def _undecayed(model: nn.Module, config: OptimizerConfig) -> Iterable[nn.Parameter]:
    kinds = (Embedding,) * (not config.decay_embeddings) + (RmsNorm,) * (not config.decay_norms)
    return [module.weight for module in model.modules() if isinstance(module, kinds)]


def prepare_state(optimizer: torch.optim.AdamW) -> None:
    """Give the optimizer the state of zero steps, for a checkpoint to be read into."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            optimizer.state[parameter] = {
                "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
                "exp_avg": torch.zeros_like(parameter).detach(),
                "exp_avg_sq": torch.zeros_like(parameter).detach(),
            }


def learning_rate(config: ScheduleConfig, peak: float, step: int, steps: int) -> float:
    """The rate of update `step`, counted from 1 as OLMo does, of a schedule over `steps`.

    Warm-up: linear from `warmup_start_fraction` of the peak. Then, with t of T steps of decay gone and the final rate
    f: cosine f + (peak - f)(1 + cos(pi t/T))/2, linear peak - (peak - f) t/T, sqrt peak - (peak - f) sqrt(t/T).
    """
    if step < config.warmup_steps:
        start = config.warmup_start_fraction * peak
        return start + (peak - start) * step / config.warmup_steps
    if config.decay == "constant":
        return peak
    if config.decay == "inverse_sqrt":
        return peak * math.sqrt(max(config.warmup_steps, 1) / max(step, 1))
    final = (0.1 if config.final_fraction is None else config.final_fraction) * peak
    decay = steps - config.warmup_steps
    if config.decay_fraction is not None:
        decay = round(config.decay_fraction * steps)
    decay = max(decay, 1)
    gone = min(1.0, max(0.0, (step - steps + decay) / decay))
    return final + (peak - final) * _left(config.decay, gone)


def _left(decay: str, gone: float) -> float:
    """What is left of a decay from 1 to 0."""
    if decay == "cosine":
        return (1 + math.cos(math.pi * gone)) / 2
    return 1 - (math.sqrt(gone) if decay == "sqrt" else gone)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


def max_grad_norm(config: OptimizerConfig, step: int) -> float | None:
    """The norm to clip to at update `step` (counted from 1), None for no clipping."""
    if config.max_grad_norm is None:
        return None
    return config.max_grad_norm * (config.clip_warmup_factor if step <= config.clip_warmup_steps else 1.0)


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The 2-norm of the whole gradient; every rank gets the same number."""
    norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
