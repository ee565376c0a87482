"""Which runs a batch has, and what the screen shows of them."""

import contextlib
import os

import models
from experiments import engines, sweep
from runner import signals
from runner.config import Config
from tests.helpers.images import listening


def test_sweep_begins_with_longest_runs():
    order = [job.config.model_name for job in sweep.plan([Config(spec.name) for spec in models.TABLE])]
    assert set(order[:4]) == {"Q1_19", "Q1_23", "Q1_24", "Q1_25"}
    assert order.index("Q2_2") < order.index("Q1_1")


def test_display_reckons_time_left_of_all_runs_with_their_start_up(tmp_path, monkeypatch):
    clock = 1000.0
    monkeypatch.setattr(engines.time, "monotonic", lambda: clock)
    jobs = sweep.plan([Config("Q1_1", seed=seed, epochs=10) for seed in range(5)])
    said = []
    with listening(said.append), contextlib.closing(sweep.Display(jobs, "data")) as display:
        for job in jobs:
            job.log, job.started = tmp_path / f"{job.config.seed}.log", clock
        for job in jobs[:2]:
            job.log.write_text("cpu, 1 thread; results go to there\n", encoding="utf-8")
        clock += 20  # of start-up
        display.show(jobs[:2], jobs[2:], [])
        assert display._left == ""
        jobs[0].log.write_text("results go to there\nQ1_1 epoch  1/10  x\n", encoding="utf-8")
        jobs[1].log.write_text("results go to there\n[data] Q1_1 epoch  3/10  x\n", encoding="utf-8")
        assert [job.epochs() for job in jobs[:2]] == [(0, 1), (2, 3)]
        clock += 100
        display.show(jobs[:2], jobs[2:], [])
        # An epoch takes 100 s. 900 s and 700 s are left of those two; then two runs begin, and after them the last.
        assert display._left == "45:40 left"
        clock += 700
        jobs[1].log.write_text("results go to there\nQ1_1 epoch  3/10  x\nQ1_1 epoch 10/10  x\n", encoding="utf-8")
        result = {"test": {"accuracy": 0.5}, "epochs": 10}
        display.say_done(jobs[1], result)
    assert said == ["1/5 Q1_1, seed-1: test accuracy 50.0 % after epoch 10, 13:40, 45:40 left"]


def test_time_left_counts_what_comes_before_a_log_says_anything_and_follows_slow_runs(tmp_path, monkeypatch):
    clock = 1000.0
    monkeypatch.setattr(engines.time, "monotonic", lambda: clock)
    [job, queued] = sweep.plan([Config("Q1_1", seed=seed, epochs=8) for seed in range(2)])
    with contextlib.closing(sweep.Display([job, queued], "data")) as display:
        for each in (job, queued):
            each.log, each.started = tmp_path / f"{each.config.seed}.log", clock
        job.has_begun = True
        clock += 50
        display.show([job, queued], [], [])
        job.log.write_text("results go to there\n", encoding="utf-8")
        display.show([job, queued], [], [])
        assert (job.start_up, queued.started) == (50, clock)
        clock += 100
        job.log.write_text("results go to there\nQ1_1 epoch 4/8  x\n", encoding="utf-8")
        display.show([job], [], [])
        assert round(display.reckon([job], [])) == 400
        clock += 1100  # in which three epochs had been expected, and were not done
        job.log.write_text("results go to there\nQ1_1 epoch 4/8  x\nQ1_1 epoch 6/8  x\n", encoding="utf-8")
        display.show([job], [], [])
        assert round(display.reckon([job], [])) == 800  # two more at the speed of all so far


def test_run_of_a_sweep_goes_on_with_what_there_is_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "dup2", lambda *numbers: None)
    monkeypatch.setattr(signals, "stop_at_once_on_signals", lambda: None)
    trained = []
    [job] = sweep.plan([Config("Q1_1", seed=3)])
    engines.train_with_log(lambda *args: trained.append(args), job.config, str(tmp_path / "log"))
    assert trained == [(Config("Q1_1", seed=3, threads=1), "auto")]
