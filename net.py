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

    Attributes:
        memory_format: how its weights and the images that it is given lie in memory, for speed; it computes the same
            in any.
    """

    memory_format = torch.channels_last

    def __init__(self, model: Model):
        super().__init__()
        self.relu = model.relu
        layers = model.layers()
        self.layers = nn.ModuleList(map(_module, layers))
        # ReLU and a maximum can change places, and after a pool ReLU has a quarter to do.
        kinds = [layer.kind for layer in layers]
        self.rectified = [
            model.relu and ((kind in ("conv", "linear") and after != "pool") or (before, kind) == ("conv", "pool"))
            for before, kind, after in zip(["", *kinds], kinds, kinds[1:])
        ]
        self.to(memory_format=self.memory_format)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, 10) of the images ``x`` (N, 3, 32, 32), float32."""
        *hidden, last = self.layers
        for layer, rectified in zip(hidden, self.rectified):
            if isinstance(layer, (nn.Linear, nn.Dropout)):
                x = x.flatten(1)
            x = layer(x)
            if rectified:
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
def initialize_kaiming(network: nn.Module) -> None:
    """Draws the weights of convolutions and linear layers anew, so that the variance is kept from layer to layer.

    He et al., 2015, "Delving Deep into Rectifiers": a normal distribution of variance 2/inputs before ReLU and 1/inputs
    where there is none. Biases are 0.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    for layer in layers:
        relu = getattr(network, "relu", True) and layer is not layers[-1]
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu" if relu else "linear")
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


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
