"""A step of training, from a batch to changed weights: what it computes and how fast this machine does it.

The recipe says what: the optimiser, the learning rate of each step, the precision. How is the machine's: the number of
threads, compiled or not.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runner.config import Config
from runner.errors import one_line

MACS_PER_THREAD = 20_000_000
"""Multiply-accumulates of a step's forward pass from which a thread more pays, as measured on CPUs of 2 cores."""

BF16_PAYS = 1.3
"""How much faster than fp32 bf16 must be for ``--precision auto`` to take it: noise alone must not decide."""


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_that_pay(macs: int, batch_size: int) -> int:
    """How many CPU threads are worth their cost for a step; by a rule, so that the same command gives the same bits.

    Args:
        macs: multiply-accumulates of the network for one image.
    """
    return max(1, min(cores(), macs * batch_size // MACS_PER_THREAD))


def fastest_precision(device: torch.device) -> str:
    """``bf16`` where a measurement finds it clearly faster than fp32, else ``fp32``.

    It measures a convolution of medium size with its gradients, and not the network at hand, so that the answer is the
    machine's and the same for all runs on it.
    """
    if device.type == "mps":
        return "fp32"

    def seconds(precision: str) -> float:
        synchronize(device)
        began = time.perf_counter()
        with autocast(device, precision):
            layer(images).sum().backward()
        synchronize(device)
        return time.perf_counter() - began

    with torch.random.fork_rng(devices=[]):
        layer = nn.Conv2d(64, 64, 3, padding=1).to(device, memory_format=torch.channels_last)
        images = torch.zeros(32, 64, 16, 16, device=device).contiguous(memory_format=torch.channels_last)
        try:
            pairs = [(seconds("fp32"), seconds("bf16")) for _ in range(10)][3:]
        except RuntimeError:  # a device without bf16
            return "fp32"
    return "bf16" if median(fp32 / bf16 for fp32, bf16 in pairs) >= BF16_PAYS else "fp32"


def synchronize(device: torch.device) -> None:
    """Waits until ``device`` has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Has convolutions and matrix products inside computed in ``precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def learning_rate(config: Config, step: int, steps: int) -> float:
    """The learning rate of step ``step``, counted from 0, of the ``steps`` of a whole run.

    ``one-cycle`` rises from a tenth of ``lr`` in the share ``warmup`` of all steps, and falls to 0; see Smith and
    Topin, 2018, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates".
    """
    if config.schedule == "constant":
        return config.lr
    rise = config.warmup * steps
    if step < rise:
        return config.lr * (0.1 + 0.9 * step / rise)
    return config.lr * (steps - step) / (steps - rise)


def make_optimizer(network: nn.Module, config: Config) -> torch.optim.Optimizer:
    """SGD as the recipe says. A fused step is several times faster where each layer is small."""
    parameters = list(network.parameters())
    # The fused step goes through memory, which is only right where weights and gradients lie there in the same order.
    dense = all(
        weight.is_contiguous() or (weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last))
        for weight in parameters
    )
    return torch.optim.SGD(
        parameters,
        lr=config.lr,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        nesterov=config.nesterov,
        fused=dense and all(weight.is_floating_point() for weight in parameters),
    )


class Step:
    """One step of training, taken with each call.

    Args:
        network: what is trained.
        optimizer: of its weights.
        precision: ``fp32`` or ``bf16``.
        label_smoothing: see :func:`torch.nn.functional.cross_entropy`.
        compiled: compile the network; where that fails, the step is taken without.
        warn: is told if it fails.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: str = "fp32",
        label_smoothing: float = 0.0,
        compiled: bool = False,
        warn: Callable[[str], None] = print,
    ):
        self.network = network
        self.weights = list(network.parameters())
        self.optimizer = optimizer
        self.precision = precision
        self.label_smoothing = label_smoothing
        self.warn = warn
        self.compiled = torch.compile(network) if compiled else None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Changes the weights by one batch and returns its logits (B, 10), which were computed before.

        Args:
            images: float32 (B, 3, 32, 32).
            labels: int64 (B,).
        """
        if self.compiled:
            try:
                return self.take(self.compiled, images, labels)
            except Exception as error:
                self.warn(f"--compile: going on without, it failed here: {one_line(error)}")
                self.compiled = None
        return self.take(self.network, images, labels)

    def take(self, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
        self.forget_gradients()
        if self.precision == "fp32":
            logits = forward(images)
        else:
            with autocast(images.device, self.precision):
                logits = forward(images)
            logits = logits.float()
        F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing).backward()
        self.optimizer.step()
        return logits.detach()

    def forget_gradients(self) -> None:
        # What the optimiser's zero_grad() does too, in a tenth of the time.
        for weight in self.weights:
            weight.grad = None

    def set_learning_rate(self, value: float) -> None:
        """Sets the learning rate of the steps that follow."""
        for group in self.optimizer.param_groups:
            group["lr"] = value


def make_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    config: Config,
    precision: str,
    device: torch.device,
    warn: Callable[[str], None],
) -> Step:
    """The step of ``config``; an option that this device has no use for is refused with a word."""
    return Step(network, optimizer, precision, config.label_smoothing, config.compile, warn)
