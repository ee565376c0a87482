"""Means, differences and correlations, with their intervals."""

import statistics
from functools import partial

import mpmath
import numpy as np
import pytest
from scipy.stats import f, f_oneway, norm, ttest_ind

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


def test_difference_is_welchs():
    draws = np.random.default_rng(1)
    for n, m, spread in ((2, 2, 1), (3, 3, 5), (5, 3, 0.1), (15, 3, 2)):
        a, b = draws.normal(3, 1, n), draws.normal(1, spread, m)
        expected = ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
        gap = stats.difference([*a], [*b])
        assert (gap.method, gap.n) == ("Welch", min(n, m))
        assert (gap.low, gap.high) == pytest.approx((expected.low, expected.high))


def test_difference_of_values_that_do_not_vary_has_no_width():
    gap = stats.difference([5.0, 5.0], [3.0, 3.0, 3.0])
    assert (gap.mean, gap.half_width) == (2, 0)
    assert not stats.difference([5.0, np.nan], [3.0, 3.0]).has_interval


def test_difference_of_single_runs_uses_pooled_spread():
    pooled = stats.pool_sd([[1.0, 3.0], [10.0, 10.0, 13.0], [7.0]])
    assert pooled.degrees == 3
    assert pooled.sd == pytest.approx(((2 + 6) / 3) ** 0.5)
    gap = stats.difference([5.0], [2.0, 2.0], pooled)
    assert gap.mean == 3
    assert (gap.method, gap.half_width) == ("pooled", pytest.approx(3.1824 * pooled.sd * 1.5**0.5, rel=2e-5))
    assert not stats.difference([5.0], [2.0]).has_interval


def test_interval_of_a_contrast_holds_what_it_should():
    """A value less the middle of two others: 95 of 100 intervals hold the truth, which is 1."""
    draws, held = np.random.default_rng(2), 0
    for _ in range(2000):
        one, low, high = draws.normal(6, 1, 5), draws.normal(0, 0.3, 5), draws.normal(10, 2, 3)
        estimate = stats.contrast([(1, [*one]), (-0.5, [*low]), (-0.5, [*high])])
        held += estimate.low <= 1 <= estimate.high
    assert 0.935 < held / 2000 < 0.965


def test_test_images_widen_an_interval_by_those_that_differ():
    gap = stats.difference([60.0, 60.0], [59.0, 59.0])
    a, b = np.ones(10_000), np.ones(10_000)
    assert stats.add_images(gap, [(1, a), (-1, b)]).half_width == 0
    b[:100] = 0  # one image of a hundred
    expected = 100 * 1.96 * (0.01 * 0.99 / 10_000) ** 0.5
    assert stats.add_images(gap, [(1, a), (-1, b)]).half_width == pytest.approx(expected, rel=1e-3)
    assert stats.add_images(gap, [(1, a), (-0.5, b), (-0.5, b)]).half_width == pytest.approx(expected, rel=1e-3)
    assert stats.add_images(gap, [(1, a), (-0.5, a), (-0.5, b)]).half_width == pytest.approx(expected / 2, rel=1e-3)


@pytest.mark.parametrize(("n", "apart"), [(3, 3.07), (5, 2.02), (10, 1.32), (50, 0.566)])
def test_difference_that_a_study_can_decide_is_as_in_tables(n, apart):
    """Of the two-sided t test of two groups at 5 % and a power of 80 %."""
    assert stats.decidable(n) == pytest.approx(apart, rel=0.01)
    draws = np.random.default_rng(n)
    found = [stats.difference([*draws.normal(apart, 1, n)], [*draws.normal(0, 1, n)]).low > 0 for _ in range(500)]
    assert abs(np.mean(found) - 0.8) < 0.1


@pytest.mark.parametrize(("n", "comparisons"), [(3, 9), (10, 16), (2, 16)])
def test_power_of_one_group_against_a_limit_and_of_the_worst_of_many(n, comparisons):
    apart = stats.decidable(n, groups=1, critical=partial(stats.critical_t, comparisons=comparisons))
    draws = np.random.default_rng(n)
    estimates = [stats.widen(stats.mean([*draws.normal(apart, 1, n)]), comparisons) for _ in range(500)]
    assert abs(np.mean([estimate.low > 0 for estimate in estimates]) - 0.8) < 0.06


def test_intervals_of_many_comparisons_hold_all_together():
    draws, held = np.random.default_rng(5), 0
    for _ in range(200):
        estimates = [stats.widen(stats.difference([*a], [*b]), 8) for a, b in draws.normal(0, 1, (8, 2, 4))]
        held += all(estimate.low < 0 < estimate.high for estimate in estimates)
    assert held / 200 > 0.92
    assert stats.widen(stats.mean([1.0]), 8).half_width == np.inf


def test_seeds_to_decide_are_the_fewest():
    assert stats.seeds_to_decide(1, 1, groups=1) == 10
    assert stats.decidable(10, groups=1) < 1 < stats.decidable(9, groups=1)
    assert stats.seeds_to_decide(3.1, 1) == 3
    assert stats.seeds_to_decide(-2.02, 1) == 6
    assert stats.decidable(6) < 2.02 < stats.decidable(5)
    assert stats.seeds_to_decide(100, 1) == 2
    assert stats.seeds_to_decide(0.0001, 1) is None
    assert stats.seeds_to_decide(1, 0) == 2
    assert stats.seeds_to_decide(1, np.nan) is None


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


def test_partial_correlation_with_a_value_that_is_not_known_is_refused(capfd):
    for place in range(3):
        lists = [[1.0, 2, 4, 3, 7], [2.0, 1, 5, 3, 3], [1.0, 5, 2, 2, 4]]
        lists[place][2] = float("nan")
        with pytest.raises(ValueError, match="a value is not known"):
            stats.partial_correlation(*lists)
    assert capfd.readouterr() == ("", "")  # of LAPACK, which would say that on its own


def test_interval_of_a_standard_deviation_holds_what_it_should():
    rng = np.random.default_rng(0)
    found = [stats.spread(values) for values in rng.normal(50, 2, (2000, 6))]
    assert abs(np.mean([each.low <= 2 <= each.high for each in found]) - 0.95) < 0.02
    assert all(each.low < each.sd < each.high for each in found)


@pytest.mark.parametrize("sizes", [[3, 3, 3, 3, 3], [2, 3, 1, 4]])
def test_variation_is_tested_as_scipy_does(sizes):
    rng = np.random.default_rng(1)
    groups = [list(rng.normal(place, 1, size)) for place, size in enumerate(sizes)]
    assert stats.components(groups).p == pytest.approx(f_oneway(*groups).pvalue)


def test_variation_is_taken_apart():
    rng = np.random.default_rng(2)
    found = stats.components([list(rng.normal(place, 0.5, 4)) for place in rng.normal(60, 2, 2000)])
    assert found.within == pytest.approx(0.5, rel=0.05)
    assert found.between == pytest.approx(2, rel=0.05)
    assert found.p < 1e-6
    none = stats.components([[1.0, 2.0], [2.0, 1.0], [0.0, 3.0]])
    assert none.between == 0
    assert none.p == pytest.approx(1)
    assert stats.components([[1.0, 1.0], [1.0, 1.0]]).p == 1
    assert stats.components([[1.0, 1.0], [2.0, 2.0]]).p == 0


def test_crossed_groups_have_what_a_seed_makes_taken_apart():
    """As a linear model with both factors and one without groups tell it, by their sums of squares."""
    table = np.random.default_rng(5).normal(60, 1, (5, 3)) + [0.0, 2.0, 4.0] + [[0.5], [0.0], [-0.5], [1.0], [0.0]]
    seeds, both = np.tile(np.eye(3), (5, 1)), np.hstack([np.tile(np.eye(3), (5, 1)), np.repeat(np.eye(5), 3, axis=0)])
    rests = [
        float(((table.ravel() - design @ np.linalg.lstsq(design, table.ravel(), rcond=None)[0]) ** 2).sum())
        for design in (seeds, both)
    ]
    expected = f.sf((rests[0] - rests[1]) / 4 / (rests[1] / 8), 4, 8)
    crossed = stats.components(table.tolist(), is_crossed=True)
    assert crossed.p == pytest.approx(expected)
    assert crossed.p < stats.components(table.tolist()).p / 2


def test_partial_correlations_hold_together():
    rng = np.random.default_rng(6)
    x, y, given = rng.normal(size=(3, 12))
    r, low, high = stats.partial_correlation(x, y, given)
    same, lower, higher = stats.partial_correlation(x, y, given, comparisons=7)
    assert same == r
    assert lower < low < r < high < higher
    reach = norm.ppf(1 - 0.025 / 7) / np.sqrt(12 - 4)
    assert np.arctanh(higher) - np.arctanh(r) == pytest.approx(reach)
