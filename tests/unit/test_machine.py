"""The device that is computed on."""

import subprocess

import pytest
import torch

from runner import config, errors, machine
from tests.helpers.images import listening


def test_devices_are_picked_and_refused(monkeypatch):
    place = lambda device: machine.pick_device(config.Config("Q1_1", device=device))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert place("auto") == torch.device("cpu")
    with pytest.raises(errors.UsageError, match="--device cuda: there is none"):
        place("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert place("auto") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert place("auto") == torch.device("cuda")


@pytest.mark.parametrize(
    ("omp", "cores", "threads", "began", "expected", "said"),
    [
        ("1", 4, 0, None, 1, None),  # it bounds what the program chooses
        ("2,1", 4, 0, None, 2, None),
        ("nonsense", 4, 0, None, 4, None),
        ("8", 4, 0, None, 4, "OMP_NUM_THREADS=8 is not what is used, 4 is: no more pay"),
        ("1", 4, 3, None, 3, "OMP_NUM_THREADS=1 is not what is used, 3 is: the number that --threads"),
        ("1", 4, 0, 2, 2, "OMP_NUM_THREADS=1 is not what is used, 2 is: the run began"),
    ],
)
def test_thread_variable_is_kept_or_it_is_said(monkeypatch, omp, cores, threads, began, expected, said):
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    monkeypatch.setattr(machine, "cores", lambda: cores)
    heard, before = [], torch.get_num_threads()
    settings = config.Config("Q1_19", threads=threads)
    try:
        with listening(heard.append):
            here = machine.set_up(settings, 10**9, torch.device("cpu"), {"threads": began} if began else None)
    finally:
        torch.set_num_threads(before)
    assert here.threads == expected
    assert [text[: len(said or "")] for text in heard] == ([said] if said else [])


def test_commit_that_git_refuses_is_said(monkeypatch):
    refusal = "fatal: detected dubious ownership in repository at '/here'\nTo add an exception ..."

    def run(command, **options):
        raise subprocess.CalledProcessError(128, command, stderr=refusal)

    heard = []
    monkeypatch.delenv(machine.COMMIT_VARIABLE, raising=False)
    with listening(heard.append):
        commit = machine.git_commit()
        monkeypatch.setattr(subprocess, "run", run)
        assert machine.git_commit() is None
    assert commit is None or len(commit.removesuffix("-dirty")) == 40
    assert "detected dubious ownership" in heard[-1]
    assert f"git config --global --add safe.directory {machine.PROJECT}" in heard[-1]


def test_version_of_package_that_is_not_installed_is_null(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-such-package"))
    versions = machine.describe(machine.Machine(torch.device("cpu"), "fp32", 1))["versions"]
    assert list(versions) == ["python", "torch", "no-such-package"]
    assert versions["no-such-package"] is None
