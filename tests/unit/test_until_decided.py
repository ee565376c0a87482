"""A sweep that adds seeds until its comparisons are decided."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from experiments import sweep, until_decided
from report import overview, sequential
from runner import console
from runner.config import Config, EngineConfig, Goal
from runner.errors import UsageError
from tests.helpers.fake_runs import fake_run
from tests.helpers.images import listening


@pytest.fixture
def swept(monkeypatch, tmp_path):
    """The numbers of seeds that were swept, where accuracies are a function of the rate and the seed."""
    numbers = []

    def accuracy_of(config):
        return 60 + {0.01: 0.0, 0.02: 2.5}[config.lr] + config.seed % 3

    def run(configs, *_):
        assert len(set(configs)) == len(configs)
        for config in configs:
            if not (tmp_path / "cifar10/Q1_1" / config.run_name).exists():
                fake_run(tmp_path, seed=config.seed, lr=config.lr, accuracy=accuracy_of(config))
        numbers.append(len(configs) // 2)
        return {"name": "data", "slug": "cifar10"}

    def result_of(job, _):
        return {"validation": {"accuracy": accuracy_of(job.config) / 100}}

    monkeypatch.chdir(tmp_path)

    monkeypatch.setattr(sweep, "run", run)
    monkeypatch.setattr(sweep, "result_of", result_of)
    console.set_up_logging(quiet=True)
    return numbers


def said_of(points, most, seeds=(0,)):
    said = []
    configs = [Config("Q1_1", lr=lr, seed=seed, results_dir=".") for lr in (0.01, 0.02) for seed in seeds]
    with listening(said.append):
        until_decided.run(configs, Goal(points, most), EngineConfig(), None)
    return said


def test_seeds_are_added_until_the_difference_is_decided(swept):
    said = said_of(0.1, 20)
    assert swept == [3, 5, 8][: len(swept)]
    assert 1 < len(swept) < 4
    assert said[-1] == f"reached with {2 * swept[-1]} runs"
    differences = [line for line in said if line.startswith("  lr 0.02 − lr 0.01: +2.50 ± ")]
    assert [line.partition(" points, ")[2] for line in differences] == [*["not decided"] * (len(swept) - 1), "decided"]


def test_difference_that_is_known_well_enough_ends_it(swept):
    assert said_of(50, 20)[-1] == "reached with 6 runs"
    assert swept == [3]


def test_most_seeds_end_it(swept, monkeypatch):
    monkeypatch.setattr(sequential, "ERROR", 1e-9)
    assert said_of(0.01, 6, seeds=(0, 1, 2, 7))[-1] == "not reached with 6 seeds of each; --max-seeds allows more"
    assert swept == [4, 6]


def report_on(folder):
    return overview.write(Path(folder)).path.with_suffix(".md").read_text(encoding="utf-8")


def test_report_shows_the_intervals_that_count_the_looks(swept):
    said = said_of(0.1, 20)
    page = Path("cifar10/report.md").read_text(encoding="utf-8")
    assert page == report_on("cifar10")
    look = next(line for line in reversed(said) if line.startswith("look "))
    assert f"L{look[1:]}." in page
    half_width = float(re.search(r"± ([\d.]+)", next(line for line in reversed(said) if "±" in line))[1])
    low, high = re.search(r"\| lr 0.01 \| -2.5<br>\((\S+) … (\S+)\) \| decided \|", page).groups()
    assert float(high) - float(low) == pytest.approx(2 * half_width, abs=0.11)

    said_of(50, 20)  # a study of its own, of the same runs
    page = report_on("cifar10")
    assert page.count("is best.\n") == 2
    assert page.count("known to within 50, not decided") == 1


def test_report_leaves_out_a_study_whose_runs_are_gone_or_that_cannot_be_read(swept):
    said_of(50, 20)
    [kept] = Path("cifar10").glob("until-decided-*.json")
    shutil.rmtree(next(Path("cifar10/Q1_1").glob("*seed-1*")))
    page = report_on("cifar10")
    assert "Seeds added" not in page
    assert "its runs are not all here" in page
    kept.write_text(kept.read_text(encoding="utf-8").replace('"best": "lr 0.02"', '"best": "lr\\n"'), encoding="utf-8")
    assert "is no name" in report_on("cifar10")


def test_one_setting_or_too_many_seeds_are_refused(swept):
    with pytest.raises(UsageError, match="compares settings"):
        until_decided.run([Config("Q1_1")], Goal(1, 20), EngineConfig(), None)
    with pytest.raises(UsageError, match="gives 5 already"):
        said_of(1, 4, seeds=range(5))
    for points, most in ((0, 20), (float("nan"), 20), (1, 2)):
        with pytest.raises(UsageError):
            Goal(points, most)


def test_settings_are_named_by_what_they_differ_in():
    config = Config("Q1_1", lr=0.01)
    settings = [config, replace(config, shuffle="fixed"), replace(config, model_name="Q1_4", batch_size=8)]
    assert until_decided.names_of(settings) == [
        "Q1_1, batch-size 4, none", "Q1_1, batch-size 4, fixed", "Q1_4, batch-size 8, none",
    ]  # fmt: skip
