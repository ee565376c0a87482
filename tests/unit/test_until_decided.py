"""A sweep that adds seeds until its comparisons are decided."""

from dataclasses import replace

import pytest

from experiments import sweep, until_decided
from report import sequential
from runner import console
from runner.config import Config, EngineConfig, Goal
from runner.errors import UsageError
from tests.helpers.images import listening


@pytest.fixture
def swept(monkeypatch):
    """The numbers of seeds that were swept, where accuracies are a function of the rate and the seed."""
    numbers = []

    def run(configs, *_):
        assert len(set(configs)) == len(configs)
        numbers.append(len(configs) // 2)
        return {"name": "data"}

    def result_of(job, _):
        apart = {0.01: 0.0, 0.02: 2.5}[job.config.lr]
        return {"validation": {"accuracy": (60 + apart + job.config.seed % 3) / 100}}

    monkeypatch.setattr(sweep, "run", run)
    monkeypatch.setattr(sweep, "result_of", result_of)
    console.set_up_logging(quiet=True)
    return numbers


def said_of(points, most, seeds=(0,)):
    said = []
    configs = [Config("Q1_1", lr=lr, seed=seed) for lr in (0.01, 0.02) for seed in seeds]
    with listening(said.append):
        until_decided.run(configs, Goal(points, most), EngineConfig(), None)
    return said


def test_seeds_are_added_until_the_difference_is_decided(swept):
    said = said_of(0.1, 20)
    assert swept == [3, 5, 8][: len(swept)]
    assert 1 < len(swept) < 4
    assert said[-1] == f"reached with {2 * swept[-1]} runs"
    assert said[-2].startswith("  lr 0.02 − lr 0.01: +2.50 ± ")
    assert said[-2].endswith(" points: decided")
    assert said[1].endswith(": not decided")


def test_difference_that_is_known_well_enough_ends_it(swept):
    assert said_of(50, 20)[-1] == "reached with 6 runs"
    assert swept == [3]


def test_most_seeds_end_it(swept, monkeypatch):
    monkeypatch.setattr(sequential, "ERROR", 1e-9)
    assert said_of(0.01, 6, seeds=(0, 1, 2, 7))[-1] == "not reached with 6 seeds of each; --max-seeds allows more"
    assert swept == [4, 6]


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
