"""What the tests of docs/theory.md share."""

import torch
import torch.nn.functional as F
from torch import nn


# Question 2: the order of the activation map before the first fully connected layer
def first_linear(network):
    return next(layer for layer in network.modules() if isinstance(layer, nn.Linear))


def reorder_map(network, order):
    """Has position ``order[i]`` of the activation map go to position i, before the first fully connected layer."""
    first_linear(network).register_forward_pre_hook(lambda layer, inputs: (inputs[0][:, order],))


def p_value(observed, under_null):
    """The p-value of a permutation test: the share of draws at least as extreme, the observed one among them."""
    return (1 + (under_null >= observed).sum().item()) / (1 + len(under_null))


def share_explained_by_kernel(wanted, images, size):
    """By channel, the share of the variance of ``wanted`` that the best kernels and biases explain from ``images``.

    Args:
        wanted: (N, C, H, W), what a convolution gives for images of another order of the pixels.
        images: (N, channels, H + size - 1, W + size - 1).
    """
    patches = F.unfold(images, size).transpose(1, 2).flatten(0, 1)
    patches = torch.cat([patches, torch.ones_like(patches[:, :1])], 1)
    wanted = wanted.flatten(2).transpose(1, 2).flatten(0, 1)
    best = torch.linalg.solve(patches.T @ patches, patches.T @ wanted)
    return 1 - (patches @ best - wanted).var(0) / wanted.var(0)
