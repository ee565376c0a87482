"""Runs that are killed, at any time, and go on as if nothing had happened."""

import random
import signal
import time
from functools import partial

import pytest

from tests.helpers.compare import assert_same_outcome, outcome, same
from tests.helpers.processes import KilledAtWrite, SignalAtStep

SMALL = ("--epochs", "3", "--lr", "0.01", "--checkpoint-every", "37")
CASES = {
    "Q1_1 --shuffle none": (1200, (20, 271, 100, 150)),
    "Q1_1 --shuffle fixed": (1200, (36, 299, 80)),
    "Q1_1 --shuffle per-image": (1200, (37, 261, 300, 38)),
    "Q1_24 --shuffle per-image --batch-size 12": (1100, (20, 88, 60)),
    "Q1_4 --val holdout --holdout 300 --batch-size 5": (2000, (39, 300, 200, 150)),
    "Q1_24 --recipe fast --shuffle fixed --batch-size 12 --precision bf16": (1100, (38, 90, 60)),
    "Q1_1 --optimizer adam --schedule cosine --lr 0.001": (1200, (20, 271, 100)),
    "Q1_4 --optimizer adamw --schedule step --warmup 0.2 --weight-decay 0.1 --batch-size 12": (1100, (38, 90, 60)),
    "Q1_1 --val holdout --holdout 100 --patience 2 --epochs 9 --lr 1e-9": (500, (101, 130)),
}


@pytest.mark.parametrize(("case", "images", "kills"), [(case, *how) for case, how in CASES.items()], ids=CASES)
def test_resume_after_kills_in_steps_is_bitwise_equal(place, case, images, kills):
    """Each kill is that many steps after the start of its process; the checkpoint before may be many steps back."""
    straight, killed = (place(name, images=(images, 300)) for name in ("straight", "killed"))
    command = [*SMALL, "--model-name", *case.split()]
    assert straight.run(*command) == 0
    for step in kills:
        code = killed.run(*command, "--resume", "auto", before=SignalAtStep(step, signal.SIGKILL))
        assert code == -signal.SIGKILL, killed.said()
    assert killed.run(*command, "--resume", "auto") == 0, killed.said()
    (folder,), (reference,) = killed.runs, straight.runs
    assert_same_outcome(folder, reference)


def test_resume_after_random_kills_is_bitwise_equal(place):
    straight, killed = (place(name, images=(2000, 300)) for name in ("straight", "killed"))
    command = ["--model-name", "Q1_1", "--shuffle", "per-image", *SMALL]
    began = time.perf_counter()
    assert straight.run(*command) == 0
    duration = time.perf_counter() - began
    moments = random.Random("Q1_1 --shuffle per-image")
    codes = []
    while not codes or (codes[-1] and len(codes) < 8):
        process = killed.start(*command, "--resume", "auto")
        process.join(moments.uniform(0, duration))
        process.kill()
        process.join()
        codes.append(process.exitcode)
    assert set(codes) <= {0, -signal.SIGKILL}, killed.said()
    if codes[-1]:
        assert killed.run(*command, "--resume", "auto") == 0, killed.said()
    (folder,), (reference,) = killed.runs, straight.runs
    assert_same_outcome(folder, reference)


def test_resume_after_kill_in_any_write_is_bitwise_equal(place):
    case = ("--model-name", "Q1_1", "--epochs", "2", "--batch-size", "20", "--checkpoint-every", "6", "--lr", "0.1")
    case += ("--val", "holdout", "--holdout", "20")
    make = partial(place, images=(200, 50))
    straight = make("straight")
    assert straight.run(*case) == 0
    (reference,) = straight.runs
    n = 0
    while True:
        n += 1
        killed = make(f"killed {n}")
        code = killed.run(*case, before=KilledAtWrite(n))
        if code == 0:
            break
        assert code == -signal.SIGKILL
        (folder,) = killed.runs
        how = ["--resume", str(folder)] if (folder / "config.json").exists() else [*case, "--resume", "auto"]
        assert killed.run(*how) == 0, killed.said()
        assert killed.runs == [folder]
        assert_same_outcome(folder, reference)
        assert same(outcome(folder, "best.pt"), outcome(reference, "best.pt"))
    assert n > 15
