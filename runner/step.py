"""A step of training, from a batch to changed weights, as the recipe says: optimiser, learning rate, precision."""

import logging
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from runner.config import Config
from runner.errors import one_line
from runner.machine import autocast

log = logging.getLogger("ex1")


def learning_rate(config: Config, step: int, steps: int) -> float:
    """Compute the learning rate of step ``step``, counted from 0, of the ``steps`` of a whole run.

    ``one-cycle`` rises from a tenth of ``lr`` in the share ``warmup`` of all steps, and falls to 0; see Smith and
    Topin, 2018, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates".
    """
    if config.schedule == "constant":
        return config.lr
    rise = config.warmup * steps
    if step < rise:
        return config.lr * (0.1 + 0.9 * step / rise)
    return config.lr * (steps - step) / (steps - rise)


def make_optimizer(model: nn.Module, config: Config) -> torch.optim.Optimizer:
    """Make SGD as the recipe says. A fused step is several times faster where each layer is small."""
    parameters = list(model.parameters())
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


class TrainStep:
    """One step of training, taken with each call; where ``compiled`` fails, it is taken without."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        precision: str = "fp32",
        label_smoothing: float = 0.0,
        compiled: bool = False,
    ):
        self.model = model
        self.weights = list(model.parameters())
        self.optimizer = optimizer
        self.precision = precision
        self.label_smoothing = label_smoothing
        self.compiled = torch.compile(model) if compiled else None

    def __call__(self, images: Tensor, labels: Tensor) -> Tensor:
        """Change the weights by one batch and return its logits (B, 10), which were computed before.

        Images are float32 (B, 3, 32, 32), labels int64 (B,).
        """
        if self.compiled is not None:
            try:
                return self.forward_backward(self.compiled, images, labels)
            except Exception as error:
                log.warning(f"--compile: going on without, it failed here: {one_line(error)}")
                self.compiled = None
        return self.forward_backward(self.model, images, labels)

    def forward_backward(self, forward: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
        """Compute logits by ``forward``, the gradients of the loss, and the changed weights."""
        self.zero_grad()
        if self.precision == "fp32":
            logits = forward(images)
        else:
            with autocast(images.device, self.precision):
                logits = forward(images)
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
