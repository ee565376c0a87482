"""The rules that decide the published claims, on runs made up for each: on both sides of each threshold."""

import random
import re

import numpy as np
import pytest

from report import calibration, chapter, claims, overview, results, sections, stats
from report.text import FAILS, HOLDS, NO_RUNS, UNDECIDED
from tests.helpers.fake_runs import COLOURS, fake_run, fake_seeds, fake_study

EARLY_50 = 90  # the made-up accuracy is half way from 10 % after one epoch
FLAT = [(1.9, 1.9)] * 10


def parts(root, key):
    """The verdicts on a claim's statements."""
    return [statement.verdict for statement in verdicts(root)[key].statements]


def verdicts(root):
    return {claim.key: claim for claim in claims.check_claims(results.read_study(root))}


def test_claims_without_enough_runs_say_what_is_missing(tmp_path):
    for seed in range(2):
        fake_run(tmp_path, "Q1_1", seed, accuracy=EARLY_50)
    judged = verdicts(tmp_path)
    assert {claim.verdict for claim in judged.values()} == {UNDECIDED, NO_RUNS}
    assert [key for key, claim in judged.items() if claim.verdict == UNDECIDED] == ["C1"]
    assert "needs 3 runs of Q1_1, there are 2" in judged["C1"].statements[0].reason
    assert "needs 3 runs of Q1_1 with shuffle per-image, there are 0" in judged["C3"].statements[0].reason


def test_short_runs_decide_early_figures_only(tmp_path):
    fake_seeds(tmp_path, "Q1_1", accuracy=EARLY_50, epochs=2)
    fake_seeds(tmp_path, "Q1_11", epochs=2)
    judged = verdicts(tmp_path)
    assert judged["C1"].verdict == HOLDS
    assert judged["C6"].verdict == UNDECIDED
    assert "needs 10 epochs, these runs have 2" in judged["C6"].statements[0].reason


@pytest.mark.parametrize(
    ("accuracy", "verdict"),
    [(EARLY_50, HOLDS), (50, HOLDS), (48.5, HOLDS), (47, UNDECIDED), (53, UNDECIDED), (70, FAILS), (45.5, FAILS)],
)
def test_figure_is_met_early_or_at_the_end(tmp_path, accuracy, verdict):
    fake_seeds(tmp_path, "Q1_1", accuracy=accuracy)
    claim = verdicts(tmp_path)["C1"]
    assert claim.verdict == verdict
    assert ("it is that of epoch 1" in claim.statements[0].reason) == (accuracy == EARLY_50)
    assert "any of these may meet the figure" in claim.statements[0].reason
    assert bool(re.search(r"About \d+ runs would decide it|More than", claim.statements[0].reason)) == (
        verdict == UNDECIDED
    )


@pytest.mark.parametrize(
    ("plain", "fixed", "expected"),
    [
        (55, 41, [HOLDS, HOLDS]), (95, 41, [HOLDS, FAILS]), (40, 30, [FAILS, HOLDS]),
        # After epoch 2 three quarters of the way from 10 %: 43.75 is as near to 40 as it gets.
        (69, 55, [UNDECIDED, HOLDS]), (75, 55, [UNDECIDED, UNDECIDED]), (80, 55, [UNDECIDED, FAILS]),
    ],
)  # fmt: skip
def test_figure_and_drop_of_fixed_shuffle_are_judged_apart(tmp_path, plain, fixed, expected):
    fake_seeds(tmp_path, "Q1_1", accuracy=plain)
    fake_seeds(tmp_path, "Q1_1", "fixed", accuracy=fixed)
    assert [statement.verdict for statement in verdicts(tmp_path)["C2"].statements] == expected


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [(26, [HOLDS, HOLDS]), (22, [UNDECIDED, HOLDS]), (20, [FAILS, UNDECIDED]), (18, [FAILS, FAILS])],
)
def test_far_above_chance_is_by_more_than_ten_points(tmp_path, accuracy, expected):
    fake_seeds(tmp_path, "Q1_1", "per-image", accuracy=accuracy)
    assert parts(tmp_path, "C3") == expected


def test_best_and_worst_class_are_decided(tmp_path):
    fake_seeds(tmp_path / "as-published", "Q1_1", "per-image", per_class=COLOURS)
    published = verdicts(tmp_path / "as-published")["C4"]
    assert published.verdict == HOLDS
    assert "+1.00" in published.statements[0].reason

    fake_seeds(tmp_path / "other", "Q1_1", "per-image", per_class=COLOURS | {"deer": 20, "cat": 14})
    assert [statement.verdict for statement in verdicts(tmp_path / "other")["C4"].statements] == [FAILS, FAILS]

    for seed, deer in enumerate((60, 38, 31)):
        fake_run(tmp_path / "noisy", "Q1_1", seed, "per-image", per_class=COLOURS | {"deer": deer, "ship": 34})
    assert parts(tmp_path / "noisy", "C4") == [UNDECIDED, HOLDS]
    assert "runs would decide it" in verdicts(tmp_path / "noisy")["C4"].statements[0].reason

    # Trucks are 4 to 6 points ahead of deer: decided if it were the only pair of classes, and not as the worst of 16.
    for seed, truck in enumerate((44, 45, 46)):
        fake_run(tmp_path / "worst", "Q1_1", seed, "per-image", per_class=COLOURS | {"deer": 40, "truck": truck})
    assert parts(tmp_path / "worst", "C4") == [UNDECIDED, HOLDS]


def test_classes_are_judged_at_the_epoch_of_the_published_figure(tmp_path):
    """As published after the first epoch, where the accuracy is 25 %, and the other way round after the last."""
    fake_seeds(tmp_path, "Q1_1", "per-image", accuracy=40, per_class=COLOURS)
    study = results.read_study(tmp_path)
    for run in study.group("Q1_1", "per-image").runs.values():
        for row in run.history[1:]:
            row |= {f"val_accuracy_of_{name}": 50 - value for name, value in COLOURS.items()}
    [claim] = (claim for claim in claims.check_claims(study) if claim.key == "C4")
    assert claim.verdict == HOLDS
    assert "After epoch 1," in claim.statements[0].reason
    assert claim.measured.startswith("accuracy after epoch 1: plane 48, deer 46, frog 36")


def test_f1_and_answers_are_shown_beside_accuracies_by_class(tmp_path):
    """All classes are recognised alike; but the last is answered for all that is not, so that its F1 is low."""
    confusion = [[0] * 10 for _ in range(10)]
    for i in range(10):
        confusion[i][i] += 400
        confusion[i][9 if i < 9 else 0] += 600
    fake_seeds(tmp_path, "Q1_1", "per-image", accuracy=30, confusion=confusion)
    claim = verdicts(tmp_path)["C4"]
    lines = claim.measured.splitlines()
    assert lines[1] == (
        "F1 after epoch 10: car 57, bird 57, cat 57, deer 57, dog 57, frog 57, horse 57, ship 57, plane 40, truck 12 %"
    )
    assert lines[2].startswith("truck is answered most often: truck 5800, plane 1000, car 400")
    assert "By F1, which is known after epoch 10 only, plane − car is closest, -17.1" in claim.statements[0].reason


def test_worst_of_many_comparisons_refutes_no_claim_by_chance():
    draws, refuted = np.random.default_rng(3), 0
    for _ in range(150):
        classes = draws.normal(30, 5, (10, 3))
        leads = [stats.mean([*(classes[one] - classes[other])]) for one in (0, 1) for other in range(2, 10)]
        refuted += claims.decide_all(leads) == FAILS
    assert refuted / 150 < 0.08


@pytest.mark.parametrize(
    ("train", "val", "verdict"), [(1.6, 1.62, HOLDS), (1.6, 1.9, FAILS), (0.9, 0.95, FAILS), (1.6, 1.7, UNDECIDED)]
)
def test_underfitting_is_a_high_training_loss_with_no_gap(tmp_path, train, val, verdict):
    fake_run(tmp_path, "Q1_1")
    for model in ("Q1_17", "Q1_18"):
        fake_seeds(tmp_path, model, losses=[(1.6, 1.6)] * 10)
    fake_seeds(tmp_path, "Q1_4", losses=[(train, val)] * 10)
    assert parts(tmp_path, "C5") == [verdict, HOLDS, HOLDS]


def test_one_of_many_comparisons_refutes_with_an_interval_for_all(tmp_path):
    """The gap of one network is 0.2 to 0.3 nats: decided if it were alone, and not as one of six comparisons."""
    fake_run(tmp_path, "Q1_1")
    for model in ("Q1_17", "Q1_18"):
        fake_seeds(tmp_path, model, losses=[(1.6, 1.6)] * 10)
    for seed, val in enumerate((1.8, 1.85, 1.9)):
        fake_run(tmp_path, "Q1_4", seed, losses=[(1.6, val)] * 10)
    [statement, *_] = verdicts(tmp_path)["C5"].statements
    assert statement.verdict == UNDECIDED
    low, high, all_low, _ = map(
        float,
        re.search(
            r"loss is \S+ \((\S+) … (\S+)\) nats from it, \((\S+) … (\S+)\) for all 6", statement.reason
        ).groups(),
    )
    assert all_low < claims.UNDERFIT_NATS < low < high


def test_page_names_what_claims_are_judged_by_besides(tmp_path):
    for model in ("Q1_1", "Q1_4"):
        fake_seeds(tmp_path, model, losses=[(1.6, 1.6)] * 10)
        fake_seeds(tmp_path, model, epochs=50, losses=[(1.6, 1.6)] * 50)
    fake_seeds(tmp_path, "Q1_2")
    fake_seeds(tmp_path, "Q1_3", epochs=50)
    study = results.read_study(tmp_path)
    assert [(group.model, group.epochs) for group in claims.find_longer(study)] == [("Q1_4", 50), ("Q1_1", 50)]
    overview.write(tmp_path, overview.Options(study=True))
    page = (tmp_path / "cifar10" / "report.md").read_text(encoding="utf-8")
    assert "\nFor C5 besides: 6 runs of 50 epochs. Processor: a CPU; threads: 1; precision: fp32; PyTorch 2.0" in page


def test_each_claim_has_two_sentences_and_a_picture(tmp_path):
    for shuffle in ("none", "fixed", "per-image"):
        fake_seeds(tmp_path, "Q1_1", shuffle, per_class=COLOURS)
    for model in ("Q1_11", "Q1_19", "Q2_1"):
        fake_seeds(tmp_path, model)
    overview.write(tmp_path, overview.Options(study=True))
    page = (tmp_path / "cifar10" / "report.md").read_text(encoding="utf-8")
    shown = re.findall(
        r"^### (C\w+): .*\n\nPublished: .*\. Measured: .*\.\n\n!\[.*\]\(report/claim_(\w+).png\)", page, re.M
    )
    assert [key for key, _ in shown] == [name for _, name in shown]
    assert {"C1", "C2", "C3", "C4", "C6", "C7", "C8", "C9a", "C9b", "C10"} == {key for key, _ in shown}
    assert "### C5: no runs\n\nPublished: Q1_4, Q1_17" in page  # without runs there is no picture


def test_underfitting_is_judged_after_the_longest_training(tmp_path):
    fake_seeds(tmp_path, "Q1_1", losses=[(0.5, 0.5)] * 10)
    for model in ("Q1_4", "Q1_17", "Q1_18"):
        fake_seeds(tmp_path, model, losses=[(1.6, 1.6)] * 10)
    for seed in range(2):
        fake_run(tmp_path, "Q1_17", seed, epochs=50, losses=[(0.1, 0.1)] * 50)  # too few
    fake_seeds(tmp_path, "Q1_18", epochs=60, losses=[(0.1, 0.1)] * 60)  # and none of Q1_1 to compare with
    assert parts(tmp_path, "C5") == [HOLDS, HOLDS, HOLDS]
    fake_seeds(tmp_path, "Q1_4", epochs=50, losses=[(1.6, 1.6)] * 10 + [(0.4, 0.4)] * 40)
    fake_run(tmp_path, "Q1_1", epochs=50, losses=[(0.5, 0.5)] * 50)
    fake_seeds(tmp_path, "Q1_4", epochs=70, lr=0.01, losses=[(1.6, 1.6)] * 70)  # of another recipe
    claim = verdicts(tmp_path)["C5"]
    assert [statement.verdict for statement in claim.statements] == [FAILS, HOLDS, HOLDS]
    assert "After 50 epochs" in claim.statements[0].reason
    assert "After 10 epochs" in claim.statements[1].reason
    assert "Q1_4 (rebuilt): training 0.40, validation 0.40 nats after 50 epochs (3 seeds)" in claim.measured


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
    fake_seeds(tmp_path / "falls", "Q1_11")
    assert verdicts(tmp_path / "falls")["C6"].statements[0].verdict in (FAILS, UNDECIDED)
    fake_seeds(tmp_path / "late", "Q1_11", losses=[(2 - epoch / 10, 2 - epoch / 10) for epoch in range(10)])
    assert verdicts(tmp_path / "late")["C6"].statements[0].verdict == FAILS


def climbing_by(nats, fall=0.1):
    """Losses that climb by so much from the fifth epoch, while the training loss falls."""
    return [(2 - 0.1 * epoch, 2 - 0.1 * epoch) for epoch in range(5)] + [
        (1.6 - fall * (epoch + 1) / 5, 1.6 + nats * (epoch + 1) / 5) for epoch in range(5)
    ]


@pytest.mark.parametrize(
    ("nats", "fall", "verdict"),
    [(0.04, 0.1, HOLDS), (0.02, 0.1, UNDECIDED), (0.005, 0.1, FAILS), (0.04, 0.05, UNDECIDED), (0.04, 0.03, FAILS)],
)
def test_loss_climbs_and_falls_by_more_than_the_thresholds(tmp_path, nats, fall, verdict):
    fake_seeds(tmp_path, "Q1_11", losses=climbing_by(nats, fall))
    assert parts(tmp_path, "C6")[0] == verdict
    if nats != 0.02:
        assert calibration.is_climbing(results.read_study(tmp_path).group("Q1_11")) == (nats > 0.02)


def test_climbing_losses_are_counted_by_the_same_constant(tmp_path):
    fake_seeds(tmp_path, "Q1_1", losses=climbing_by(0.04))
    fake_seeds(tmp_path, "Q1_2", losses=climbing_by(0.01))
    fake_run(tmp_path, "Q1_3", losses=climbing_by(0.3), turn=5)
    for model in ("Q1_4", "Q1_5"):
        fake_run(tmp_path, model, losses=climbing_by(0.01))
    study = results.read_study(tmp_path)
    for run in study.group("Q1_1").runs.values():
        for row in run.history[5:]:
            row["val_accuracy"] -= 9
            row["val_confidence"] -= 10
    text = calibration.climbing_text(study.models)
    assert "to the last in 2 of 5 networks: in 1 of 2 with several seeds, and in 1 of 3 with one." in text
    assert "In the curve of one seed the lowest epoch is partly chance" in text
    assert "95 % interval of the climb is above 0.02 nats in 1 (Q1_1)." in text
    assert "more than accuracy in 1 network, and accuracy falls by more than 1 point in 1 (Q1_1)." in text
    assert "Where it turns but climbs by less, confidence grows more than accuracy in 0 of 3 networks." in text
    for run in study.group("Q1_1").runs.values():
        for row in run.history[5:]:
            row["val_confidence"] += 20
    assert "confidence grows more than accuracy in 2 networks, and" in calibration.climbing_text(study.models)


def test_diverged_training_is_no_overfitting(tmp_path):
    fake_run(tmp_path, "Q1_1", losses=[(2 - 0.1 * epoch, 2 - 0.1 * epoch) for epoch in range(5)] + [(2.3, 2.3)] * 5)
    fake_run(tmp_path, "Q1_4", losses=climbing_by(0.3))
    diverged, climbing = results.read_study(tmp_path).models
    assert not calibration.is_climbing(diverged)
    assert sections.calibration_blocks([diverged], tmp_path) == []
    text = calibration.climbing_text([diverged, climbing])
    assert "in 1 of 1 network. In the curve of one seed" in text
    assert text.endswith("Not counted, as the training loss climbs too: Q1_1.")
    assert "its training has diverged" in calibration.overconfidence_text(diverged)


def test_surer_of_mistakes_is_said_where_it_was_measured(tmp_path):
    def said_of(name, wrong=0.4, scaled=1.0, **options):
        calibrated = [(wrong + epoch / 50, 0.05 + epoch / 100, scaled) for epoch in range(10)]
        fake_seeds(tmp_path / name, "Q1_11", losses=climbing_by(0.2), **{"calibration": calibrated} | options)
        return calibration.overconfidence_text(results.read_study(tmp_path / name).group("Q1_11"))

    text = said_of("measured")
    assert "wrong answers goes from 48.0 to 58.0 %: it is surer of its mistakes." in text
    assert "calibration error goes from 9.0 to 14.0 points" in text
    assert "temperature scaling from 1.00 to 1.00 nats: what climbs is the price of over-confidence" in text
    older = said_of("older", calibration=None)
    assert "mistakes" not in older
    assert "wrong answers" not in older
    assert "over-confidence" not in older
    no_surer = said_of("no-surer", calibration=[(0.4, 0.1, 1 + epoch / 10) for epoch in range(10)])
    assert "surer" not in no_surer
    assert "a part of the climb is not over-confidence" in no_surer


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
    assert "it decides worse" in calibration.overconfidence_text(group)


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


@pytest.mark.parametrize(("accuracy", "verdict"), [(73, HOLDS), (72.5, HOLDS), (60, FAILS), (70, UNDECIDED)])
def test_variations_stay_near_the_original(tmp_path, accuracy, verdict):
    fake_seeds(tmp_path, "Q1_19", accuracy=75)
    for number in range(20, 26):
        fake_run(tmp_path, f"Q1_{number}", accuracy=accuracy if number == 22 else 74)
    smaller, by_a_bit, around = verdicts(tmp_path)["C8"].statements
    assert (smaller.verdict, by_a_bit.verdict, around.verdict) == (HOLDS, FAILS, verdict)
    assert "Q1_21, Q1_22, Q1_25" in by_a_bit.reason
    assert ("The closest call is Q1_22 (rebuilt)" in around.reason) == (verdict == UNDECIDED)


def test_claims_on_rebuilt_networks_say_so(tmp_path):
    fake_study(tmp_path)
    judged = verdicts(tmp_path)
    assert [key for key, claim in judged.items() if claim.of_rebuilt] == ["C5", "C8", "C10"]
    assert "Q2_2 (rebuilt): " in judged["C10"].measured
    assert "6 of the 18 others are rebuilt" in judged["C7"].statements[0].reason


@pytest.mark.parametrize(
    ("accuracy", "losses", "expected"),
    [
        (38, FLAT[:1] + [(1.95, 1.95)] * 9, [HOLDS, HOLDS]),
        (38, FLAT[:1] + [(1.86, 1.86)] * 9, [HOLDS, HOLDS]),
        (43, FLAT[:1] + [(1.84, 1.84)] * 9, [HOLDS, FAILS]),
        (38, FLAT[:1] + [(1.84, 1.85)] * 9, [HOLDS, UNDECIDED]),
        (38, FLAT[:1] + [(1.84, 1.86)] * 9, [HOLDS, UNDECIDED]),
        (47, FLAT[:1] + [(1.95, 1.95)] * 9, [FAILS, HOLDS]),
        (45, FLAT[:1] + [(1.95, 1.95)] * 9, [UNDECIDED, HOLDS]),
    ],
)
def test_affine_network_loses_and_does_not_learn(tmp_path, accuracy, losses, expected):
    fake_seeds(tmp_path, "Q1_1", accuracy=55)
    fake_seeds(tmp_path, "Q2_1", accuracy=accuracy, losses=losses)
    judged = verdicts(tmp_path)
    assert [judged[key].verdict for key in ("C9a", "C9b")] == expected
    one_falls = losses[-1] == (1.84, 1.86)
    assert ("no run decides which" in judged["C9b"].statements[0].reason) == one_falls


@pytest.mark.parametrize(("wide", "verdict"), [(36, HOLDS), (48, FAILS), (39, UNDECIDED)])
def test_width_helps_from_one_point(tmp_path, wide, verdict):
    fake_seeds(tmp_path, "Q2_1", accuracy=38)
    fake_seeds(tmp_path, "Q2_2", accuracy=wide)
    assert verdicts(tmp_path)["C10"].verdict == verdict


def test_two_affine_networks_are_compared_seed_by_seed(tmp_path):
    fake_seeds(tmp_path, "Q2_1")
    fake_seeds(tmp_path, "Q2_2")
    study = results.read_study(tmp_path)
    for model, gain in (("Q2_1", 0.0), ("Q2_2", 0.4)):
        for (_, seed), run in study.group(model).runs.items():
            for row in run.history:
                row["val_accuracy"] = 37 + 5 * seed + gain + 0.01 * seed * gain
    [claim] = (claim for claim in claims.check_claims(study) if claim.key == "C10")
    assert claim.verdict == HOLDS
    assert "+0.40 (+0.39 … +0.41) points" in claim.statements[0].reason
    assert "correlate with r = 1.00." in claim.statements[0].reason
    assert study.difference(study.group("Q2_2"), study.group("Q2_1")).half_width > 5


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([50.0, 51.0, 52.0], " About 10 runs would decide it."),
        ([50.0, 51.0, 49.01], " More than 1,000 runs would be needed to decide it."),
        ([50.0], " Several runs of each would tell how far seeds differ, and then how many decide it."),
    ],
)
def test_what_is_not_decided_says_what_would_decide_it(runs, said):
    assert claims.closing_text(UNDECIDED, stats.mean(runs), (50.0, 60.0)) == said
    assert claims.closing_text(HOLDS, stats.mean(runs), (50.0, 60.0)) == ""


THRESHOLDS = [name for name, value in vars(claims).items() if name.isupper() and isinstance(value, (int, float))]


@pytest.mark.parametrize("threshold", [name for name in THRESHOLDS if not name.endswith("_PERCENT")])
def test_rules_are_printed_with_the_constants_that_decide(tmp_path, monkeypatch, threshold):
    fake_run(tmp_path)
    checked = claims.check_claims(results.read_study(tmp_path))
    *_, rules = chapter.claim_blocks(checked, tmp_path)
    monkeypatch.setattr(claims, threshold, 12345)
    *_, changed = chapter.claim_blocks(checked, tmp_path)
    assert "12345" in " ".join(changed.blocks[0].items)
    assert "12345" not in " ".join(rules.blocks[0].items)


@pytest.mark.parametrize("options", [{"lr": 0.01}, {"data": "SYNTHETIC (not CIFAR-10)", "slug": "synthetic"}])
def test_other_recipes_and_other_images_decide_nothing(tmp_path, options):
    fake_seeds(tmp_path, "Q1_1", accuracy=EARLY_50, **options)
    assert not verdicts(tmp_path)
    overview.write(tmp_path, overview.Options(study=True))
    (page,) = tmp_path.glob("*/report.md")
    assert "say nothing of any of them." in page.read_text(encoding="utf-8")
    assert "Which published claims hold?" not in page.read_text(encoding="utf-8")


def test_more_epochs_are_still_the_published_recipe(tmp_path):
    fake_seeds(tmp_path, "Q1_1", accuracy=EARLY_50, epochs=15)
    assert verdicts(tmp_path)["C1"].verdict == HOLDS
