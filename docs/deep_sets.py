"""A network for which an image is a bag of pixels: no permutation of them changes what it computes.

It has Deep Sets' structure (Zaheer et al., 2017): the same small network sees each pixel alone, and what it makes of
them is summed up by mean and maximum, for a head like Q1_1's.
"""

import torch
from cifar10_runner import register
from torch import Tensor, nn


@register("DeepSets", change="sees each pixel alone, then their mean and maximum")
class DeepSets(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.pixel = nn.Sequential(nn.Conv2d(3, 64, 1), nn.ReLU(), nn.Conv2d(64, 64, 1), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(128, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))

    def forward(self, images: Tensor) -> Tensor:
        features = self.pixel(images).flatten(2)  # (N, 64, 1024)
        return self.head(torch.cat([features.mean(2), features.amax(2)], 1))
