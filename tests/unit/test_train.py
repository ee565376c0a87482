"""An epoch of training, and a measurement."""

import contextlib
import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import data
import ex1
import models
from data import TRAIN, Images, Loader
from datasets import synthetic
from runner import rng
from runner.config import Config
from runner.errors import Diverged
from runner.step import TrainStep, make_optimizer
from tests.helpers.compare import same
from tests.helpers.images import make_images
from tests.helpers.textbook import our_losses, textbook_losses
from tests.helpers.training import train_epoch


@pytest.mark.parametrize(("name", "n", "batch_size"), [("Q1_1", 1030, 4), ("Q1_19", 200, 4), ("Q1_1", 1030, 100)])
def test_train_epoch_equals_textbook_loop_step_for_step(name, n, batch_size):
    images = make_images(n)
    order = lambda epoch: data.epoch_order(n, 0, epoch)
    torch.manual_seed(1)
    network, twin = models.build(name), models.build(name)
    twin.load_state_dict(network.state_dict())
    theirs = textbook_losses(twin, images, order, batch_size, epochs=2)
    ours, means = our_losses(network, images, order, batch_size, epochs=2)
    assert len(ours) == len(theirs) == 2 * math.ceil(n / batch_size)
    assert max(abs(a - b) for a, b in zip(ours, theirs)) < 1e-5
    sizes = [len(part) for part in torch.arange(n).split(batch_size)]
    for epoch, mean in enumerate(means):
        steps = theirs[epoch * len(sizes) : (epoch + 1) * len(sizes)]
        assert mean == pytest.approx(sum(loss * size for loss, size in zip(steps, sizes)) / n, abs=1e-5)


def test_train_epoch_counts_what_was_right_before_steps():
    images = make_images(60)
    network = models.build("Q1_1")
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-12)
    loader = Loader(images, TRAIN, 7, order_seed=0)
    metrics = train_epoch(TrainStep(network, optimizer), loader, 1, 7)
    logits = network(data.normalize(images.pixels))
    assert metrics.accuracy == pytest.approx((logits.argmax(1) == images.labels).float().mean().item())
    assert metrics.loss == pytest.approx(F.cross_entropy(logits, images.labels).item(), abs=1e-5)


def test_train_epoch_switches_dropout_on_and_validate_off():
    images = make_images(40)
    network = models.build("Q1_24")
    modes = []
    network.register_forward_hook(lambda module, inputs, output: modes.append(module.training))
    loader = Loader(images, TRAIN, 20)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001)
    train_epoch(TrainStep(network, optimizer), loader, 1, 20)
    first = ex1.validate(network, loader.epoch(1), 10)
    second = ex1.validate(network, loader.epoch(1), 10)
    train_epoch(TrainStep(network, optimizer), loader, 2, 20)
    assert modes == [True, True, False, False, True, True]
    assert first.loss == second.loss


@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_train_state_goes_on_in_the_middle_of_an_epoch(kind):
    """Off the CPU the losses wait for the end of the epoch: then the state holds the logits of several chunks."""
    config, device = Config("Q1_1", batch_size=100, lr=0.01), torch.device("cpu")

    class OnDevice(torch.Tensor):
        device = property(lambda self: torch.device(kind))

    class DeviceLoader(Loader):
        def epoch(self, *which, **part):
            return ((pixels, labels.as_subclass(OnDevice)) for pixels, labels in super().epoch(*which, **part))

    def new_state(seed):
        torch.manual_seed(seed)
        network = models.build("Q1_1")
        return ex1.TrainState(TrainStep(network, make_optimizer(network, config)), device)

    images = make_images(3300)
    straight = new_state(1)
    assert sum(ex1.train_epoch(straight, Loader(images, TRAIN, 100, order_seed=0), 1, config)) == 3300
    for steps in (20, 25, 33):
        stopped, resumed = new_state(1), new_state(2)
        epoch = ex1.train_epoch(stopped, DeviceLoader(images, TRAIN, 100, order_seed=0), 1, config)
        for _ in range(steps):
            next(epoch)
        loader = Loader(images, TRAIN, 100, order_seed=0)
        resumed.load_state_dict(copy.deepcopy(stopped.state_dict()), loader)
        images_left = sum(ex1.train_epoch(resumed, loader, 1, config))
        assert images_left == 3300 - 100 * steps
        ours, theirs = resumed.state_dict(), straight.state_dict()
        assert same(ours["model"], theirs["model"])
        assert (ours["metrics"]["images"], ours["metrics"]["correct"]) == (3300, theirs["metrics"]["correct"])
        assert ours["metrics"]["loss_sum"] == pytest.approx(theirs["metrics"]["loss_sum"])
        assert ours["metrics"]["logits"] == []


def test_validate_measures_loss_accuracy_and_confusion():
    class Fixed(nn.Module):
        """Puts class 3 first for images whose first pixel is bright, and class 0 for the others."""

        def forward(self, x):
            bright = (x[:, 0, 0, 0] > 0).float()
            logits = torch.zeros(len(x), 10)
            logits[:, 3], logits[:, 0] = 2 * bright, 2 * (1 - bright)
            return logits

    pixels = torch.zeros(6, 3, 32, 32, dtype=torch.uint8)
    pixels[:3] = 255
    labels = torch.tensor([3, 3, 0, 0, 1, 1])
    result = ex1.validate(Fixed(), Loader(Images(pixels, labels), TRAIN, 4).epoch(1), 10)
    assert result.accuracy == 0.5
    assert result.confusion[3, 3] == 2
    assert result.confusion[0, 3] == result.confusion[0, 0] == 1
    assert result.confusion[1, 0] == 2
    assert result.confusion.sum() == result.images == 6
    assert result.per_class[:4] == [0.5, 0.0, None, 1.0]
    assert result.correct.tolist() == [True, True, False, True, False, False]
    assert result.as_dict([*"abcdefghij"])["correct_images"] == f"{0b11010000:02x}"
    right, wrong = -math.log(math.e**2 / (math.e**2 + 9)), -math.log(1 / (math.e**2 + 9))
    assert result.loss == pytest.approx((3 * right + 3 * wrong) / 6)


def test_train_epoch_stops_at_infinite_loss():
    network = models.build("Q1_1")
    loader = Loader(make_images(40), TRAIN, 4, order_seed=0)
    with pytest.raises(Diverged, match="training loss is (nan|inf) at step [1-4]; the learning rate is 1e"):
        train_epoch(TrainStep(network, torch.optim.SGD(network.parameters(), lr=1e30)), loader, 1, 4)


def test_validate_stops_at_infinite_loss():
    network = models.build("Q1_1")
    network.layers[-1].bias.data.fill_(math.nan)
    with pytest.raises(Diverged, match="validation loss is nan"):
        ex1.validate(network, Loader(make_images(8), TRAIN, 4).epoch(1), 10)


@pytest.mark.parametrize(("loss", "is_too_much"), [(0.9e15, False), (1.1e15, True)])
def test_loss_above_what_files_allow_has_diverged(loss, is_too_much):
    class Sure(nn.Module):
        """Takes every image of class 1 for one of class 0."""

        def __init__(self):
            super().__init__()
            self.bias = nn.Parameter(torch.tensor([loss, *[0.0] * 9]))

        def forward(self, x):
            return self.bias.expand(len(x), 10)

    ones, network = Loader(Images(make_images(4).pixels, torch.ones(4, dtype=torch.int64)), TRAIN, 4), Sure()
    step = TrainStep(network, torch.optim.SGD(network.parameters(), lr=1e-9))
    for measure in (lambda: ex1.validate(network, ones.epoch(1), 10), lambda: train_epoch(step, ones)):
        with pytest.raises(Diverged, match=r"loss is 1\.1e\+15") if is_too_much else contextlib.nullcontext():
            measure()


def test_train_epoch_learns(small_synthetic):
    images = synthetic.make_images(600, rng.generator("test"), {"colour": 1.0})
    torch.manual_seed(0)
    network = models.build("Q1_1")
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9)
    loader = Loader(images, TRAIN, 8, shuffle="per-image", order_seed=0)
    for epoch in range(1, 7):
        train_epoch(TrainStep(network, optimizer), loader, epoch, 8)
    assert ex1.validate(network, loader.epoch(7), 10).accuracy > 0.5
    grey = replace(images, pixels=images.pixels.float().mean(1, keepdim=True).expand(-1, 3, -1, -1).to(torch.uint8))
    assert ex1.validate(network, Loader(grey, TRAIN, 8, "per-image").epoch(7), 10).accuracy < 0.2
