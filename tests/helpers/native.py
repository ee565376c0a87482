"""The native step beside PyTorch's: the same network, batches and dropped values for both."""

import copy
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
from native import compiler
from native.source import write_source
from native.step import NativeStep
from runner.config import Config
from runner.step import make_optimizer

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="needs a C compiler")


class Masked(nn.Module):
    """Stands in for dropout, and multiplies by what it was given."""

    mask: torch.Tensor

    def forward(self, x):
        return x * self.mask


def row(features, head="", name="Q1_x"):
    return models.ModelSpec(name, features, head, None)


def make_native(spec, config, *options, seed=0):
    """The native step of a new network of a row, compiled with more ``options``."""
    torch.manual_seed(seed)
    model = models.Net(spec)
    library = compiler.load(write_source(spec), *options)
    return NativeStep(model, make_optimizer(model, config), "fp32", config.label_smoothing, library=library)


def make_batch(size, seed=0):
    draws = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, 32, 32, generator=draws).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(10, (size,), generator=draws)


def mix(x):
    """The finaliser of SplitMix64, on uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def dropout_mask(seed, layer, images, neurons):
    """What the native step multiplies ``neurons`` values of each image with, at dropout number ``layer`` of a head."""
    with np.errstate(over="ignore"):
        keys = mix(mix(np.uint64(seed)) + np.uint64(layer << 32) + np.arange(images, dtype=np.uint64))
        counted = np.arange(neurons, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        dropped = (mix(keys[:, None] + counted) >> np.uint64(11)) * 2.0**-53 < models.DROPOUT
    return torch.from_numpy(np.where(dropped, 0, 1 / (1 - models.DROPOUT)))


class Twin:
    """PyTorch's step of a copy of a native step's network, in float64 or as it is."""

    def __init__(self, step, spec, config, dtype=torch.float64):
        self.config, self.dtype = config, dtype
        self.model = copy.deepcopy(step.model).to(dtype)
        head = [layer for layer in spec.layers() if layer.kind in ("linear", "dropout")]
        first = len(self.model.layers) - len(head)
        self.masked = []  # dropout: its number in the head, its stand-in, the neurons it gets
        neurons = next(layer.inputs for layer in head if layer.kind == "linear")
        for number, layer in enumerate(head):
            if layer.kind == "dropout":
                self.model.layers[first + number] = stand_in = Masked()
                self.masked.append((number, stand_in, neurons))
            neurons = layer.outputs or neurons
        settings = {name: getattr(config, name) for name in ("lr", "momentum", "nesterov", "weight_decay")}
        self.optimizer = torch.optim.SGD(self.model.parameters(), **settings)

    def __call__(self, images, labels):
        """Takes the step that the native one takes next, and returns its logits."""
        state = torch.get_rng_state()
        seed = int(torch.randint(2**63 - 1, ()))  # what the native step is about to draw
        torch.set_rng_state(state)
        for number, stand_in, neurons in self.masked:
            stand_in.mask = dropout_mask(seed, number, len(images), neurons).to(self.dtype)
        self.optimizer.zero_grad()
        logits = self.forward(images.to(self.dtype))
        F.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing).backward()
        self.optimizer.step()
        return logits.detach()

    @torch.no_grad()
    def take_over(self, step):
        """Goes on from the weights and the momentum of the native step."""
        for weight, other in zip(step.model.parameters(), self.model.parameters()):
            other.copy_(weight)
            self.optimizer.state[other]["momentum_buffer"].copy_(step.optimizer.state[weight]["momentum_buffer"])

    def forward(self, x):
        for i, layer in enumerate(self.model.layers):
            x = layer(x.flatten(1) if isinstance(layer, (nn.Linear, Masked)) else x)
            if i < len(self.model.rectified) and self.model.rectified[i]:
                x = F.relu(x)
        return x


def difference(values, exact):
    """The largest difference of two lists of tensors, each relative to the length of the exact one."""
    pairs = [(value.detach().double(), other.detach().double()) for value, other in zip(values, exact, strict=True)]
    # NaN where any is, which max() would pass over
    return torch.stack([(value - other).norm() / other.norm().clamp(min=1e-30) for value, other in pairs]).max().item()


def errors(spec, config, batch, *options, seed=0):
    """How far logits, weights and momentum are from those of float64 after two steps; momentum tells the gradients."""
    step = make_native(spec, config, *options, seed=seed)
    twin = Twin(step, spec, config)
    found = []
    for number in range(2):
        images, labels = make_batch(batch, 2 * seed + number)
        expected = twin(images, labels)
        found.append(difference([step(images, labels)], [expected]))
        found.append(difference(step.model.parameters(), twin.model.parameters()))
        if config.momentum:
            states = step.optimizer.state, twin.optimizer.state
            parameters = step.model.parameters(), twin.model.parameters()
            found.append(
                difference(*([state[p]["momentum_buffer"] for p in ps] for state, ps in zip(states, parameters)))
            )
    return torch.tensor(found).max().item()


def agrees(spec, config, batch, *options):
    """Whether the native step is float64's to 1e-5, for one of two draws.

    A value may lie so near to another, or to zero, that rounding decides which of them a pool or ReLU lets through.
    """
    return any(errors(spec, config, batch, *options, seed=seed) < 1e-5 for seed in range(2))


CLASSIC = Config("Q1_1", lr=0.05)
OTHER = Config("Q1_1", lr=0.05, momentum=0.8, nesterov=True, weight_decay=0.01, label_smoothing=0.1)
PLAIN = Config("Q1_1", lr=0.05, momentum=0.0, weight_decay=0.01)
