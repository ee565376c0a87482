"""What docs/theory.md says of many networks, are their losses distributed alike, and of the real images."""

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch.func import functional_call, stack_module_state, vmap

import data
import models
from datasets import synthetic
from models import ModelSpec, Net
from runner import rng
from tests.helpers import reference
from tests.helpers.cli import execute, run_folder
from tests.helpers.paths import PROJECT
from tests.helpers.theory import p_value, reorder_map, share_explained_by_kernel

SMALL = ModelSpec("Small", "P 4k5 P", "16", None)


GUESSING = math.log(10)


SEEDS, OTHER_SEEDS = range(64), range(64, 128)


MAP_ORDER = torch.from_numpy(rng.generator("order of the activation map").permutation(4 * 6 * 6))


@cache
def small_images(split, shuffled):
    images = synthetic.make_images(512, rng.generator("theory", split), {"texture": 1.0, "position": 1.0})
    pixels = data.normalize(images.pixels)
    return reference.permute_pixels(pixels, reference.fixed_permutation(0)) if shuffled else pixels, images.labels


def small_network(reordered):
    network = Net(SMALL)
    if reordered:
        reorder_map(network, MAP_ORDER)
    return network


@cache
def trained_weights(seeds, reordered=False, shuffled=False):
    """The weights that training gives from each seed, which draws the initial ones and the order of the images.

    All networks take their steps together, which takes half the time of one run after another.
    """
    images, labels = small_images(data.TRAIN, shuffled)
    networks, orders = [], []
    for seed in seeds:
        torch.manual_seed(seed)
        networks.append(small_network(reordered))
        orders.append(torch.randperm(len(labels)))
    weights, _ = stack_module_state(networks)
    optimizer = torch.optim.SGD(weights.values(), lr=0.1, momentum=0.9)
    forward = vmap(lambda weights, images: functional_call(networks[0], weights, images))
    for rows in torch.stack(orders).split(16, dim=1):
        optimizer.zero_grad()
        logits = forward(weights, images[rows])
        (F.cross_entropy(logits.flatten(0, 1), labels[rows].flatten()) * len(seeds)).backward()
        optimizer.step()
    return weights


@torch.no_grad()
def logits_on_test(weights, reordered=False, shuffled=False):
    """The logits of each network for the test images, and their labels."""
    images, labels = small_images(data.TEST, shuffled)
    network = small_network(reordered)
    return vmap(lambda weights: functional_call(network, weights, images))(weights), labels


def losses_on_test(*network, **changes):
    """The test loss of each network."""
    logits, labels = logits_on_test(*network, **changes)
    return F.cross_entropy(logits.transpose(1, 2), labels.expand(len(logits), -1), reduction="none").mean(1)


def accuracies_on_test(*network, **changes):
    """The share of the test images that each network classifies correctly."""
    logits, labels = logits_on_test(*network, **changes)
    return (logits.argmax(2) == labels).float().mean(1)


def same_distribution_p_value(a, b):
    """Two samples of one size: Kolmogorov-Smirnov's statistic, and its distribution when values change samples."""

    def largest_gaps(in_a):
        return torch.where(in_a, 1, -1).cumsum(1).abs().amax(1)

    in_a = (torch.cat([a, b]).argsort() < len(a))[None]
    draws = torch.rand(2000, in_a.shape[1], generator=torch.Generator().manual_seed(0)).argsort(1)
    return p_value(largest_gaps(in_a), largest_gaps(in_a.expand(2000, -1).gather(1, draws)))


def test_reordered_map_from_iid_weights_has_same_losses():
    plain = losses_on_test(trained_weights(SEEDS))
    reordered = losses_on_test(trained_weights(OTHER_SEEDS, reordered=True), reordered=True)
    assert plain.median() < GUESSING - 0.4  # they have learnt something, so that there is something to compare
    assert plain.std() > 0.1
    # A shift by less than half a standard deviation can pass: the claim rests on the exact test of each step.
    assert same_distribution_p_value(plain, reordered) > 0.05


def test_reordered_map_from_trained_weights_has_other_losses():
    plain = losses_on_test(trained_weights(SEEDS))
    reordered = losses_on_test(trained_weights(SEEDS), reordered=True)
    assert same_distribution_p_value(plain, reordered) < 0.001
    assert reordered.median() > GUESSING
    assert accuracies_on_test(trained_weights(SEEDS)).mean() > 0.4
    assert 0.08 < accuracies_on_test(trained_weights(SEEDS), reordered=True).mean() < 0.15


def test_reordered_input_of_convolution_has_other_losses():
    plain = losses_on_test(trained_weights(SEEDS))
    shuffled = losses_on_test(trained_weights(OTHER_SEEDS, shuffled=True), shuffled=True)
    assert same_distribution_p_value(plain, shuffled) < 0.001
    assert shuffled.median() > plain.median() + 0.2


def test_best_kernel_sees_overall_colour_of_reordered_images(real, tmp_path):
    images = data.normalize(real.test.pixels[::25]).double()
    shuffled = reference.permute_pixels(images, reference.fixed_permutation(0))

    def shares(kernels):
        """What the best kernels explain, of all channels; and the best of those with a weight for each colour."""
        wanted = torch.cat([kernel.double()(images).detach() for kernel in kernels], 1)
        means = F.avg_pool2d(shuffled, 5, stride=1)
        return share_explained_by_kernel(wanted, shuffled, 5), share_explained_by_kernel(wanted, means, 1)

    untrained = []
    for seed in range(4):
        torch.manual_seed(seed)
        untrained.append(models.build("Q1_1").layers[0])
    place = ["--data-dir", PROJECT / "data", "--results-dir", tmp_path / "results", "--threads", 1]
    assert execute(["--model-name", "Q1_1", "--recipe", "fast", "--epochs", 1, "--limit", 12_800, *place]) == 0
    trained = models.build("Q1_1")
    trained.load_state_dict(torch.load(run_folder(tmp_path) / "last.pt", weights_only=True)["model"])

    (before, before_by_colour), (after, after_by_colour) = shares(untrained), shares([trained.layers[0]])
    assert 0.05 < before.min() < 0.15
    assert 0.25 < before.max() < 0.4
    assert after.max() > 0.4
    assert after.min() < 0.1
    assert max((before - before_by_colour).max(), (after - after_by_colour).max()) < 0.01
