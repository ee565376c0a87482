"""Batches of runs, in this process."""

import sys

from tests.helpers.cli import execute


def test_sweep_without_ray_says_how_to_install_it(command_line, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert execute(command_line("--model-name", "Q1_1,Q1_4", "--engine", "ray")) == 2
    assert "pip install ray" in capfd.readouterr().err.splitlines()[-1]
