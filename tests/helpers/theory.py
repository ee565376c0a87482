"""What the tests of docs/theory.md share."""

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
