"""`upsample`: documents are repeated, or left out, by a number that each of them has; instead of `sample`.

By a curve over percentiles, as Olmo 3 did it (Olmo team 2025, quality-aware upsampling):

    - upsample: {by: quality.score, group: topic.label, start: 0.4, max_epochs: 7, epochs: 1.2}
    - upsample: {by: quality.score, start: 0.4, max_epochs: 7, share: 0.5}
    - upsample: {by: quality.score, group: topic.label, start: 0.4, max_epochs: 7, epochs: 1,
                 groups: {science: 3, games: 1}}

The documents that are left are ordered by `by` within their `group` and put into `buckets` (20) of equal weight,
weighed as the budget counts (tokens, bytes, documents; bytes without a budget). Where x (0..1) is the share of the
weight below, a document is taken

    f(x) = 0 for x < start, else max_epochs * ((x - start) / (1 - start)) ** p

times, averaged over its bucket, with the p for which the mean of f is what the group is to have: `epochs` times what
it has, or its part of a `share` of the budget. `groups` divide the source by shares of their own. Of Olmo 3's family,
C (x - start)^p exp(l (x - start)), these are the curves with l = 0 that end at the cap. The mean is at most
max_epochs * (1 - start); more is a shortfall (the budget's `on_shortfall`).

By a table, as FineWeb 2 repeats what the web repeats (Penedo et al. 2025, "rehydration" by the size of a cluster):

    - upsample: {by: dedup_minhash.size, rates: {1: 1, 2: 2, 3: 3, 5: 5, 100: 8, 1000: 1}}

The last entry that `by` reaches says how often; below the first one a document is dropped. A fraction is the
probability of one more copy. With a `share`, the fractions are chosen in the order of the documents' hashes, so that
the target is reached within one document; `mix.lock.json` has the rate that each bucket got.
"""

from __future__ import annotations

from collections.abc import Sequence

from dolma_pipe import mixer
from dolma_pipe.config import Config
from dolma_pipe.errors import ConfigError
from dolma_pipe.rules import Expression


class _Settings(Config, frozen=True):
    by: str
    group: str | None = None
    rates: dict[str, float] | None = None
    start: float | None = None
    max_epochs: float | None = None
    epochs: float | None = None
    share: float | None = None
    groups: dict[str, float] | None = None
    buckets: int | None = None


_CURVE = ("group", "start", "max_epochs", "epochs", "share", "groups", "buckets")


class Upsample(mixer.Step):
    def parts(self) -> Sequence[mixer.Sample]:
        given = mixer.settings(self, _Settings)
        value = Expression("upsample: by", given.by, self.file, "DOUBLE")
        if given.rates is not None:
            return [mixer.Sample(upsample=mixer.Upsample(value, rates=self._rates(given)))]
        self._check(given)
        group = Expression("upsample: group", given.group, self.file, "VARCHAR") if given.group else None
        start, most = given.start or 0.0, given.max_epochs or 1.0
        shares = tuple((given.groups or {}).items())
        how = mixer.Upsample(value, group, (), start, most, given.buckets or 20, shares)
        return [mixer.Sample(given.epochs, given.share, most * (1 - start), upsample=how)]

    def _rates(self, given: _Settings) -> tuple[tuple[float, float], ...]:
        idle = [name for name in _CURVE if getattr(given, name) is not None]
        if idle:
            raise ConfigError(f"{self.where}: {idle[0]} has no effect beside 'rates'; remove one of them")
        try:
            found = sorted((float(least), rate) for least, rate in (given.rates or {}).items())
        except ValueError as error:
            raise ConfigError(f"{self.where}: rates: expected numbers, as in {{1: 1, 5: 2.5}}: {error}") from error
        if any(not 0 <= rate < 1e6 for _, rate in found) or not any(rate for _, rate in found):
            raise ConfigError(
                f"{self.where}: rates: {given.rates} takes no document, or none so often; say how often from which "
                "value on"
            )
        return tuple(found)

    def _check(self, given: _Settings) -> None:
        if (given.epochs is None) == (given.share is None):
            raise ConfigError(f"{self.where}: give 'rates', or one of 'epochs' and 'share', found {self.value!r}")
        if given.max_epochs is None:
            raise ConfigError(f"{self.where}: max_epochs: how often may the best documents be taken at most?")
        if given.groups is not None and given.group is None:
            raise ConfigError(f"{self.where}: groups has no effect without 'group'")
        numbers = {"max_epochs": given.max_epochs, "epochs": given.epochs, "share": given.share}
        numbers |= {f"groups: {name}": share for name, share in (given.groups or {}).items()}
        for name, number in numbers.items():
            if number is not None and not 0 < number < 1e6:
                raise ConfigError(f"{self.where}: {name}: {number} is not a positive number below a million")
        if given.start is not None and not 0 <= given.start < 1:
            raise ConfigError(f"{self.where}: start: {given.start} is no percentile from 0 up to 1")
        if given.buckets is not None and not 2 <= given.buckets <= 1000:
            raise ConfigError(f"{self.where}: buckets: {given.buckets} is not between 2 and 1000")
        most = given.max_epochs * (1 - (given.start or 0.0))
        if given.epochs is not None and given.epochs > most:
            raise ConfigError(
                f"{self.where}: epochs: {given.epochs:g} on average cannot be had: nothing below start = "
                f"{given.start or 0:g} and at most {given.max_epochs:g} times the rest makes {most:g}"
            )
