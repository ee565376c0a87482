"""Errors, as they are told."""

import importlib
import sys

import pytest

from runner import errors


def test_one_line_has_no_breaks_and_no_escapes():
    assert errors.one_line(errors.RunnerError("a\nb\x1b[1mc")) == "a?b?[1mc"
    assert errors.one_line(ValueError("first\nsecond")) == "ValueError: first"
    assert errors.one_line(OSError(28, "full", "a\tb")) == "a?b: full"


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("raise RuntimeError('operator torchvision::nms does not exist')", True),
        ("import torchvision.extension", True),
        ("import not_there_at_all", False),
    ],
)
def test_torchvision_that_does_not_fit_torch_is_told(tmp_path, monkeypatch, code, hint):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(code, encoding="utf-8")
    (tmp_path / "torchvision" / "extension.py").write_text(
        "import torch\ntorch.ops.not_there.at_all()\n", encoding="utf-8"
    )
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Exception) as caught:  # noqa: PT011 - of any type
        importlib.import_module("torchvision")
    told = errors.one_line(caught.value)
    assert ("do not fit each other: install the two together" in told) == hint
    assert "do not fit" not in errors.one_line(RuntimeError("torchvision"))


def test_version_of_what_is_not_installed_is_none():
    assert errors.installed_version("torch").startswith("2.")
    assert errors.installed_version("no-such-package") is None


def test_commands_are_quoted_for_the_shell_of_the_system(monkeypatch):
    command = ["python", "ex1.py", "--resume", "my runs/Q1_1", "--model-name", "Q1_1?"]
    assert errors.quote(command) == "python ex1.py --resume 'my runs/Q1_1' --model-name 'Q1_1?'"
    monkeypatch.setattr(errors.os, "name", "nt")
    assert errors.quote(command) == 'python ex1.py --resume "my runs/Q1_1" --model-name Q1_1?'
