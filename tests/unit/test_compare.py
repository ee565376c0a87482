"""Which runs are compared with which, and what is decided."""

import re

import numpy as np
import pytest
from scipy.stats import ttest_ind

import models
from report import compare, overview, page, results, sections, stats
from runner.config import RECIPES
from runner.errors import UsageError
from tests.helpers.fake_runs import fake_run, fake_seeds


def groups_in(root):
    [run_set] = results.read_run_sets(root)
    return run_set.groups


def compared(found):
    """The labels of each section's groups."""
    return [[section.label(group) for group in section.groups] for section in found]


def test_runs_that_differ_in_one_option_are_compared(tmp_path):
    for lr in (0.01, 0.001):
        fake_run(tmp_path, lr=lr)
    [section] = compare.make_sections(groups_in(tmp_path))
    assert (section.settings, section.title, section.common) == (["lr"], "lr", "Q1_1, recipe classic, 10 epochs")
    assert compared([section]) == [["lr 0.001", "lr 0.01"]]


def test_options_that_were_varied_in_combination_share_a_section_and_others_have_their_own(tmp_path):
    for lr in (0.001, 0.01):
        for batch_size in (4, 32):
            fake_seeds(tmp_path, "Q1_1", lr=lr, batch_size=batch_size)
    fake_seeds(tmp_path, "Q1_1", "fixed")
    fake_run(tmp_path, "Q1_2")
    fake_run(tmp_path, "Q1_19", momentum=0.5, epochs=3)  # has nothing to be compared with
    found = compare.make_sections(groups_in(tmp_path))
    assert [section.settings for section in found] == [["batch-size", "lr"], ["shuffle"], ["model"], []]
    assert [section.runs for section in found] == [12, 6, 4, 1]
    assert found[-1].common == "Q1_19, recipe classic, 3 epochs, momentum 0.5"


def test_two_runs_of_another_recipe_do_not_take_the_page(tmp_path):
    for seed in range(2):
        fake_run(tmp_path, "Q1_1", seed, accuracy=70)
        fake_run(tmp_path, "Q1_4", seed)
    before = compared(compare.make_sections(groups_in(tmp_path)))
    for seed in range(2):
        fake_run(tmp_path, "Q1_1", seed, **RECIPES["fast"], recipe="fast")
    found = compare.make_sections(groups_in(tmp_path))
    assert compared(found)[0] == before[0] == ["Q1_1", "Q1_4"]
    assert compared(found)[1] == ["recipe classic", "recipe fast"]


def test_runs_of_the_batch_come_first(tmp_path):
    for lr in (0.001, 0.01, 0.1):
        fake_seeds(tmp_path, "Q1_1", lr=lr)
    fake_run(tmp_path, "Q1_1", shuffle="fixed")
    groups = groups_in(tmp_path)
    own = [group for group in groups if not group.settings]
    found = compare.make_sections(groups, own)
    assert compared(found) == [["fixed", "no shuffle"], ["lr 0.001", "lr 0.01", "lr 0.1"]]


def test_batch_of_one_setting_opens_what_it_is_compared_in(tmp_path):
    for shuffle in ("none", "fixed", "per-image"):
        fake_seeds(tmp_path, "Q1_1", shuffle)
    for lr in (0.001, 0.01):
        fake_run(tmp_path, "Q1_4", lr=lr)
    groups = groups_in(tmp_path)
    own = [group for group in groups if ("lr", 0.01) in group.settings]
    assert compared(compare.make_sections(groups, own))[0] == ["lr 0.001", "lr 0.01"]
    assert overview.write(tmp_path / "cifar10", batch=overview.Batch({own[0].example.config.run_name})).path.exists()
    page = (tmp_path / "cifar10/report.md").read_text(encoding="utf-8")
    assert page.startswith("# Compared: lr, on CIFAR-10")
    assert "nothing to compare it with" not in page.partition("## ")[0]


def test_rate_that_the_recipe_sets_to_suit_a_network_is_shown_beside_it(tmp_path):
    fast = {**RECIPES["fast"], "recipe": "fast"}
    for model, lr in (("Q1_1", 0.06), ("Q1_4", 0.06), ("Q2_1", 0.01)):
        fake_seeds(tmp_path, model, **fast | {"lr": lr})
    [section] = compare.make_sections(groups_in(tmp_path))
    assert (section.settings, section.implied) == (["model"], ["lr"])
    assert sections.answer_texts(section)[-1] == (
        "lr, as the recipe sets it, differs with model (0.01, 0.06): they can't be told apart."
    )
    table = sections.section_table(section)
    shown = {row[0]: row[table.columns.index("lr")].text for row in table.rows}
    assert shown == {"Q1_1": "0.06", "Q1_4": "0.06", "Q2_1": "0.01"}
    overview.write(tmp_path)
    assert "learning rates 0.01 and 0.06" in (tmp_path / "cifar10/report.md").read_text(encoding="utf-8")


def test_limit_is_said_to_shorten_the_validation_images(tmp_path):
    for limit in (2000, 3000):
        fake_run(tmp_path, limit=limit)
    [section] = compare.make_sections(groups_in(tmp_path))
    assert sections.answer_texts(section)[-1].startswith("--limit shortens the validation images too, to ")


def test_runs_measured_on_held_out_images_are_not_compared_with_others(tmp_path):
    fake_run(tmp_path, lr=0.01)
    fake_run(tmp_path, val="holdout")
    assert [len(section.groups) for section in compare.make_sections(groups_in(tmp_path))] == [1, 1]


def test_settings_that_differ_only_together_are_said_to_be_inseparable(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    fake_seeds(tmp_path, "Q1_1", lr=0.01, batch_size=64)
    [section] = compare.make_sections(groups_in(tmp_path))
    assert sections.inseparable_texts(section.groups) == [
        "batch-size and lr never differ alone: they can't be told apart."
    ]
    fake_seeds(tmp_path, "Q1_1", lr=0.01)
    found = compare.make_sections(groups_in(tmp_path))
    assert [section.settings for section in found] == [["batch-size"], ["lr"]]
    assert [sections.inseparable_texts(section.groups) for section in found] == [[], []]


def test_what_differs_only_together_is_said_in_one_line(tmp_path):
    for epochs, lr, limit in ((1, 0.01, 100), (2, 0.02, 200), (3, 0.03, 300)):
        fake_run(tmp_path, "Q1_1", epochs=epochs, lr=lr, limit=limit)
    groups = groups_in(tmp_path)
    assert sections.inseparable_texts(groups) == ["epochs, lr and limit never differ alone: they can't be told apart."]
    fake_run(tmp_path, "Q1_4", epochs=4, lr=0.04, limit=400)
    told = "model, epochs, lr and limit never differ alone: they can't be told apart."
    assert sections.inseparable_texts(groups_in(tmp_path)) == [told]


def test_settings_that_vary_as_one_are_one_question(tmp_path):
    for model in ("Q1_1", "Q1_4"):
        for epochs, share in ((8, 1.0), (16, 0.5), (32, 0.25)):
            fake_seeds(tmp_path, model, epochs=epochs, train_fraction=share)
    [section] = compare.make_sections(groups_in(tmp_path))
    assert len(section.groups) == 6
    assert compare.bundles(section.groups) == {"model": [], "epochs": ["train-fraction"]}
    assert sections.inseparable_texts(section.groups) == [
        "epochs and train-fraction never differ alone: they can't be told apart."
    ]
    figure = sections.picture(section, tmp_path, "compared")
    assert figure.alt == "Accuracy against epochs (and train-fraction with it)"

    # One more run tells the two apart: then they are questions of their own.
    fake_seeds(tmp_path, "Q1_1", epochs=8, train_fraction=0.5)
    found = compare.make_sections(groups_in(tmp_path))
    assert ["epochs"] in [section.settings for section in found]
    assert ["train-fraction"] in [section.settings for section in found]


def test_best_is_found_and_what_would_decide_it(tmp_path):
    for model, accuracy in (("Q1_1", 60.0), ("Q1_4", 60.3), ("Q1_2", 40.0)):
        fake_seeds(tmp_path, model, accuracy=accuracy)
    [section] = compare.make_sections(groups_in(tmp_path))
    verdicts = {each.group.model: each.verdict for each in section.comparisons.values()}
    assert verdicts == {"Q1_1": compare.OPEN, "Q1_2": compare.LOWER}
    lead = sections.lead_text(section)
    assert "ahead of the next, Q1_1: not decided, corrected for picking the best of 3" in lead
    assert "1 of 2 can't be told from it: Q1_1." in lead
    assert lead.endswith("About 1 more run of each, 4 in all, would decide it.")


def test_next_is_decided_where_another_that_varies_more_is_not(tmp_path):
    values = {"Q1_1": (60.0, 60.2, 60.4), "Q1_4": (50.0, 50.2, 50.4), "Q1_2": (20.0, 49.0, 75.0)}
    for model, accuracies in values.items():
        for seed, accuracy in enumerate(accuracies):
            fake_run(tmp_path, model, seed, accuracy=accuracy)
    [section] = compare.make_sections(groups_in(tmp_path))
    lead = sections.lead_text(section)
    assert (
        "ahead of the next, Q1_4: decided, corrected for picking the best of 3. 1 of 2 can't be told from it: Q1_2."
        in lead
    )
    assert re.search(r"About [\d,]+ more runs of each, [\d,]+ in all, would tell Q1_2 from it\.$", lead)


def test_with_one_run_each_nothing_is_decided(tmp_path):
    for lr in (0.01, 0.001):
        fake_run(tmp_path, lr=lr, accuracy=50 + 100 * lr)
    [section] = compare.make_sections(groups_in(tmp_path))
    assert [each.verdict for each in section.comparisons.values()] == [compare.UNKNOWN]
    assert "--seeds 0-2 would" in sections.lead_text(section)


def test_holms_correction_is_the_published_one():
    assert stats.correct_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.correct_holm([np.nan, 0.01]) == pytest.approx([np.nan, 0.02], nan_ok=True)


def test_p_is_below_the_level_where_the_interval_excludes_nothing():
    a, b = [1.0, 2.0, 3.0], [4.0, 6.0, 5.5]
    estimate = stats.difference(a, b)
    assert stats.p_value(estimate) == pytest.approx(stats.p_value(stats.scale(estimate, -1)))
    touching = stats.Estimate(estimate.half_width, 3, half_width=estimate.half_width, degrees=estimate.degrees)
    assert stats.p_value(touching) == pytest.approx(0.05)


@pytest.mark.parametrize(("settings", "seeds"), [(3, 3), (5, 3), (15, 4)])
def test_equal_settings_are_seldom_told_apart(settings, seeds):
    """The best of several is picked from the same results: in 5 of 100 studies it is told from the last."""
    draws = np.random.default_rng(0)
    told = 0
    for _ in range(1000):
        values = sorted(draws.normal(size=(settings, seeds)).tolist(), key=sum)
        told += stats.p_value(stats.difference(values[0], values[-1]), settings) < compare.LEVEL
    assert 25 <= told <= 65


def test_setting_far_behind_is_told_from_the_best_of_many():
    a, b = [31.2, 40.1, 34.7], [63.5, 63.9, 64.3]
    assert 0.01 < stats.p_value(stats.difference(a, b), 5) < 0.05
    # Of two it is Welch's t.
    assert stats.p_value(stats.difference(a, b)) == pytest.approx(ttest_ind(a, b, equal_var=False).pvalue)
    assert stats.critical_t(4, picked_of=15) == pytest.approx(8.664 / 2**0.5, rel=1e-3)  # of published tables


def test_baseline_is_what_all_are_compared_with(tmp_path):
    for model, accuracy in (("Q1_1", 60.0), ("Q1_4", 70), ("Q1_2", 40.0)):
        fake_seeds(tmp_path, model, accuracy=accuracy)
    [section] = compare.make_sections(groups_in(tmp_path))
    overview.set_baselines([section], "q1-1")
    verdicts = {each.group.model: each.verdict for each in section.comparisons.values()}
    assert verdicts == {"Q1_4": compare.HIGHER, "Q1_2": compare.LOWER}
    [text] = sections.baseline_texts(section)
    assert text.startswith("Against Q1_1, corrected for 2 comparisons: higher Q1_4 (+")
    for wanted in ("Q9_9", "Q1"):
        with pytest.raises(UsageError, match="names none, or several, of: Q1_1; Q1_2; Q1_4"):
            overview.set_baselines([section], wanted)


def test_runs_that_ended_early_are_shown_as_far_as_all_went(tmp_path):
    early = dict(accuracy=5.0, patience=2, val="holdout")  # it falls from the first epoch on
    for seed, ended in enumerate((5, 3, 4)):
        fake_run(tmp_path, "Q1_1", seed, ended=ended, **early)
        fake_run(tmp_path, "Q1_4", seed, ended=5, **early)
    first, second = groups_in(tmp_path)
    assert (first.epochs, second.epochs) == (3, 5)
    assert first.loss_climb.n == 3
    text = overview.write(tmp_path).path.with_suffix(".md").read_text(encoding="utf-8")
    assert "10 epochs" in text
    assert "epochs trained" in text
    assert "| 4.0 |" in text


def test_models_asked_for_are_shown_side_by_side_whatever_else_varies(tmp_path):
    for model in ("Q1_1", "Q1_2", "Q1_4"):
        for shuffle, accuracy in (("none", 60.0), ("fixed", 50.0), ("per-image", 30.0)):
            fake_seeds(tmp_path, model, shuffle, accuracy=accuracy)
    [section] = compare.make_sections(groups_in(tmp_path))
    shown = sections.chosen_groups(section, ["Q1_4", "Q1_1"], 4)
    assert [section.label(group) for group in shown] == [
        "Q1_4, fixed",
        "Q1_4, no shuffle",
        "Q1_1, fixed",
        "Q1_1, no shuffle",
    ]
    blocks = sections.class_blocks(section, tmp_path, "x", ["Q1_4", "Q1_1"])
    headings = [block.text for block in blocks if isinstance(block, page.Heading)]
    assert headings[0].endswith("models and shuffles")
    assert len(headings) == 4  # and each network by its shuffles


def test_more_models_can_be_asked_for_than_there_are_colours(tmp_path):
    for spec in models.TABLE[:9]:
        fake_run(tmp_path, spec.name, epochs=2)
    written = overview.write(tmp_path, overview.Options(compare=["Q1_*"]))
    assert "Loss and accuracy over the epochs: Q1_1; Q1_2; " in written.path.with_suffix(".md").read_text(
        encoding="utf-8"
    )
