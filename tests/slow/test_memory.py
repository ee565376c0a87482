"""How much memory a run takes."""

import subprocess
import sys

import pytest

from experiments.benchmarks.sections import PEAK
from tests.helpers.paths import PROJECT

MEMORY = f"""{PEAK}
import sys
import torch
bare = peak()
import ex1
from runner import cli
code = ex1.main(cli.parse(sys.argv[1:]))
print("MEMORY", code, peak() - bare)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of its memory from /proc")
@pytest.mark.parametrize("options", ["--shuffle per-image", "--val holdout --shuffle fixed --recipe fast"])
def test_memory_stays_under_800_mb_above_torch(real, tmp_path, options):
    command = ["--model-name", "Q1_1", "--epochs", "1", "--batch-size", "250", *options.split()]
    command += ["--data-dir", str(PROJECT / "data"), "--results-dir", str(tmp_path), "--threads", "1"]
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *command], cwd=PROJECT, capture_output=True, encoding="utf-8", check=True
    )
    _, code, megabytes = done.stdout.splitlines()[-1].split()
    assert code == "0"
    assert float(megabytes) < 800  # usual are 600 to 720, by chance and batch size
