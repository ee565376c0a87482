"""``--compile`` with the compiler of this machine; other tests put something else in its place."""

import os
import shutil
import subprocess
import sys

import pytest

from runner.records import read_history
from tests.helpers.cli import execute, run_folder
from tests.helpers.paths import PROJECT

COMPILERS = [os.environ.get("CXX", "g++"), "clang++", "g++"]


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason=f"needs a C++ compiler: {', '.join(COMPILERS)}")
def test_compiled_run_has_losses_of_plain_one(command_line, tmp_path, monkeypatch):
    """The last batch of an epoch is smaller, and has to be compiled again."""
    histories = []
    for name, options in (("plain", []), ("compiled", ["--compile"])):
        (tmp_path / name).mkdir()
        command = ["--model-name", "Q1_1", "--epochs", "2", "--batch-size", "16", "--lr", "0.01", "--threads", "1"]
        command = command_line(*command, *options, results=f"{name}/results")
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / name / "cache"))
        if name == "plain":
            assert execute(command) == 0
        else:
            done = subprocess.run([sys.executable, PROJECT / "ex1.py", *command], capture_output=True, encoding="utf-8")
            assert done.returncode == 0, done.stderr
            assert "going on without" not in done.stderr
        histories.append(read_history(run_folder(tmp_path / name)))
    assert not list(tmp_path.glob("plain/cache/**/*.cpp"))
    assert len(list(tmp_path.glob("compiled/cache/**/*.cpp"))) >= 2
    for plain, compiled in zip(*histories, strict=True):
        for column in ("train_loss", "val_loss"):
            assert compiled[column] == pytest.approx(plain[column], abs=1e-4)
