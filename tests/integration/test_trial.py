"""Own networks that can't be trained or used are refused before any image is read."""

import pytest

from experiments import trial
from tests.helpers import internals
from tests.helpers.cli import execute
from tests.helpers.compare import outcome, same

SOURCE = """
import torch
from collections import namedtuple
from torch import nn
from cifar10_runner import register

Two = namedtuple("Two", "logits auxiliary")
norm = lambda: nn.Sequential(nn.Flatten(), nn.Linear(3072, 10), nn.BatchNorm1d(10), nn.Dropout())


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.pool, self.last = nn.Conv2d(3, 10, 3), nn.AdaptiveAvgPool2d(1), nn.Linear(10, 10)

    def forward(self, images):
        return self.finish(self.pool(self.conv(images)))


@register("Squeezed")
class Squeezed(Own):
    def finish(self, features):
        return features.squeeze()


@register("SqueezedBefore")
class SqueezedBefore(Own):
    def finish(self, features):
        return self.last(features.squeeze()).log_softmax(1)


@register("Auxiliary")
class Auxiliary(Own):
    def finish(self, features):
        logits = features.flatten(1)
        return Two(logits, logits) if self.training else logits


@register("Always")
class Always(Own):
    def finish(self, features):
        return features.flatten(1), features


@register("Frozen")
class Frozen(Own):
    def finish(self, features):
        return features.flatten(1).detach()


@register("Stateful")
class Stateful(Own):
    def finish(self, features):
        return features.flatten(1)

    def get_extra_state(self):
        return {1, object}

    def set_extra_state(self, state):
        pass


@register("Graph")
class Graph(Own):
    kept = None

    def keep(self, logits):
        return logits

    def finish(self, features):
        logits = features.flatten(1)
        before, self.kept = self.kept, self.keep(logits)
        return logits if before is None else logits + before / 2


@register("Sized")
class Sized(Graph):
    def keep(self, logits):
        return logits.detach()


@register("Hungry")
class Hungry(Own):
    def finish(self, features):
        if self.training:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return features.flatten(1)


register("Norm")(norm)
register("NormToo")(norm)
register("Lazy")(lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(10)))
"""


@pytest.fixture
def own_main(ex1_main, tmp_path, registry):
    """Runs a command line with a file of such networks."""
    (tmp_path / "own.py").write_text(SOURCE, encoding="utf-8")

    def run(*argv):
        for name in [name for name, spec in registry.items() if spec.module]:  # the file is run again
            del registry[name]
        return ex1_main("--model-file", str(tmp_path / "own.py"), *argv)

    return run


@pytest.mark.parametrize(
    ("arguments", "code", "reasons"),
    [
        ("Norm --batch-size 199", 2, "the last 1 of 200 images in batches of 199|per channel|--batch-size 200 leaves"),
        ("Norm --limit 101", 2, "the last 1 of 101 images in batches of 4|--batch-size 6 leaves no"),
        ("Norm --val holdout --holdout 99 --resume auto", 2, "the last 1 of 101 images|--batch-size 6 leaves"),
        ("Norm --batch-size 1 --limit 99", 2, "a batch of 1: |--batch-size 3 leaves"),
        ("NormToo,Norm --limit 101 --seeds 0-1", 2, "the last 1 of 101 images"),
        ("Squeezed", 2, "(10,) of 1 image, not logits of shape (1, 10)|squeeze()|flatten(1)"),
        ("SqueezedBefore", 2, "does not work on 1 image: IndexError|squeeze()|flatten(1)"),
        ("Auxiliary", 2, "in training makes a Two of 4 images, not a tensor|the logits alone|aux_logits=False"),
        ("Always", 2, "makes a tuple of 2 images, not a tensor"),
        ("Frozen", 2, "can't be trained on a batch of 4: RuntimeError: element 0 of tensors does not require grad"),
        ("Stateful", 2, "state holds more than tensors and numbers: it can't be saved"),
        ("Lazy", 2, "does not work: ValueError: Attempted to use an uninitialized parameter"),
        (
            "Graph --limit 102",
            2,
            "can't be trained on a batch of 4: RuntimeError: Trying to backward through the graph a",
        ),
        ("Sized --limit 102", 2, "makes (4, 10) of 1 image"),
        ("Hungry", 1, "can't be trained on a batch of 4: RuntimeError: DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_network_that_cannot_be_used_is_refused_before_images_are_read(
    own_main, tmp_path, capsys, monkeypatch, arguments, code, reasons
):
    internals.make_synthetic_with(lambda *args: pytest.fail("read the images"), monkeypatch.setattr)
    assert own_main("--model-name", *arguments.split()) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert all(reason in line for reason in reasons.split("|"))
    assert "to go on" not in line
    assert not list(tmp_path.glob("results/*/*/*"))


def test_batch_size_that_is_advised_works(own_main):
    assert own_main("--model-name", "Norm", "--epochs", "1", "--limit", "101", "--batch-size", "6") == 0


def test_saved_run_of_a_network_that_fails_on_one_image_says_so(own_main, tmp_path, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(trial, "run", lambda *args: None)
        assert own_main("--model-name", "Squeezed", "--epochs", "1") == 0
    (folder,) = tmp_path.glob("results/*/*/*")
    capsys.readouterr()
    for action in (
        ["--predict", "cat.png", "--from", folder],
        ["--evaluate", folder],
        ["--resume", folder, "--epochs", "2"],
    ):
        assert own_main(*map(str, action)) == 2
        assert "(10,) of 1 image, not logits of shape (1, 10)" in capsys.readouterr().err


def test_trial_changes_no_result(own_main, tmp_path, monkeypatch):
    command = ("--model-name", "Norm", "--epochs", "2", "--batch-size", "8")
    assert own_main(*command) == 0
    monkeypatch.setattr(trial, "run", lambda *args: None)
    assert own_main(*command, "--new") == 0
    tried, untried = tmp_path.glob("results/*/*/*")
    assert same(outcome(tried), outcome(untried))


def test_generated_images_in_place_of_missing_ones_are_counted(
    small_synthetic, tmp_path, capsys, monkeypatch, registry
):
    """CIFAR-10 has 50,000 images, the generated set here 200: only that leaves a batch of one."""
    monkeypatch.setenv("CIFAR10_URL", "http://127.0.0.1:9/nothing")
    (tmp_path / "own.py").write_text(SOURCE, encoding="utf-8")
    (tmp_path / "none").mkdir()
    place = ["--data-dir", tmp_path / "none", "--results-dir", tmp_path / "results"]
    assert execute(["--model-file", tmp_path / "own.py", "--model-name", "Norm", "--batch-size", "199", *place]) == 2
    assert "the last 1 of 200 images" in capsys.readouterr().err
