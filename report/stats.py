"""Means over seeds and differences between groups of runs, each with its 95 % interval.

A seed fixes the initial weights and the order of the images, and whatever is changed changes both as a new seed does:
runs of two models at one seed have no more in common than others (Summers and Dinneen, 2021, "Nondeterminism and
Instability in Neural Network Optimization"; Jordan, 2023, "Calibrated Chaos"). So they are no pairs, and the intervals
are Student's t and Welch's: how far the mean over these draws may be from that over all.
"""

import math
import statistics
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import chi2, f, nct, norm, pearsonr, studentized_range, t

QUANTILE = 0.975  # where a two-sided 95 % interval ends
POWER = 0.8  # how often a study is to find a difference that is there
MOST_SEEDS = 1000  # beyond which a question is left open


@dataclass(frozen=True)
class Estimate:
    """A mean, or a difference of means, over ``n`` seeds."""

    mean: float  # in the unit of the values
    n: int
    # The values' sample standard deviation; for a difference that of one side, their root mean square; NaN if unknown.
    sd: float = math.nan
    half_width: float = math.inf  # of the 95 % interval; infinite where nothing tells how far the mean may be off
    method: str = ""  # what the interval of a difference rests on: "Welch", "pooled" or "paired"
    degrees: float = math.inf  # of freedom of the t distribution that it is taken from; infinite: the normal one

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
    return Estimate(average, n, sd, float(t.ppf(QUANTILE, n - 1)) * sd / math.sqrt(n), method, n - 1)


def pool_sd(groups: Sequence[Sequence[float]]) -> PooledSd | None:
    """Pool the standard deviations of groups of values; None where no group has two."""
    groups = [group for group in groups if len(group) > 1 and not any(map(math.isnan, group))]
    degrees = sum(len(group) - 1 for group in groups)
    if not degrees:
        return None
    squares = sum(statistics.variance(group) * (len(group) - 1) for group in groups)
    return PooledSd(math.sqrt(squares / degrees), degrees)


class Spread(NamedTuple):
    sd: float  # of the values, with the ends of its 95 % interval
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    """Estimate the standard deviation of independent values of a normal distribution; at least two."""
    degrees, sd = len(values) - 1, statistics.stdev(values)
    low, high = (sd * math.sqrt(degrees / float(chi2.ppf(end, degrees))) for end in (QUANTILE, 1 - QUANTILE))
    return Spread(sd, low, high)


class Components(NamedTuple):
    within: float  # the standard deviation of values within a group, over seeds
    between: float  # that of the groups' own means, beyond what the values within them explain
    p: float  # of the F test that there is none


def components(groups: Sequence[Sequence[float]], is_crossed: bool = False) -> Components:
    """Take the variation of values in at least two groups apart (analysis of variance, random effects).

    There are more values than groups. Of groups that are crossed, the values at one place have a seed in common: what
    it makes is taken apart, too (two-way, without interaction).
    """
    values = [value for group in groups for value in group]
    n, k = len(values), len(groups)
    within = sum(statistics.pvariance(group) * len(group) for group in groups) / (n - k)
    center = statistics.fmean(values)
    between = sum(len(group) * (statistics.fmean(group) - center) ** 2 for group in groups) / (k - 1)
    size = (n - sum(len(group) ** 2 for group in groups) / n) / (k - 1)  # of a group; of equal ones, that of each

    rest, degrees = within, n - k
    if is_crossed:
        of_seeds = sum(k * (statistics.fmean(column) - center) ** 2 for column in zip(*groups))
        degrees = (k - 1) * (len(groups[0]) - 1)
        rest = max(0.0, within * (n - k) - of_seeds) / degrees
    p = float(f.sf(between / rest, k - 1, degrees)) if rest else float(not between)
    return Components(math.sqrt(within), math.sqrt(max(0.0, between - rest) / size), p)


def contrast(weighted: Sequence[tuple[float, Sequence[float]]], pooled_sd: PooledSd | None = None) -> Estimate:
    """Estimate a sum of weighted means of independent groups: by Welch's t if each has two values.

    Else its interval takes for granted that seeds make as much difference in these groups as in those that were pooled;
    without any there is no interval. It is NaN, without an interval, where a value is.
    """
    total = sum(weight * statistics.fmean(values) for weight, values in weighted)
    n = min(len(values) for _, values in weighted)
    if math.isnan(total) or (n < 2 and not pooled_sd):
        return Estimate(total, n)
    if n < 2 and pooled_sd:
        error = pooled_sd.sd * math.sqrt(sum(weight**2 / len(values) for weight, values in weighted))
        half_width = float(t.ppf(QUANTILE, pooled_sd.degrees)) * error
        return Estimate(total, n, pooled_sd.sd, half_width, "pooled", pooled_sd.degrees)

    # The squared standard errors of the means, and Welch's and Satterthwaite's degrees of freedom.
    sd = math.sqrt(statistics.fmean([statistics.variance(values) for _, values in weighted]))
    errors = [weight**2 * statistics.variance(values) / len(values) for weight, values in weighted]
    if not sum(errors):
        return Estimate(total, n, sd, 0.0, "Welch")
    degrees = sum(errors) ** 2 / sum(error**2 / (len(values) - 1) for error, (_, values) in zip(errors, weighted))
    return Estimate(total, n, sd, float(t.ppf(QUANTILE, degrees)) * math.sqrt(sum(errors)), "Welch", degrees)


def difference(a: Sequence[float], b: Sequence[float], pooled_sd: PooledSd | None = None) -> Estimate:
    """Estimate the mean of ``a`` less that of ``b``; see :func:`contrast`."""
    return contrast([(1, a), (-1, b)], pooled_sd)


def scale(estimate: Estimate, factor: float) -> Estimate:
    """Multiply a quantity by a number that is known."""
    sd, half_width = (abs(factor) * width for width in (estimate.sd, estimate.half_width))
    return replace(estimate, mean=factor * estimate.mean, sd=sd, half_width=half_width)


def p_value(estimate: Estimate, picked_of: int = 2) -> float:
    """Compute the p of the two-sided test that a difference is 0, by what its interval rests on; NaN without one.

    Where the two were picked from the results of more groups it is that of Tukey's range, with Welch's degrees of
    freedom (Games and Howell, 1976, "Pairwise Multiple Comparison Procedures with Unequal N's and/or Variances").
    """
    if not estimate.has_interval or math.isnan(estimate.mean):
        return math.nan
    if not estimate.half_width:
        return float(not estimate.mean)
    errors = abs(estimate.mean) / estimate.half_width * t.ppf(QUANTILE, estimate.degrees)
    if picked_of > 2:
        return float(studentized_range.sf(math.sqrt(2) * errors, picked_of, estimate.degrees))
    return float(2 * t.sf(errors, estimate.degrees))


def critical_t(degrees: float, comparisons: int = 1, picked_of: int = 2) -> float:
    """Compute how many standard errors decide a difference at 5 %, for ``comparisons`` of them together (Bonferroni).

    With ``picked_of`` more than two groups as in ``p_value``.
    """
    if picked_of > 2:
        return float(studentized_range.ppf(2 * QUANTILE - 1, picked_of, degrees)) / math.sqrt(2)
    return float(t.ppf(1 - (1 - QUANTILE) / comparisons, degrees))


def correct_holm(p_values: Sequence[float]) -> list[float]:
    """Correct p values for being several (Holm, 1979); NaN stays NaN, and counts as one."""
    corrected, highest = list(p_values), 0.0
    known = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    for rank, i in enumerate(sorted(known, key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        corrected[i] = highest
    return corrected


def widen(estimate: Estimate, comparisons: int) -> Estimate:
    """Widen an interval so that of so many all hold what they should in 95 of 100 studies (Bonferroni)."""
    wider, usual = t.ppf(1 - (1 - QUANTILE) / comparisons, estimate.degrees), t.ppf(QUANTILE, estimate.degrees)
    return replace(estimate, half_width=estimate.half_width * float(wider / usual))


def add_images(estimate: Estimate, weighted: Sequence[tuple[float, np.ndarray]]) -> Estimate:
    """Widen the interval of a sum of weighted accuracies, in percent, by what other test images would change.

    Beside each weight, float (N,), is how often each of the same images was classified correctly, in [0, 1]. So with
    weights of 1 and -1 the images are pairs: where both are right, or both wrong, nothing depends on it.
    """
    total = np.sum([weight * shares for weight, shares in weighted], axis=0)
    error = 100 * float(total.std(ddof=1)) / math.sqrt(len(total))
    return replace(estimate, half_width=math.hypot(estimate.half_width, float(norm.ppf(QUANTILE)) * error))


def decidable(n: int, groups: int = 2, critical: Callable[[float], float] = critical_t) -> float:
    """Compute how far apart two groups of ``n`` values must be to be told apart with ``POWER``, in their sd.

    It is that of the two-sided t test at 5 %, see Colas et al., 2018, "How Many Random Seeds?", or of another
    ``critical`` number of standard errors, by degrees of freedom. With one of ``groups`` it is how far that must be
    from a limit. Infinite for n = 1.
    """
    if n < 2:
        return math.inf
    degrees, root = groups * (n - 1), math.sqrt(n / groups)
    least = critical(degrees)
    # At three times the critical value the power is above 99 % for any degrees of freedom.
    return float(brentq(lambda apart: nct.sf(least, degrees, apart * root) - POWER, 0.01, 3 * least / root))


def seeds_to_decide(
    apart: float, sd: float, groups: int = 2, critical: Callable[[float], float] = critical_t
) -> int | None:
    """Count the values in each of two groups that tell them apart with ``POWER``, as ``decidable`` does.

    None where they are more than ``MOST_SEEDS``, or ``sd`` is not known.
    """
    wanted = abs(apart) / sd if sd else math.inf
    if not decidable(MOST_SEEDS, groups, critical) <= wanted:
        return None
    numbers = range(2, MOST_SEEDS + 1)
    return numbers[bisect_left(numbers, -wanted, key=lambda n: -decidable(n, groups, critical))]


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


def partial_correlation(
    x: Sequence[float], y: Sequence[float], given: Sequence[float], comparisons: int = 1
) -> tuple[float, float, float]:
    """Compute the correlation of what ``given`` tells of neither list, and the ends of Fisher's 95 % interval.

    Of several ``comparisons`` the intervals hold together (Bonferroni).
    """
    if not len(x) == len(y) == len(given) or len(x) < 5:
        raise ValueError(f"{len(x)} values: a partial correlation with an interval takes lists of at least 5")
    if not np.isfinite([x, y, given]).all():
        raise ValueError("a value is not known: there is no partial correlation")
    known = np.column_stack([np.ones(len(given)), given])
    rests = [np.asarray(values) - known @ np.linalg.lstsq(known, values, rcond=None)[0] for values in (x, y)]
    if any(np.linalg.norm(rest) <= 1e-9 * np.linalg.norm(values) for rest, values in zip(rests, (x, y))):
        raise ValueError("one list tells all of another: there is no partial correlation")
    r = float(pearsonr(*rests).statistic)
    quantile = float(norm.ppf(1 - (1 - QUANTILE) / comparisons))
    middle, reach = float(np.arctanh(np.clip(r, -1, 1))), quantile / math.sqrt(len(x) - 4)
    return r, math.tanh(middle - reach), math.tanh(middle + reach)
