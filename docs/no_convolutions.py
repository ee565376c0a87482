"""A network to which all orders of the pixels are alike: fully connected layers alone, as wide as those of Q1_1."""

from cifar10_runner import register
from torch import nn


@register("NoConv", change="no convolutions")
class NoConv(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Flatten(), nn.Linear(3072, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)
        )
