"""The program beside a torchvision that does not fit torch, whose import fails."""

import os
import subprocess
import sys

import pytest

from datasets import cifar10
from tests.helpers.paths import PROJECT

OWN_MODEL = """
import torchvision
from torch import nn
from models import register

register("Own")(nn.Module)
"""


@pytest.fixture
def run(tmp_path):
    """Runs a command beside it, and returns the exit code and what was said."""
    (tmp_path / "path" / "torchvision").mkdir(parents=True)
    error = "raise RuntimeError('operator torchvision::nms does not exist')\n"
    (tmp_path / "path" / "torchvision" / "__init__.py").write_text(error, encoding="utf-8")

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=PROJECT,
            env=os.environ | {"PYTHONPATH": str(tmp_path / "path")},
            capture_output=True,
            encoding="utf-8",
        )
        return done.returncode, done.stdout + done.stderr

    return run


def test_sweep_and_report_need_no_torchvision(run, command_line):
    arguments = command_line("ex1.py", "--model-name", "Q1_1,Q1_4", "--epochs", "1", "--limit", "40")
    code, said = run(*arguments)
    assert (code, "no report" in said) == (0, False), said
    code, said = run("-m", "report", arguments[-1])
    assert code == 0, said


def test_archive_and_download_need_no_torchvision(run, tmp_path):
    place = ["--data-dir", str(tmp_path / "data"), "--results-dir", str(tmp_path / "results")]
    arguments = ["ex1.py", "--model-name", "Q1_4", "--epochs", "1", "--limit", "40", *place]
    (tmp_path / "data").mkdir()
    (tmp_path / "other.tar.gz").write_bytes(b"x")
    code, said = run(*arguments, "--data-url", (tmp_path / "other.tar.gz").as_uri())
    assert (code, "it would send 1 bytes" in said, "THIS IS NOT CIFAR-10" in said) == (0, True, True), said
    (tmp_path / "data" / cifar10.ARCHIVE).write_bytes(b"x")
    code, said = run(*arguments)
    assert (code, "is damaged: its MD5 is" in said) == (1, True), said


def test_own_model_that_needs_it_is_told_how_to_mend_it(run, tmp_path):
    (tmp_path / "own.py").write_text(OWN_MODEL, encoding="utf-8")
    code, said = run("ex1.py", "--model-file", str(tmp_path / "own.py"), "--model-name", "Own")
    assert code == 2
    assert "do not fit each other: install the two together" in said
    assert len(said.splitlines()) == 1
