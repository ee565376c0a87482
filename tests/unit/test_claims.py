"""The rules that decide the published claims, on runs made up for each."""

import random

import mpmath
import numpy as np
import pytest

import claims
import estimates
import outcomes
from claims import FAILS, HOLDS, OPEN
from tests.helpers.fake_runs import fake_run, fake_study

EARLY_50 = 90  # the made-up accuracy is half way from 10 % after one epoch
FLAT = [(1.9, 1.9)] * 10
COLOURS = dict(plane=48, car=28, bird=13, cat=5, deer=46, dog=29, frog=36, horse=9, ship=31, truck=16)


def verdicts(results):
    return {claim.key: claim for claim in claims.judge(outcomes.read(results))}


def three(results, model, shuffle="none", **options):
    for seed in range(3):
        fake_run(results, model, seed, shuffle, **options)


# ---- estimates ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [*range(1, 31), 40, 60, 120])
def test_the_table_of_t_is_that_of_the_distribution(degrees):
    t = estimates.t_quantile(degrees)
    beyond = mpmath.betainc(degrees / 2, 0.5, 0, degrees / (degrees + t**2), regularized=True)
    assert float(beyond) == pytest.approx(0.05, rel=2e-3)


def test_between_rows_of_the_table_the_interval_is_the_wider_one():
    assert estimates.t_quantile(59) == estimates.t_quantile(40) > estimates.t_quantile(60)
    assert estimates.t_quantile(10**6) == estimates.t_quantile(120)


def test_mean_and_its_interval():
    estimate = estimates.mean([1.0, 2.0, 4.0])
    assert estimate.mean == pytest.approx(7 / 3)
    assert estimate.sd == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert estimate.high - estimate.mean == pytest.approx(4.303 * np.std([1, 2, 4], ddof=1) / 3**0.5, rel=1e-4)
    assert estimates.mean([3.0]).half is None


def test_seeds_in_common_are_compared_in_pairs():
    a, b = {0: 10.0, 1: 20.0, 2: 33.0}, {0: 9.0, 1: 18.0, 2: 32.0, 5: 99.0}
    paired = estimates.difference(a, b)
    assert (paired.how, paired.n) == ("paired", 3)
    assert paired.mean == pytest.approx(4 / 3)
    assert paired.half < 2


def test_without_common_seeds_the_spread_of_all_groups_counts():
    pooled = estimates.pool([[1.0, 3.0], [10.0, 10.0, 13.0], [7.0]])
    assert pooled.degrees == 3
    assert pooled.sd == pytest.approx(((2 + 6) / 3) ** 0.5)
    apart = estimates.difference({0: 5.0}, {1: 2.0, 2: 2.0}, pooled)
    assert apart.mean == 3
    assert apart.half == pytest.approx(3.182 * pooled.sd * 1.5**0.5, rel=1e-4)
    assert estimates.difference({0: 5.0}, {1: 2.0}).half is None


def test_correlation_of_known_values():
    # Anscombe's first quartet; its r is 0.81642.
    x = [10, 8, 13, 9, 11, 14, 6, 4, 12, 7, 5]
    y = [8.04, 6.95, 7.58, 8.81, 8.33, 9.96, 7.24, 4.26, 10.84, 4.82, 5.68]
    r, low, high = estimates.correlation(x, y)
    assert r == pytest.approx(0.81642, abs=1e-5)
    assert (low, high) == pytest.approx((0.4244, 0.9507), abs=1e-4)
    assert estimates.correlation(y, x) == pytest.approx((r, low, high))
    assert estimates.correlation(x, [-value for value in y]) == pytest.approx((-r, -high, -low))
    assert estimates.correlation(x, [100 * value + 3 for value in y]) == pytest.approx((r, low, high))


def test_correlation_agrees_with_scipy():
    stats = pytest.importorskip("scipy.stats")
    draws = np.random.default_rng(0)
    for n in (4, 10, 30):
        x, y = draws.normal(size=(2, n))
        found = stats.pearsonr(x, y)
        interval = found.confidence_interval(0.95)
        expected = (found.statistic, interval.low, interval.high)
        assert estimates.correlation(x, y) == pytest.approx(expected, abs=1e-6)


def test_a_perfect_correlation_has_an_interval_without_width():
    assert estimates.correlation([1, 2, 3, 4], [2, 4, 6, 8]) == pytest.approx((1, 1, 1))


@pytest.mark.parametrize(
    ("x", "y"),
    [([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4], [1, 2, 3]), ([1, 2, 3, 4], [5, 5, 5, 5]), ([0.1] * 6, [1, 2, 3, 4, 5, 6])],
)
def test_no_correlation_of_few_or_equal_values(x, y):
    with pytest.raises(ValueError, match="correlation"):
        estimates.correlation(x, y)


# ---- claims ---------------------------------------------------------------------------------------------------------


def test_without_enough_runs_nothing_is_decided_and_what_is_missing_is_said(tmp_path):
    for seed in range(2):
        fake_run(tmp_path, "Q1_1", seed, accuracy=EARLY_50)
    judged = verdicts(tmp_path)
    assert {claim.verdict for key, claim in judged.items() if key != "C8"} == {OPEN}
    assert "needs 3 runs of Q1_1, there are 2" in judged["C1"].parts[0].reason
    assert "needs 3 runs of Q1_1 with shuffle per-image, there are 0" in judged["C3"].parts[0].reason


def test_short_runs_decide_early_figures_only(tmp_path):
    three(tmp_path, "Q1_1", accuracy=EARLY_50, epochs=2)
    three(tmp_path, "Q1_11", epochs=2)
    judged = verdicts(tmp_path)
    assert judged["C1"].verdict == HOLDS
    assert judged["C6"].verdict == OPEN
    assert "needs 10 epochs, these runs have 2" in judged["C6"].parts[0].reason


@pytest.mark.parametrize(("accuracy", "verdict"), [(EARLY_50, HOLDS), (50, HOLDS), (70, FAILS), (40, FAILS)])
def test_a_figure_is_met_early_or_at_the_end(tmp_path, accuracy, verdict):
    three(tmp_path, "Q1_1", accuracy=accuracy)
    claim = verdicts(tmp_path)["C1"]
    assert claim.verdict == verdict
    assert ("the figure is that of epoch 1" in claim.parts[0].reason) == (accuracy == EARLY_50)


@pytest.mark.parametrize(
    ("plain", "fixed", "expected"), [(55, 41, [HOLDS, HOLDS]), (95, 41, [HOLDS, FAILS]), (40, 30, [FAILS, HOLDS])]
)
def test_the_figure_and_the_drop_of_a_fixed_shuffle_are_judged_apart(tmp_path, plain, fixed, expected):
    three(tmp_path, "Q1_1", accuracy=plain)
    three(tmp_path, "Q1_1", "fixed", accuracy=fixed)
    assert [part.verdict for part in verdicts(tmp_path)["C2"].parts] == expected


@pytest.mark.parametrize(("accuracy", "expected"), [(26, [HOLDS, HOLDS]), (10, [FAILS, OPEN]), (5, [FAILS, FAILS])])
def test_above_chance_is_decided_by_the_interval(tmp_path, accuracy, expected):
    three(tmp_path, "Q1_1", "per-image", accuracy=accuracy)
    assert [part.verdict for part in verdicts(tmp_path)["C3"].parts] == expected


def test_the_best_and_the_worst_class_are_decided_not_eyeballed(tmp_path):
    three(tmp_path / "as-published", "Q1_1", "per-image", per_class=COLOURS)
    published = verdicts(tmp_path / "as-published")["C4"]
    assert published.verdict == HOLDS
    assert "+1.00" in published.parts[0].reason

    three(tmp_path / "other", "Q1_1", "per-image", per_class=COLOURS | {"deer": 20, "cat": 12})
    assert [part.verdict for part in verdicts(tmp_path / "other")["C4"].parts] == [FAILS, FAILS]

    for seed, deer in enumerate((60, 38, 31)):
        fake_run(tmp_path / "noisy", "Q1_1", seed, "per-image", per_class=COLOURS | {"deer": deer, "ship": 34})
    assert [part.verdict for part in verdicts(tmp_path / "noisy")["C4"].parts] == [OPEN, HOLDS]


@pytest.mark.parametrize(
    ("train", "val", "verdict"), [(1.6, 1.62, HOLDS), (1.6, 1.9, FAILS), (0.9, 0.95, FAILS), (1.6, 1.7, OPEN)]
)
def test_underfitting_is_a_high_training_loss_with_no_gap(tmp_path, train, val, verdict):
    fake_run(tmp_path, "Q1_1")
    for model in ("Q1_17", "Q1_18"):
        three(tmp_path, model, losses=[(1.6, 1.6)] * 10)
    three(tmp_path, "Q1_4", losses=[(train, val)] * 10)
    assert [part.verdict for part in verdicts(tmp_path)["C5"].parts] == [verdict, HOLDS, HOLDS]


def test_one_missing_model_leaves_the_others_judged(tmp_path):
    fake_run(tmp_path, "Q1_1")
    three(tmp_path, "Q1_4", losses=[(1.6, 1.6)] * 10)
    three(tmp_path, "Q1_18", losses=[(0.5, 0.5)] * 10)
    claim = verdicts(tmp_path)["C5"]
    assert [part.verdict for part in claim.parts] == [HOLDS, OPEN, FAILS]
    assert claim.verdict == FAILS


def test_overfitting_is_a_validation_loss_that_turns(tmp_path):
    three(tmp_path / "turns", "Q1_11", turn=5)
    claim = verdicts(tmp_path / "turns")["C6"]
    assert claim.verdict == HOLDS
    assert "lowest after epoch 5" in claim.parts[0].reason
    assert "over-confidence, not of worse decisions" in claim.parts[0].reason
    three(tmp_path / "falls", "Q1_11")
    assert verdicts(tmp_path / "falls")["C6"].parts[0].verdict in (FAILS, OPEN)
    three(tmp_path / "late", "Q1_11", losses=[(2 - epoch / 10, 2 - epoch / 10) for epoch in range(10)])
    assert verdicts(tmp_path / "late")["C6"].parts[0].verdict == FAILS


def test_noise_is_not_taken_for_a_turn(tmp_path):
    draws = random.Random(1)
    climbs, naive = [], []
    for _ in range(200):
        rows = {
            seed: type("Run", (), {"history": [{"val_loss": draws.gauss(1, 0.1)} for _ in range(10)]})
            for seed in range(3)
        }
        group = outcomes.Group("Q1_11", "none", (), rows)
        climbs.append(claims.turn(group)[1].mean)
        naive += [run.history[-1]["val_loss"] - min(row["val_loss"] for row in run.history) for run in rows.values()]
    assert abs(np.mean(climbs)) < 0.02
    assert np.mean(naive) > 0.1


def test_a_network_that_decides_worse_is_not_called_overconfident_only(tmp_path):
    three(tmp_path, "Q1_11", losses=[(2 - epoch / 10, 1 + abs(epoch - 4) / 10) for epoch in range(10)], accuracy=60)
    group = outcomes.read(tmp_path).group("Q1_11")
    for run in group.runs.values():
        for row in run.history[5:]:
            row["val_accuracy"] -= 9
    assert "it decides worse" in claims.overconfidence(group)


def test_the_best_must_beat_every_other_one(tmp_path):
    fake_study(tmp_path)
    assert [part.verdict for part in verdicts(tmp_path)["C7"].parts] == [HOLDS, HOLDS]
    [run] = (tmp_path / "cifar10" / "Q1_7").iterdir()
    (run / "metrics.json").unlink()
    claim = verdicts(tmp_path)["C7"]
    assert claim.verdict == OPEN
    assert "needs 1 run of Q1_7, there are 0" in claim.parts[0].reason
    fake_run(tmp_path, "Q1_7", seed=8, accuracy=85)
    assert verdicts(tmp_path)["C7"].parts[0].verdict == FAILS


@pytest.mark.parametrize(("accuracy", "verdict"), [(73, HOLDS), (60, FAILS), (70, OPEN)])
def test_variations_stay_near_the_original(tmp_path, accuracy, verdict):
    three(tmp_path, "Q1_19", accuracy=75)
    for number in range(20, 26):
        fake_run(tmp_path, f"Q1_{number}", accuracy=accuracy if number == 22 else 74)
    smaller, by_a_bit, around = verdicts(tmp_path)["C8"].parts
    assert (smaller.verdict, by_a_bit.verdict, around.verdict) == (HOLDS, FAILS, verdict)
    assert "Q1_21, Q1_22, Q1_25" in by_a_bit.reason


@pytest.mark.parametrize(
    ("accuracy", "losses", "expected"),
    [
        (38, FLAT[:1] + [(1.95, 1.95)] * 9, [HOLDS, HOLDS]),
        (38, [(1.9 - epoch / 20, 1.9 - epoch / 20) for epoch in range(10)], [HOLDS, FAILS]),
        (38, [(1.9 - epoch / 20, 1.9 + epoch / 20) for epoch in range(10)], [HOLDS, OPEN]),
        (53, FLAT[:1] + [(1.95, 1.95)] * 9, [FAILS, HOLDS]),
    ],
)
def test_an_affine_network_loses_and_does_not_learn(tmp_path, accuracy, losses, expected):
    three(tmp_path, "Q1_1", accuracy=55)
    three(tmp_path, "Q2_1", accuracy=accuracy, losses=losses)
    assert [part.verdict for part in verdicts(tmp_path)["C9"].parts] == expected


@pytest.mark.parametrize(("wide", "verdict"), [(36, HOLDS), (48, FAILS)])
def test_width_helps_from_one_point(tmp_path, wide, verdict):
    three(tmp_path, "Q2_1", accuracy=38)
    three(tmp_path, "Q2_2", accuracy=wide)
    assert verdicts(tmp_path)["C10"].verdict == verdict


@pytest.mark.parametrize("options", [{"lr": 0.01}, {"data": "SYNTHETIC (not CIFAR-10)", "slug": "synthetic"}])
def test_other_recipes_and_other_images_decide_nothing(tmp_path, options):
    three(tmp_path, "Q1_1", accuracy=EARLY_50, **options)
    assert {claim.verdict for claim in verdicts(tmp_path).values()} == {OPEN}


def test_more_epochs_are_still_the_published_recipe(tmp_path):
    three(tmp_path, "Q1_1", accuracy=EARLY_50, epochs=15)
    assert verdicts(tmp_path)["C1"].verdict == HOLDS
