"""All networks one after another in one process, whose memory must not grow."""

import subprocess
import sys

import pytest

from conftest import PROJECT

SCRIPT = """
import gc, os, sys, tempfile
sys.path.insert(0, "tests")
import torch
import commands, config, ex1, models, synthetic
from fuzz import memory
from net import Net

synthetic.TRAIN_IMAGES, synthetic.TEST_IMAGES = 200, 100
sys.stdout.flush()
figures = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
os.dup2(1, 2)

def count(kind):
    return sum(issubclass(type(thing), kind) for thing in gc.get_objects())

with tempfile.TemporaryDirectory() as folder:
    names = [model.name for model in models.REGISTRY.values()]
    for name in [*names, "Q1_25", "Q2_2", "Q1_25", "Q2_2"]:
        command = ["--model-name", name, "--epochs", "1", "--batch-size", "50", "--dataset", "synthetic"]
        code = ex1.main(commands.parse([*command, "--results-dir", folder]))
        gc.collect()
        print(name, code, memory(), count(torch.Tensor) + count(Net), len(gc.get_objects()), file=figures, flush=True)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads its memory from /proc")
def test_27_models_in_one_process_leave_nothing_behind():
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=PROJECT, capture_output=True, text=True, check=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 27 + 4
    assert {code for _, code, *_ in lines} == {"0"}
    memory, alive, objects = ([float(line[column]) for line in lines] for column in (2, 3, 4))
    assert set(alive) == {0}, "tensors or networks are still there after their run"
    # The first run imports what is imported late; from then on nothing may be left behind.
    assert max(objects[2:]) - objects[1] < 27 * 10
    # Memory grows up to what the largest networks need at once, and then must stay what it is.
    assert max(memory[29:]) - max(memory[:29]) < 10
    assert max(memory[27:]) - max(memory[:27]) < 50
