"""The device that is computed on."""

import pytest
import torch

from runner import config, errors, machine


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


def test_version_of_package_that_is_not_installed_is_null(monkeypatch):
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-such-package"))
    versions = machine.describe(machine.Machine(torch.device("cpu"), "fp32", 1))["versions"]
    assert list(versions) == ["python", "torch", "no-such-package"]
    assert versions["no-such-package"] is None
