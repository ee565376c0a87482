"""A step of training, from a batch to changed weights, as the recipe says: optimiser, learning rate, precision."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runner.config import Config
from runner.errors import one_line
from runner.machine import autocast

log = logging.getLogger("ex1")

ADAM_BETA2 = 0.999  # as PyTorch has it; Kingma and Ba, 2015, "Adam: A Method for Stochastic Optimization"


def learning_rate(config: Config, step: int, steps: int) -> float:
    """Compute the learning rate of step ``step``, counted from 0, of the ``steps`` of a whole run.

    All but ``constant`` rise from a tenth of ``lr`` in the share ``warmup`` of all steps. ``one-cycle`` then falls to 0
    in a straight line; see Smith and Topin, 2018, "Super-Convergence: Very Fast Training of Neural Networks Using Large
    Learning Rates". ``cosine``: Loshchilov and Hutter, 2017, "SGDR", without restarts. ``step``: He et al., 2016, "Deep
    Residual Learning", which divides the rate by 10 at half and at three quarters.
    """
    if config.schedule == "constant":
        return config.lr
    rise = config.warmup * steps
    if step < rise:
        return config.lr * (0.1 + 0.9 * step / rise)
    if config.schedule == "one-cycle":
        return config.lr * (steps - step) / (steps - rise)
    done = (step - rise) / (steps - rise)  # the share of the fall that is behind, in [0, 1)
    if config.schedule == "cosine":
        return config.lr * (1 + math.cos(math.pi * done)) / 2
    return config.lr / 10 ** ((done >= 0.5) + (done >= 0.75))


def make_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Make the optimiser as the recipe says. A fused step is several times faster where each layer is small."""
    parameters = list(model.parameters())
    # The fused step goes through memory, which is only right where weights and gradients lie there in the same order.
    dense = all(
        weight.is_contiguous() or (weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last))
        for weight in parameters
    )
    common: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    common["fused"] = dense and all(weight.is_floating_point() for weight in parameters)
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, momentum=config.momentum, nesterov=config.nesterov, **common)
    adam = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[config.optimizer]
    return adam(parameters, betas=(config.momentum, ADAM_BETA2), **common)


def initialize(model: nn.Module, config: Config) -> None:
    """Draw the initial weights that the recipe says, where they are not those that the model was built with."""
    if config.init == "kaiming":
        initialize_kaiming(model)


@torch.no_grad()
def initialize_kaiming(model: nn.Module) -> None:
    """Draw the weights of convolutions and linear layers anew, so that variance is kept from layer to layer.

    He et al., 2015, "Delving Deep into Rectifiers": a normal distribution of variance 2/inputs before ReLU and 1/inputs
    where there is none. Biases are 0.
    """
    layers = [layer for layer in model.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for layer in layers:
        relu = getattr(model, "relu", True) and layer is not layers[-1]
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if relu else "linear")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


@dataclass
class TrainStep:
    """One step of training, taken with each call; where the model is ``compiled`` and that fails, without."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    precision: str = "fp32"  # of convolutions and matrix products, or "bf16"
    label_smoothing: float = 0.0  # share of each label that is spread over all classes
    compiled: bool = False

    def __post_init__(self) -> None:
        self.weights = list(self.model.parameters())
        self.forward: Callable[[Tensor], Tensor] = torch.compile(self.model) if self.compiled else self.model

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Change the weights by a batch, float32 (B, 3, 32, 32), int64 (B,); return its logits before, (B, 10)."""
        try:
            return self.forward_backward(images, labels)
        except Exception as error:
            if self.forward is self.model:
                raise
            log.warning(f"--compile: going on without, it failed here: {one_line(error)}")
            self.forward, self.compiled = self.model, False
            return self.forward_backward(images, labels)

    def forward_backward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Compute logits, the gradients of the loss, and the changed weights."""
        self.zero_grad()
        if self.precision == "fp32":
            logits = self.forward(images)
        else:
            with autocast(images.device, self.precision):
                logits = self.forward(images)
            logits = logits.float()
        F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing).backward()
        self.optimizer.step()
        return logits.detach()

    def zero_grad(self) -> None:
        """Forget the gradients, as the optimiser's zero_grad() does, in a tenth of the time."""
        for weight in self.weights:
            weight.grad = None

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    @lr.setter
    def lr(self, value: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = value
