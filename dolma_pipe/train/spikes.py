"""Which steps are skipped: those whose loss or gradient is not finite, or far above what it has been."""

from __future__ import annotations

import math
from statistics import fmean, pstdev

import msgspec

from dolma_pipe.errors import TaskError
from dolma_pipe.train.config import SkipConfig


class GuardState(msgspec.Struct, frozen=True):
    """Losses and gradient norms of the last steps that were not skipped, and the steps that lately were."""

    losses: list[float] = []
    norms: list[float] = []
    skipped: list[int] = []


class SpikeGuard:
    """Judges each step by those before it; all ranks see the same numbers and judge alike."""

    def __init__(self, config: SkipConfig, state: GuardState) -> None:
        self._config = config
        self.state = state

    def begin_anew(self) -> None:
        """Forget what was usual: another batch size or mixture has other losses and gradients."""
        self.state = GuardState(skipped=self.state.skipped)

    def judge(self, step: int, loss: float, norm: float) -> str | None:
        """Why a step is to be skipped, None if it is not; one skip too many is an error."""
        reason = _not_finite(loss, norm) or self._spike(loss, norm)
        window, state = self._config.window, self.state
        if reason is None:
            losses, norms = [*state.losses, loss][-window:], [*state.norms, norm][-window:]
            self.state = GuardState(losses, norms, state.skipped)
            return None
        skipped = [*(old for old in state.skipped if old > step - window), step]
        self.state = msgspec.structs.replace(state, skipped=skipped)
        if len(skipped) > self._config.most:
            raise TaskError(
                f"step {step}: {reason}; that is skip {len(skipped)} in {window} steps, and skip.most allows "
                f"{self._config.most}; the weights were not updated. Lower optimizer.learning_rate, go back to an "
                "earlier checkpoint, or look at the documents in skipped.jsonl"
            )
        return reason

    def _spike(self, loss: float, norm: float) -> str | None:
        sigma = self._config.spike_sigma
        if sigma is None or len(self.state.losses) < self._config.window // 2:
            return None
        for name, value, before in (("loss", loss, self.state.losses), ("gradient norm", norm, self.state.norms)):
            mean, deviation = fmean(before), pstdev(before)
            if value > mean + sigma * deviation:
                return f"{name} {value:.4g} is above {mean:.4g} + {sigma:g} x {deviation:.2g}"
        return None


def _not_finite(loss: float, norm: float) -> str | None:
    if math.isfinite(loss) and math.isfinite(norm):
        return None
    return f"loss {loss}, gradient norm {norm}"
