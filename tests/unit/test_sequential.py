"""When a study whose seeds are added step by step may stop."""

import numpy as np
import pytest

from report import sequential


def test_looks_grow_and_end_at_the_most():
    assert sequential.plan_looks(3, 20) == [3, 5, 8, 12, 18, 20]
    assert sequential.plan_looks(1, 3) == [3]
    assert sequential.plan_looks(5, 5) == [5]


@pytest.mark.parametrize("most", [3, 10, 100])
def test_looks_spend_all_the_error_between_them(most):
    spent = sequential.spend(sequential.plan_looks(3, most))
    assert sum(spent) == pytest.approx(sequential.ERROR)
    assert min(spent) > 0


def finds_difference(draws, networks, looks, apart=0.0):
    """Tell whether a study declares a difference at any of its looks."""
    values = draws.normal(60, 1, (networks, looks[-1]))
    values[0] += apart
    for seeds, error in zip(looks, sequential.spend(looks)):
        _, compared = sequential.compare_with_best(
            {str(i): row[:seeds].tolist() for i, row in enumerate(values)}, error
        )
        if any(each.is_decided for each in compared.values()):
            return True
    return False


@pytest.mark.parametrize("networks", [2, 5])
def test_equal_networks_are_told_apart_in_no_more_than_5_of_100_studies(networks):
    draws, looks = np.random.default_rng(networks), sequential.plan_looks(3, 20)
    found = sum(finds_difference(draws, networks, looks) for _ in range(1000))
    assert found <= 50
    assert sum(finds_difference(draws, networks, looks, apart=2.0) for _ in range(50)) >= 48


def test_difference_is_decided_or_known_to_within_points():
    best, compared = sequential.compare_with_best({"a": [60, 61, 62], "b": [70, 71, 72], "c": [70.5, 70.6, 70.7]}, 0.05)
    assert best == "b"
    assert compared["a"].is_decided
    assert compared["a"].difference == pytest.approx(10)
    assert not compared["c"].is_decided
    assert compared["c"].half_width == compared["a"].half_width
    assert compared["c"].is_known(compared["c"].half_width)
    assert not compared["c"].is_known(compared["c"].half_width - 0.01)


@pytest.mark.parametrize("values", [{"a": [1, 2]}, {"a": [1], "b": [2]}, {"a": [1, 2], "b": [1, 2, 3]}])
def test_comparison_without_enough_seeds_is_refused(values):
    with pytest.raises(ValueError, match="at least two"):
        sequential.compare_with_best(values, 0.05)
