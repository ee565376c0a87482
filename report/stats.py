"""Means over seeds and differences between groups of runs, each with its 95 % interval.

A seed fixes the initial weights and the order of the images, so runs of two models at one seed are a pair. The
intervals are Student's t: how far the mean over these seeds may be from that over all, not what other images would do.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from scipy.stats import norm, pearsonr, t

QUANTILE = 0.975  # where a two-sided 95 % interval ends


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means, over ``n`` seeds."""

    mean: float  # in the unit of the values
    n: int
    sd: float = math.nan  # the values' sample standard deviation, for pairs that of their differences; NaN if unknown
    half_width: float = math.inf  # of the 95 % interval; infinite where nothing tells how far the mean may be off
    method: str = ""  # what the interval of a difference rests on: "paired" or "pooled"

    @property
    def low(self) -> float:
        return self.mean - self.half_width

    @property
    def high(self) -> float:
        return self.mean + self.half_width

    @property
    def has_interval(self) -> bool:
        return math.isfinite(self.half_width)


class PooledSd(NamedTuple):
    sd: float  # between seeds, which several groups of runs have in common
    degrees: int  # of freedom


def mean(values: Sequence[float], method: str = "") -> Estimate:
    """Estimate the mean of one value per seed; it is NaN, without an interval, where one of them is."""
    average, n = statistics.fmean(values), len(values)
    if n < 2 or math.isnan(average):
        return Estimate(average, n, method=method)
    sd = statistics.stdev(values)
    return Estimate(average, n, sd, float(t.ppf(QUANTILE, n - 1)) * sd / math.sqrt(n), method)


def pool_sd(groups: Sequence[Sequence[float]]) -> PooledSd | None:
    """Pool the standard deviations of groups of values; None where no group has two."""
    groups = [group for group in groups if len(group) > 1 and not any(map(math.isnan, group))]
    degrees = sum(len(group) - 1 for group in groups)
    if not degrees:
        return None
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups)
    return PooledSd(math.sqrt(squares / degrees), degrees)


def difference(a: Mapping[int, float], b: Mapping[int, float], pooled_sd: PooledSd | None = None) -> Estimate:
    """Estimate the mean of ``a`` less that of ``b``, values by seed.

    With two seeds or more in common it is the mean of the paired differences. Else its interval takes for granted that
    seeds make as much difference in these two groups as in those that were pooled; without any there is no interval.
    """
    shared = sorted(a.keys() & b.keys())
    if len(shared) > 1:
        return mean([a[seed] - b[seed] for seed in shared], "paired")
    gap, n = statistics.fmean(a.values()) - statistics.fmean(b.values()), min(len(a), len(b))
    if pooled_sd is None:
        return Estimate(gap, n)
    half_width = float(t.ppf(QUANTILE, pooled_sd.degrees)) * pooled_sd.sd * math.sqrt(1 / len(a) + 1 / len(b))
    return Estimate(gap, n, pooled_sd.sd, half_width, "pooled")


def difference_independent(a: Estimate, b: Estimate) -> Estimate:
    """Subtract two independent estimates."""
    return Estimate(a.mean - b.mean, a.n, half_width=math.hypot(a.half_width, b.half_width))


def proportion(percent: float, n: int) -> Estimate:
    """Estimate a share of ``n`` images in percent, with its interval by the normal distribution."""
    sd = math.sqrt(percent * (100 - percent))
    return Estimate(percent, n, sd, float(norm.ppf(QUANTILE)) * sd / math.sqrt(n))


def correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Compute Pearson's r and the ends of its 95 % interval: Fisher's, for independent pairs of normal values."""
    if len(x) != len(y) or len(x) < 4:
        raise ValueError(f"{len(x)} and {len(y)} values: a correlation with an interval takes two lists of at least 4")
    if min(x) == max(x) or min(y) == max(y):
        raise ValueError("all values of a list are equal: there is no correlation")
    r = pearsonr(x, y)
    interval = r.confidence_interval(0.95)
    return float(r.statistic), float(interval.low), float(interval.high)
