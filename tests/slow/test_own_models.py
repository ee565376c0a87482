"""A zoo of own networks, with a package ``models`` and a module ``utils`` of its own, trained by the real program."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import internals
from tests.helpers.cli import execute
from tests.helpers.paths import PROJECT

NAMES = ["lenet", "vgg", "resnet"]
NETWORK = """
from dataclasses import dataclass
import torch.nn as nn
import torch.nn.functional as F
from .blocks import Block

@dataclass
class Settings:
    width: int = {width}

class {name}(nn.Module):
    def __init__(self):
        super().__init__()
        from utils import init_params
        self.block, self.last = Block(Settings().width), nn.Linear(Settings().width * 49, 10)
        init_params(self)

    def forward(self, images):
        from utils import DROPOUT
        return self.last(F.dropout(F.max_pool2d(self.block(images), 2).flatten(1), DROPOUT, self.training))
"""
BLOCKS = """
from torch import nn

class Block(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Conv2d(3, width, 5, stride=2), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
"""
UTILS = """
import torch.nn.init as init
from torch import nn

DROPOUT = 0.25  # another than that of the program's module of the same name

def init_params(net):
    for layer in net.modules():
        if isinstance(layer, nn.Linear):
            init.normal_(layer.weight, std=1e-3)
"""
MINE = """
from cifar10_runner import register
from models import *
import models
import utils

for network in [{networks}]:
    assert network.__module__.startswith("models.")
    register("Zoo_" + network.__name__)(network)
"""
INSIDE = """
from cifar10_runner import register
from single import Single

register("Single")(Single)
"""
SINGLE = """
from torch import nn

class Single(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(3072, 10))
"""
REGISTER = """
from cifar10_runner import register
register("Mine")(Single)
"""


@pytest.fixture
def zoo(tmp_path):
    folder = tmp_path / "zoo"
    (folder / "models").mkdir(parents=True)
    for width, name in enumerate(NAMES, 4):
        (folder / "models" / f"{name}.py").write_text(
            NETWORK.format(width=width, name=name.capitalize()), encoding="utf-8"
        )
    (folder / "models" / "blocks.py").write_text(BLOCKS, encoding="utf-8")
    (folder / "models" / "__init__.py").write_text(
        "".join(f"from .{name} import *\n" for name in NAMES), encoding="utf-8"
    )
    (folder / "models" / "inside.py").write_text(INSIDE, encoding="utf-8")
    (folder / "models" / "single.py").write_text(SINGLE, encoding="utf-8")
    (folder / "utils.py").write_text(UTILS, encoding="utf-8")
    (folder / "main.py").write_text("raise SystemExit('not to be run')\n", encoding="utf-8")
    (folder / "mine.py").write_text(MINE.format(networks=", ".join(map(str.capitalize, NAMES))), encoding="utf-8")
    return folder


def test_zoo_with_our_names_is_trained_resumed_and_used(zoo, command_line, tmp_path):
    def ex1(file, *arguments):
        command = [sys.executable, str(PROJECT / "ex1.py"), "--model-file", str(zoo / file), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")

    def new(*arguments):
        return command_line("--epochs", "1", "--threads", "1", *arguments)

    # A sweep, in processes that load the file again, beside a network of the table.
    done = ex1("mine.py", *new("--model-name", "Zoo_*,Q1_4"))
    assert done.returncode == 0, done.stderr
    assert f"{len(NAMES) + 1} of {len(NAMES) + 1} runs finished" in done.stdout

    # The extension of one and what is asked of it; and one that is compiled.
    data = new()[new().index("--data-dir") :][:2]
    folder, image = next(tmp_path.glob("results/*/Zoo_Vgg/*/")), next(Path(data[1]).glob("test/*/*"))
    extension = ["--resume", folder, "--epochs", "2", *data]
    compiled = new("--model-name", "Zoo_Vgg", "--compile")
    for action in (extension, ["--evaluate", folder, *data], ["--predict", image, "--from", folder], compiled):
        done = ex1("mine.py", *action)
        assert done.returncode == 0, done.stderr
        assert "going on without" not in done.stderr  # as where a compilation fails

    # A file inside their package, as any script finds its neighbours.
    assert ex1("models/inside.py", *new("--model-name", "single")).returncode == 0


def test_sweep_trains_a_changed_network_anew_and_reports_it_apart(command_line, tmp_path, monkeypatch, capsys):
    def sweep(layer, seeds):
        (tmp_path / "mine.py").write_text(SINGLE.replace("nn.Flatten()", layer) + REGISTER, encoding="utf-8")
        file, run = ["--model-file", str(tmp_path / "mine.py")], ["--model-name", "Mine", "--epochs", "1"]
        with monkeypatch.context() as patch:
            internals.copy_registry(patch.setattr)  # the file is loaded for each sweep, as by a process of its own
            code = execute(command_line(*file, *run, "--seeds", seeds))
        said = capsys.readouterr()
        assert code == 0, said.err
        return said.out + said.err

    sweep("nn.Flatten()", "0-1")
    said = sweep("nn.Flatten(), nn.Tanh()", "0-2")
    assert "is not the run asked for, nor are 1 more, its Mine is another network of that name" in said
    assert "none finished yet" in said
    assert "2 runs of Mine kept apart: network " in said
    assert "report on 5 runs" in said
    assert "3 finished already" in sweep("nn.Flatten(), nn.Tanh()", "0-2")
    assert "2 finished already" in sweep("nn.Flatten()", "0-1")
    assert len(list(tmp_path.glob("results/*/Mine/*/metrics.json"))) == 5
