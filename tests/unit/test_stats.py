"""Means, differences and correlations, with their intervals."""

import statistics

import mpmath
import numpy as np
import pytest

from report import stats


def t_quantile(degrees):
    """The quantile of Student's t in the interval of the mean of so many values and one more."""
    values = [0.0] * degrees + [1.0]
    return stats.mean(values).half_width / (statistics.stdev(values) / len(values) ** 0.5)


@pytest.mark.parametrize("degrees", [*range(1, 31), 40, 60, 120])
def test_interval_of_mean_is_that_of_the_t_distribution(degrees):
    t = t_quantile(degrees)
    beyond = mpmath.betainc(degrees / 2, 0.5, 0, degrees / (degrees + t**2), regularized=True)
    assert float(beyond) == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize(
    ("degrees", "quantile"), [(1, 12.7062), (2, 4.3027), (3, 3.1824), (10, 2.2281), (30, 2.0423), (120, 1.9799)]
)
def test_interval_of_mean_is_as_in_textbooks(degrees, quantile):
    assert t_quantile(degrees) == pytest.approx(quantile, abs=5e-5)


def test_interval_of_mean_narrows_to_the_normal_one():
    assert t_quantile(40) > t_quantile(59) > t_quantile(60)
    assert t_quantile(120) > t_quantile(10**6) == pytest.approx(1.959964, abs=1e-5)


def test_mean_and_its_interval():
    estimate = stats.mean([1.0, 2.0, 4.0])
    assert estimate.mean == pytest.approx(7 / 3)
    assert estimate.sd == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert estimate.high - estimate.mean == pytest.approx(4.3027 * np.std([1, 2, 4], ddof=1) / 3**0.5, rel=2e-5)
    assert not stats.mean([3.0]).has_interval


def test_difference_pairs_common_seeds():
    a, b = {0: 10.0, 1: 20.0, 2: 33.0}, {0: 9.0, 1: 18.0, 2: 32.0, 5: 99.0}
    paired = stats.difference(a, b)
    assert (paired.method, paired.n) == ("paired", 3)
    assert paired.mean == pytest.approx(4 / 3)
    assert paired.half_width < 2


def test_difference_without_common_seeds_uses_pooled_spread():
    pooled = stats.pool_sd([[1.0, 3.0], [10.0, 10.0, 13.0], [7.0]])
    assert pooled.degrees == 3
    assert pooled.sd == pytest.approx(((2 + 6) / 3) ** 0.5)
    gap = stats.difference({0: 5.0}, {1: 2.0, 2: 2.0}, pooled)
    assert gap.mean == 3
    assert (gap.method, gap.half_width) == ("pooled", pytest.approx(3.1824 * pooled.sd * 1.5**0.5, rel=2e-5))
    assert not stats.difference({0: 5.0}, {1: 2.0}).has_interval


def test_correlation_of_known_values():
    # Anscombe's first quartet; its r is 0.81642.
    x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
    y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    r, low, high = stats.correlation(x, y)
    assert r == pytest.approx(0.81642, abs=1e-5)
    assert (low, high) == pytest.approx((0.4244, 0.9507), abs=1e-4)
    assert stats.correlation(y, x) == pytest.approx((r, low, high))
    assert stats.correlation(x, [-value for value in y]) == pytest.approx((-r, -high, -low))
    assert stats.correlation(x, [100 * value + 3 for value in y]) == pytest.approx((r, low, high))


def test_correlation_is_pearsons_with_fishers_interval():
    draws = np.random.default_rng(0)
    for n in (4, 10, 30):
        x, y = draws.normal(size=(2, n))
        r = np.corrcoef(x, y)[0, 1]
        reach = 1.959964 / (n - 3) ** 0.5
        expected = (r, np.tanh(np.arctanh(r) - reach), np.tanh(np.arctanh(r) + reach))
        assert stats.correlation(x, y) == pytest.approx(expected, abs=1e-6)


def test_correlation_that_is_perfect_has_no_width():
    assert stats.correlation([1, 2, 3, 4], [2, 4, 6, 8]) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(
    ("x", "y"),
    [([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [1, 2, 3]), ([1, 2, 3, 4], [5, 5, 5, 5]), ([0.1] * 6, [1, 2, 3, 4, 5, 6])],
)
def test_correlation_refuses_few_or_equal_values(x, y):
    with pytest.raises(ValueError, match="correlation"):
        stats.correlation(x, y)
