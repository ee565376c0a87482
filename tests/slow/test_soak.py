"""All networks one after another in one process, whose memory must not grow."""

import ctypes
import os
import subprocess
import sys

import pytest

from tests.helpers.paths import PROJECT

SCRIPT = """
import ctypes, gc, os, sys, tempfile
import torch
import ex1, models
from datasets import synthetic
from models import Net
from runner import cli

synthetic.TRAIN_IMAGES, synthetic.TEST_IMAGES = 200, 100
sys.stdout.flush()
figures = os.fdopen(os.dup(1), "w")
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
os.dup2(1, 2)

class MallInfo2(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = MallInfo2

def in_use():
    "MiB that are allocated; what the process holds would include free memory, which varies by chance."
    info = libc.mallinfo2()
    return (info.uordblks + info.hblkhd) / 2**20

def count(kind):
    return sum(issubclass(type(thing), kind) for thing in gc.get_objects())

constants = count(torch.Tensor)
with tempfile.TemporaryDirectory() as folder:
    names = [model.name for model in models.REGISTRY.values()]
    for name in [*names, "Q1_25", "Q2_2", "Q1_25", "Q2_2"]:
        command = ["--model-name", name, "--epochs", "1", "--batch-size", "50", "--threads", "1"]
        code = ex1.main(cli.parse([*command, "--dataset", "synthetic", "--results-dir", folder]))
        gc.collect()
        alive = count(torch.Tensor) - constants + count(Net)
        print(name, code, in_use(), alive, len(gc.get_objects()), file=figures, flush=True)
"""


HAS_MALLINFO = sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallinfo2")


@pytest.mark.skipif(not HAS_MALLINFO, reason="counts memory with glibc's mallinfo2")
def test_27_models_in_one_process_leave_nothing_behind():
    # MKL keeps the buffers of its matrix products, more of them on some processors: memory that is no leak.
    environment = os.environ | {"MKL_DISABLE_FAST_MM": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=PROJECT, env=environment, capture_output=True, encoding="utf-8", check=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert len(lines) == 27 + 4
    assert {code for _, code, *_ in lines} == {"0"}
    memory, alive, objects = ([float(line[column]) for line in lines] for column in (2, 3, 4))
    assert set(alive) == {0}, "tensors or networks are still there after their run"
    # The first run imports what is imported late; from then on nothing may be left behind.
    assert max(objects[2:]) - objects[1] < 27 * 10
    # Memory grows by what is kept for each new shape of a layer, and by nothing the second time.
    assert max(memory[29:]) - max(memory[27:29]) < 1
    assert max(memory) - memory[1] < 50
