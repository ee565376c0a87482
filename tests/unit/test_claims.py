"""The rules that decide the published claims, on runs made up for each."""

import random

import numpy as np
import pytest

from report import claims, results
from report.text import FAILS, HOLDS, UNDECIDED
from tests.helpers.fake_runs import COLOURS, fake_run, fake_seeds, fake_study

EARLY_50 = 90  # the made-up accuracy is half way from 10 % after one epoch
FLAT = [(1.9, 1.9)] * 10


def verdicts(root):
    return {claim.key: claim for claim in claims.check_claims(results.read_study(root))}


def test_claims_without_enough_runs_say_what_is_missing(tmp_path):
    for seed in range(2):
        fake_run(tmp_path, "Q1_1", seed, accuracy=EARLY_50)
    judged = verdicts(tmp_path)
    assert {claim.verdict for key, claim in judged.items() if key != "C8"} == {UNDECIDED}
    assert "needs 3 runs of Q1_1, there are 2" in judged["C1"].statements[0].reason
    assert "needs 3 runs of Q1_1 with shuffle per-image, there are 0" in judged["C3"].statements[0].reason


def test_short_runs_decide_early_figures_only(tmp_path):
    fake_seeds(tmp_path, "Q1_1", accuracy=EARLY_50, epochs=2)
    fake_seeds(tmp_path, "Q1_11", epochs=2)
    judged = verdicts(tmp_path)
    assert judged["C1"].verdict == HOLDS
    assert judged["C6"].verdict == UNDECIDED
    assert "needs 10 epochs, these runs have 2" in judged["C6"].statements[0].reason


@pytest.mark.parametrize(("accuracy", "verdict"), [(EARLY_50, HOLDS), (50, HOLDS), (70, FAILS), (40, FAILS)])
def test_figure_is_met_early_or_at_the_end(tmp_path, accuracy, verdict):
    fake_seeds(tmp_path, "Q1_1", accuracy=accuracy)
    claim = verdicts(tmp_path)["C1"]
    assert claim.verdict == verdict
    assert ("the figure is that of epoch 1" in claim.statements[0].reason) == (accuracy == EARLY_50)


@pytest.mark.parametrize(
    ("plain", "fixed", "expected"), [(55, 41, [HOLDS, HOLDS]), (95, 41, [HOLDS, FAILS]), (40, 30, [FAILS, HOLDS])]
)
def test_figure_and_drop_of_fixed_shuffle_are_judged_apart(tmp_path, plain, fixed, expected):
    fake_seeds(tmp_path, "Q1_1", accuracy=plain)
    fake_seeds(tmp_path, "Q1_1", "fixed", accuracy=fixed)
    assert [statement.verdict for statement in verdicts(tmp_path)["C2"].statements] == expected


@pytest.mark.parametrize(
    ("accuracy", "expected"), [(26, [HOLDS, HOLDS]), (10, [FAILS, UNDECIDED]), (5, [FAILS, FAILS])]
)
def test_above_chance_is_decided_by_the_interval(tmp_path, accuracy, expected):
    fake_seeds(tmp_path, "Q1_1", "per-image", accuracy=accuracy)
    assert [statement.verdict for statement in verdicts(tmp_path)["C3"].statements] == expected


def test_best_and_worst_class_are_decided(tmp_path):
    fake_seeds(tmp_path / "as-published", "Q1_1", "per-image", per_class=COLOURS)
    published = verdicts(tmp_path / "as-published")["C4"]
    assert published.verdict == HOLDS
    assert "+1.00" in published.statements[0].reason

    fake_seeds(tmp_path / "other", "Q1_1", "per-image", per_class=COLOURS | {"deer": 20, "cat": 12})
    assert [statement.verdict for statement in verdicts(tmp_path / "other")["C4"].statements] == [FAILS, FAILS]

    for seed, deer in enumerate((60, 38, 31)):
        fake_run(tmp_path / "noisy", "Q1_1", seed, "per-image", per_class=COLOURS | {"deer": deer, "ship": 34})
    assert [statement.verdict for statement in verdicts(tmp_path / "noisy")["C4"].statements] == [UNDECIDED, HOLDS]


@pytest.mark.parametrize(
    ("train", "val", "verdict"), [(1.6, 1.62, HOLDS), (1.6, 1.9, FAILS), (0.9, 0.95, FAILS), (1.6, 1.7, UNDECIDED)]
)
def test_underfitting_is_a_high_training_loss_with_no_gap(tmp_path, train, val, verdict):
    fake_run(tmp_path, "Q1_1")
    for model in ("Q1_17", "Q1_18"):
        fake_seeds(tmp_path, model, losses=[(1.6, 1.6)] * 10)
    fake_seeds(tmp_path, "Q1_4", losses=[(train, val)] * 10)
    assert [statement.verdict for statement in verdicts(tmp_path)["C5"].statements] == [verdict, HOLDS, HOLDS]


def test_one_missing_model_leaves_the_others_judged(tmp_path):
    fake_run(tmp_path, "Q1_1")
    fake_seeds(tmp_path, "Q1_4", losses=[(1.6, 1.6)] * 10)
    fake_seeds(tmp_path, "Q1_18", losses=[(0.5, 0.5)] * 10)
    claim = verdicts(tmp_path)["C5"]
    assert [statement.verdict for statement in claim.statements] == [HOLDS, UNDECIDED, FAILS]
    assert claim.verdict == FAILS


def test_overfitting_is_a_validation_loss_that_turns(tmp_path):
    fake_seeds(tmp_path / "turns", "Q1_11", turn=5)
    claim = verdicts(tmp_path / "turns")["C6"]
    assert claim.verdict == HOLDS
    assert "lowest after epoch 5" in claim.statements[0].reason
    assert "over-confidence, not of worse decisions" in claim.statements[0].reason
    fake_seeds(tmp_path / "falls", "Q1_11")
    assert verdicts(tmp_path / "falls")["C6"].statements[0].verdict in (FAILS, UNDECIDED)
    fake_seeds(tmp_path / "late", "Q1_11", losses=[(2 - epoch / 10, 2 - epoch / 10) for epoch in range(10)])
    assert verdicts(tmp_path / "late")["C6"].statements[0].verdict == FAILS


def test_noise_is_not_taken_for_a_turn(tmp_path):
    draws = random.Random(1)
    climbs, naive = [], []
    for _ in range(200):
        rows = {
            (0, seed): type("Run", (), {"history": [{"val_loss": draws.gauss(1, 0.1)} for _ in range(10)]})
            for seed in range(3)
        }
        group = results.SeedGroup("Q1_11", "none", (), rows)
        climbs.append(group.loss_climb.mean)
        naive += [run.history[-1]["val_loss"] - min(row["val_loss"] for row in run.history) for run in rows.values()]
    assert abs(np.mean(climbs)) < 0.02
    assert np.mean(naive) > 0.1


def test_worse_decisions_are_not_called_overconfidence_only(tmp_path):
    fake_seeds(
        tmp_path, "Q1_11", losses=[(2 - epoch / 10, 1 + abs(epoch - 4) / 10) for epoch in range(10)], accuracy=60
    )
    group = results.read_study(tmp_path).group("Q1_11")
    for run in group.runs.values():
        for row in run.history[5:]:
            row["val_accuracy"] -= 9
    assert "it decides worse" in claims.overconfidence_text(group)


def test_best_must_beat_every_other_one(tmp_path):
    fake_study(tmp_path)
    assert [statement.verdict for statement in verdicts(tmp_path)["C7"].statements] == [HOLDS, HOLDS]
    [run] = (tmp_path / "cifar10" / "Q1_7").iterdir()
    (run / "metrics.json").unlink()
    claim = verdicts(tmp_path)["C7"]
    assert claim.verdict == UNDECIDED
    assert "needs 1 run of Q1_7, there are 0" in claim.statements[0].reason
    fake_run(tmp_path, "Q1_7", seed=8, accuracy=85)
    assert verdicts(tmp_path)["C7"].statements[0].verdict == FAILS


@pytest.mark.parametrize(("accuracy", "verdict"), [(73, HOLDS), (60, FAILS), (70, UNDECIDED)])
def test_variations_stay_near_the_original(tmp_path, accuracy, verdict):
    fake_seeds(tmp_path, "Q1_19", accuracy=75)
    for number in range(20, 26):
        fake_run(tmp_path, f"Q1_{number}", accuracy=accuracy if number == 22 else 74)
    smaller, by_a_bit, around = verdicts(tmp_path)["C8"].statements
    assert (smaller.verdict, by_a_bit.verdict, around.verdict) == (HOLDS, FAILS, verdict)
    assert "Q1_21, Q1_22, Q1_25" in by_a_bit.reason


@pytest.mark.parametrize(
    ("accuracy", "losses", "expected"),
    [
        (38, FLAT[:1] + [(1.95, 1.95)] * 9, [HOLDS, HOLDS]),
        (38, [(1.9 - epoch / 20, 1.9 - epoch / 20) for epoch in range(10)], [HOLDS, FAILS]),
        (38, [(1.9 - epoch / 20, 1.9 + epoch / 20) for epoch in range(10)], [HOLDS, UNDECIDED]),
        (53, FLAT[:1] + [(1.95, 1.95)] * 9, [FAILS, HOLDS]),
    ],
)
def test_affine_network_loses_and_does_not_learn(tmp_path, accuracy, losses, expected):
    fake_seeds(tmp_path, "Q1_1", accuracy=55)
    fake_seeds(tmp_path, "Q2_1", accuracy=accuracy, losses=losses)
    assert [statement.verdict for statement in verdicts(tmp_path)["C9"].statements] == expected


@pytest.mark.parametrize(("wide", "verdict"), [(36, HOLDS), (48, FAILS)])
def test_width_helps_from_one_point(tmp_path, wide, verdict):
    fake_seeds(tmp_path, "Q2_1", accuracy=38)
    fake_seeds(tmp_path, "Q2_2", accuracy=wide)
    assert verdicts(tmp_path)["C10"].verdict == verdict


@pytest.mark.parametrize("options", [{"lr": 0.01}, {"data": "SYNTHETIC (not CIFAR-10)", "slug": "synthetic"}])
def test_other_recipes_and_other_images_decide_nothing(tmp_path, options):
    fake_seeds(tmp_path, "Q1_1", accuracy=EARLY_50, **options)
    assert {claim.verdict for claim in verdicts(tmp_path).values()} == {UNDECIDED}


def test_more_epochs_are_still_the_published_recipe(tmp_path):
    fake_seeds(tmp_path, "Q1_1", accuracy=EARLY_50, epochs=15)
    assert verdicts(tmp_path)["C1"].verdict == HOLDS
