"""Which runs a batch has, and what the screen shows of them."""

import contextlib
import os
import re

import models
from experiments import engines, sweep
from runner import signals
from runner.config import Config
from tests.helpers.images import listening


def test_sweep_begins_with_longest_runs():
    order = [job.config.model_name for job in sweep.plan([Config(spec.name) for spec in models.TABLE])]
    assert set(order[:4]) == {"Q1_19", "Q1_23", "Q1_24", "Q1_25"}
    assert order.index("Q2_2") < order.index("Q1_1")


def test_display_reckons_time_left_from_logs(tmp_path):
    jobs = sweep.plan([Config("Q1_1", seed=seed, epochs=10) for seed in range(4)])
    said = []
    with listening(said.append), contextlib.closing(sweep.Display(jobs, "data")) as display:
        for job in jobs[:2]:
            job.log = tmp_path / f"{job.config.seed}.log"
            job.log.write_text(
                "[data] Q1_1 epoch 3/10  training\n" if job is jobs[1] else "[data] Q1_1 epoch  1/10  x\n",
                encoding="utf-8",
            )
        display._began -= 100
        display.show(jobs[:2], jobs[2:], [])
        assert [job.epochs() for job in jobs[:2]] == [(0, 1), (2, 3)]
        # Two epochs took 100 s, and 9 + 7 + 10 + 10 are left.
        assert re.search(r"(\d+):(\d+) left", display._left).groups() == ("30", "00")
        display.say_done(jobs[1], 0.5)
    assert re.fullmatch(r"1/4 Q1_1, seed-1: test accuracy 50\.0 % after epoch 10, [\d:]+, 30:00 left", said[0])


def test_run_of_a_sweep_goes_on_with_what_there_is_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "dup2", lambda *numbers: None)
    monkeypatch.setattr(signals, "stop_at_once_on_signals", lambda: None)
    trained = []
    [job] = sweep.plan([Config("Q1_1", seed=3)])
    engines.train_with_log(lambda *args: trained.append(args), job.config, str(tmp_path / "log"))
    assert trained == [(Config("Q1_1", seed=3, threads=1), "auto")]
