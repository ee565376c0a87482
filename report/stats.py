"""Means over seeds and differences between groups of runs, each with its 95 % interval.

A seed fixes the initial weights and the order of the images, so that runs of two models at one seed are a pair. All
intervals are Student's t: they say how far the mean over these few seeds may be from the mean over all seeds, not how
it would be on other images.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# The 97.5 % quantiles of Student's t by degrees of freedom; beyond, those of 40, 60, 120 and infinitely many.
T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
T_975_BEYOND = ((30, 2.042), (40, 2.021), (60, 2.000), (120, 1.980))


Z_975 = 1.959964
"""The 97.5 % quantile of the standard normal distribution."""


def t_quantile(degrees: int) -> float:
    """The 97.5 % quantile of Student's t; between the rows of the table that of the fewer degrees, which is wider."""
    if degrees <= len(T_975):
        return T_975[degrees - 1]
    return [quantile for least, quantile in T_975_BEYOND if least <= degrees][-1]


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means, over ``n`` seeds.

    Attributes:
        mean: in the unit of the values.
        sd: their sample standard deviation (of paired differences, for pairs); None where n is 1.
        half: half the width of the 95 % interval; None where there is none.
        how: what the interval of a difference rests on: ``paired`` or ``pooled``; empty for a mean.
    """

    mean: float
    n: int
    sd: float | None = None
    half: float | None = None
    how: str = ""

    @property
    def low(self) -> float | None:
        return None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        return None if self.half is None else self.mean + self.half


def mean(values: Sequence[float], how: str = "") -> Estimate:
    """The mean of one value per seed; NaN, without an interval, where one of them is."""
    n = len(values)
    if n < 2 or any(map(math.isnan, values)):
        return Estimate(statistics.fmean(values), n, how=how)
    sd = statistics.stdev(values)
    return Estimate(statistics.fmean(values), n, sd, t_quantile(n - 1) * sd / math.sqrt(n), how)


@dataclass(frozen=True)
class Pooled:
    """The standard deviation between seeds that several groups of runs have in common, and its degrees of freedom."""

    sd: float
    degrees: int


def pool(groups: Sequence[Sequence[float]]) -> Pooled | None:
    """The pooled standard deviation of groups of values; None where no group has two."""
    groups = [group for group in groups if len(group) > 1 and not any(map(math.isnan, group))]
    degrees = sum(len(group) - 1 for group in groups)
    if not degrees:
        return None
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups)
    return Pooled(math.sqrt(squares / degrees), degrees)


def difference(a: Mapping[int, float], b: Mapping[int, float], pooled: Pooled | None = None) -> Estimate:
    """The mean of ``a`` less that of ``b``, values by seed.

    With two seeds or more in common it is the mean of the paired differences. Else its interval takes for granted that
    seeds make as much difference in these two groups as in those that were pooled; without any there is no interval.
    """
    shared = sorted(a.keys() & b.keys())
    if len(shared) > 1:
        return mean([a[seed] - b[seed] for seed in shared], "paired")
    apart = statistics.fmean(a.values()) - statistics.fmean(b.values())
    n = min(len(a), len(b))
    if pooled is None:
        return Estimate(apart, n)
    half = t_quantile(pooled.degrees) * pooled.sd * math.sqrt(1 / len(a) + 1 / len(b))
    return Estimate(apart, n, pooled.sd, half, "pooled")


def proportion(percent: float, n: int) -> Estimate:
    """A share of ``n`` images in percent, with its interval by the normal distribution."""
    sd = math.sqrt(percent * (100 - percent))
    return Estimate(percent, n, sd, Z_975 * sd / math.sqrt(n))


def less(a: Estimate, b: Estimate) -> Estimate:
    """The difference of two independent estimates, with the interval that follows from theirs."""
    half = None if a.half is None or b.half is None else math.hypot(a.half, b.half)
    return Estimate(a.mean - b.mean, a.n, half=half)


def correlation(x: Sequence[float], y: Sequence[float]) -> tuple[float, float, float]:
    """Pearson's r of two lists of the same n values each, and the ends of its 95 % interval.

    The interval is Fisher's: atanh(r) is about normal with standard deviation 1/√(n − 3); see Fisher, 1921, "On the
    'Probable Error' of a Coefficient of Correlation Deduced from a Small Sample". It takes the pairs for independent
    draws of a bivariate normal distribution, which ten classes hardly are: it is a guide.

    Raises:
        ValueError: the lists differ in length, have fewer than four values, or all values of one are equal.
    """
    n = len(x)
    if n != len(y) or n < 4:
        raise ValueError(f"{n} and {len(y)} values: a correlation with an interval takes two lists of at least 4")
    if min(x) == max(x) or min(y) == max(y):
        raise ValueError("all values of a list are equal: there is no correlation")
    r = max(-1.0, min(1.0, statistics.correlation(x, y)))
    if abs(r) == 1:
        return r, r, r
    half = Z_975 / math.sqrt(n - 3)
    return r, math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
