"""The one ``nn.Module`` that is built from a row of the registry."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from models import Layer, Model


class Net(nn.Module):
    """Convolutions and pools, then fully connected layers.

    ReLU and the flattening are functional, so that a layer-by-layer summary has no rows for them.

    Args:
        model: the row of the registry to build.
    """

    def __init__(self, model: Model):
        super().__init__()
        self.relu = model.relu
        self.layers = nn.ModuleList(_module(layer) for layer in model.layers())

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of the images ``x`` (N, 3, 32, 32), float32."""
        *hidden, last = self.layers
        for layer in hidden:
            if isinstance(layer, (nn.Linear, nn.Dropout)):
                x = x.flatten(1)
            x = layer(x)
            if self.relu and isinstance(layer, (nn.Conv2d, nn.Linear)):
                x = F.relu(x)
        return last(x.flatten(1))


def _module(layer: Layer) -> nn.Module:
    if layer.kind == "conv":
        return nn.Conv2d(layer.inputs, layer.outputs, layer.kernel, padding=layer.padding)
    if layer.kind == "pool":
        return nn.MaxPool2d(layer.kernel)
    if layer.kind == "dropout":
        return nn.Dropout(0.5)
    return nn.Linear(layer.inputs, layer.outputs)


@torch.no_grad()
def output_shape(network: nn.Module) -> tuple[int, ...]:
    """The shape that ``network`` makes of two images; neither it nor the random numbers change."""
    with torch.random.fork_rng(devices=[]):
        return tuple(copy.deepcopy(network).eval()(torch.zeros(2, 3, 32, 32)).shape)


def count_parameters(network: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


@torch.no_grad()
def count_macs(network: nn.Module) -> int:
    """Multiply-accumulates of the convolutions and matrix products that ``network`` does for one image."""
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=[]), counter:
        copy.deepcopy(network).eval()(torch.zeros(1, 3, 32, 32))
    return counter.get_total_flops() // 2
