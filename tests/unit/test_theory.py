"""The three theory questions of docs/theory.md, checked by numbers; the sections below are its sections."""

import copy
import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import models
from runner.config import Config
from runner.step import TrainStep, initialize_kaiming, make_optimizer
from tests.helpers import reference
from tests.helpers.theory import first_linear, p_value, reorder_map, share_explained_by_kernel

ROUNDING = 1e-10
"""More than what rounding does to any figure here that is computed in float64."""


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def normal(*shape):
    return torch.randn(shape, dtype=torch.float64)


def positions(shape):
    """All positions of a grid; as many are its shifts."""
    return list(itertools.product(*map(range, shape)))


def shift(x, by):
    """``x`` with its last dimensions shifted around the edge: what was at n is at n + by."""
    return torch.roll(x, by, tuple(range(-len(by), 0)))


# Question 1: linear and shift-invariant is convolution

GRIDS = [(2,), (7,), (16,), (3, 5), (4, 4), (6, 8)]


def impulse(shape):
    delta = torch.zeros(shape, dtype=torch.float64)
    delta.view(-1)[0] = 1
    return delta


def convolve(h, x):
    """The sum over k of h[n - k] x[k], for every n of the grid."""
    return sum(x[k] * shift(h, k) for k in positions(x.shape))


def linear(matrix):
    return lambda x: (matrix @ x.flatten()).view(x.shape)


def average_over_shifts(matrix, shape):
    """The mean over all shifts S of S⁻¹ · matrix · S: linear, shift-invariant, and made without any convolution."""
    table = matrix.view(*shape, *shape)
    return torch.stack([shift(table, by + by) for by in positions(shape)]).mean(0).view_as(matrix)


def shift_error(operator, shape):
    """By how much ``operator`` and a shift don't commute, at most."""
    x = normal(*shape)
    return max((operator(shift(x, by)) - shift(operator(x), by)).abs().max() for by in positions(shape))


def convolution_error(operator, shape):
    """How far ``operator`` is from the convolution with its own impulse response, at a random signal."""
    x = normal(*shape)
    return (operator(x) - convolve(operator(impulse(shape)), x)).abs().max()


@pytest.mark.parametrize("shape", GRIDS)
def test_every_signal_is_a_sum_of_shifted_impulses(shape):
    x = normal(*shape)
    assert torch.equal(sum(x[k] * shift(impulse(shape), k) for k in positions(shape)), x)


@pytest.mark.parametrize("shape", GRIDS)
def test_lsi_operator_is_convolution_with_impulse_response(shape):
    matrix = normal(impulse(shape).numel(), impulse(shape).numel())
    averaged = linear(average_over_shifts(matrix, shape))
    assert shift_error(averaged, shape) < ROUNDING
    assert convolution_error(averaged, shape) < ROUNDING
    assert averaged(impulse(shape)).abs().min() > 1e-6

    assert shift_error(linear(matrix), shape) > 0.1
    assert convolution_error(linear(matrix), shape) > 0.1


@pytest.mark.parametrize("shape", [(2,), (7,), (3, 4)])
def test_operators_commuting_with_shifts_are_convolutions(shape):
    n = impulse(shape).numel()
    eye = torch.eye(n, dtype=torch.float64)
    conditions = []
    for axis in range(len(shape)):
        by = tuple(int(i == axis) for i in range(len(shape)))
        transposed = shift(eye.view(n, *shape), by).view(n, n)
        conditions.append(torch.kron(transposed.T.contiguous(), eye) - torch.kron(eye, transposed))
    _, sizes, vectors = torch.linalg.svd(torch.cat(conditions))
    basis = vectors[sizes < ROUNDING].view(-1, n, n)
    assert len(basis) == n
    for matrix in basis:
        assert convolution_error(linear(matrix), shape) < ROUNDING


@pytest.mark.parametrize("shape", GRIDS)
def test_convolution_is_lsi_and_its_response_is_its_kernel(shape):
    h, x, y = normal(3, *shape)
    torch.testing.assert_close(convolve(h, 2 * x - 3 * y), 2 * convolve(h, x) - 3 * convolve(h, y))
    assert shift_error(lambda x: convolve(h, x), shape) < ROUNDING
    torch.testing.assert_close(convolve(h, impulse(shape)), h)


@pytest.mark.parametrize(
    ("operator", "is_linear", "is_shift_invariant"),
    [
        (lambda x: x.cumsum(-1), True, False),
        (lambda x: x * torch.arange(1, x.shape[-1] + 1), True, False),
        (lambda x: F.conv2d(x[None, None], torch.ones(1, 1, 3, 3).double(), padding=1)[0, 0], True, False),
        (F.relu, False, True),
        (lambda x: x * shift(x, (0, 1)), False, True),
    ],
    ids=["running sum", "ramp", "zero padding", "relu", "product of neighbours"],
)
def test_convolution_needs_both_properties(operator, is_linear, is_shift_invariant):
    shape = (6, 8)
    x, y = normal(2, *shape)
    assert ((operator(x + y) - operator(x) - operator(y)).abs().max() < ROUNDING) == is_linear
    assert (shift_error(operator, shape) < ROUNDING) == is_shift_invariant
    assert convolution_error(operator, shape) > 0.1


def test_circular_layer_convolves_with_flipped_kernel():
    layer = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular", bias=False).double()
    image = normal(2, 6, 8)
    expected = torch.zeros(3, 6, 8, dtype=torch.float64)
    for output, channel in positions((3, 2)):
        kernel = torch.zeros(6, 8, dtype=torch.float64)
        kernel[:3, :3] = layer.weight[output, channel].detach().flip(0, 1)
        expected[output] += convolve(shift(kernel, (-1, -1)), image[channel])
    torch.testing.assert_close(layer(image[None])[0].detach(), expected)


def trajectory(network, optimizer, batches):
    """The losses of the steps, and the parameters after each."""
    step = TrainStep(network, optimizer)
    losses, parameters = [], []
    for images, labels in batches:
        losses.append(F.cross_entropy(step(images, labels), labels))
        parameters.append({name: weight.detach().clone() for name, weight in network.named_parameters()})
    return torch.stack(losses), parameters


OPTIMIZERS = {
    "momentum": lambda network: make_optimizer(network, Config("Q1_1", lr=0.05)),
    "nesterov and decay": lambda network: make_optimizer(
        network, Config("Q1_1", lr=0.05, nesterov=True, weight_decay=0.01)
    ),
    "adam": lambda network: torch.optim.Adam(network.parameters(), 0.003, eps=1e-6),
}


@pytest.mark.parametrize(
    ("name", "optimizer"), [*itertools.product(["Q1_1", "Q2_1"], OPTIMIZERS), ("Q1_19", "momentum")]
)
def test_reordered_map_and_columns_train_alike(name, optimizer):
    plain = models.build(name).double()
    order = torch.randperm(first_linear(plain).in_features)
    alike, careless = copy.deepcopy(plain), copy.deepcopy(plain)
    reorder_map(alike, order)
    reorder_map(careless, order)
    start = first_linear(plain).weight.detach().clone()
    with torch.no_grad():
        first_linear(alike).weight.copy_(start[:, order])
    batches = [(normal(4, 3, 32, 32), torch.randint(10, (4,))) for _ in range(6)]

    losses, parameters = trajectory(plain, OPTIMIZERS[optimizer](plain), batches)
    alike_losses, alike_parameters = trajectory(alike, OPTIMIZERS[optimizer](alike), batches)
    careless_losses, _ = trajectory(careless, OPTIMIZERS[optimizer](careless), batches)

    assert (losses - alike_losses).abs().max() < ROUNDING
    reordered = next(key for key, weight in plain.named_parameters() if weight is first_linear(plain).weight)
    for step, alike_step in zip(parameters, alike_parameters):
        for key, weight in step.items():
            expected = weight[:, order] if key == reordered else weight
            assert (expected - alike_step[key]).abs().max() < ROUNDING

    assert (parameters[-1][reordered] - start).abs().max() > 1e-4
    assert (losses - careless_losses).abs().max() > 1e-4


def test_bits_differ_only_through_the_order_of_summation():
    order = torch.randperm(400)

    def outcome(weight, inputs, reordered):
        weight, inputs = weight.clone().requires_grad_(), inputs.clone().requires_grad_()
        output = F.linear(inputs[:, order], weight[:, order]) if reordered else F.linear(inputs, weight)
        output.backward(torch.ones_like(output))
        return output.detach(), weight.grad, inputs.grad

    whole = torch.randint(-8, 9, (120, 400)).float(), torch.randint(-8, 9, (8, 400)).float()
    assert all(map(torch.equal, outcome(*whole, False), outcome(*whole, True)))  # sums below 2^24 are exact

    real = torch.randn(120, 400), torch.randn(8, 400)
    (plain, *gradients), (reordered, *reordered_gradients) = outcome(*real, False), outcome(*real, True)
    assert not torch.equal(plain, reordered)
    torch.testing.assert_close(plain, reordered, atol=1e-4, rtol=0)
    torch.testing.assert_close(gradients, reordered_gradients, atol=1e-4, rtol=0)


def column_p_values(weight):
    """For identical distribution and for independence of the columns: all entries are shuffled among themselves."""

    def statistics(weight):
        correlations = torch.corrcoef(weight.T)
        return torch.stack([weight.std(0).std(), correlations.square().mean()])

    shuffled = torch.stack(
        [statistics(weight.flatten()[torch.randperm(weight.numel())].view_as(weight)) for _ in range(199)]
    )
    return [p_value(observed, drawn) for observed, drawn in zip(statistics(weight), shuffled.T)]


@pytest.mark.parametrize("initialize", [lambda network: None, initialize_kaiming], ids=["torch", "kaiming"])
def test_columns_start_independent_and_identical(initialize):
    network = models.build("Q1_1")
    initialize(network)
    weight = first_linear(network).weight.detach()
    assert min(column_p_values(weight)) > 0.01
    assert column_p_values(weight * torch.linspace(0.8, 1.2, 400))[0] == 1 / 200
    assert column_p_values(weight + 0.5 * weight.roll(1, 1))[1] == 1 / 200


def test_reordered_noise_is_undone_by_no_kernel():
    layer = models.build("Q1_1").layers[0].double()
    images = normal(8, 3, 32, 32)
    wanted = layer(images).detach()
    shuffled = reference.permute_pixels(images, reference.fixed_permutation(0))
    assert (1 - share_explained_by_kernel(wanted, images, 5)).abs().max() < ROUNDING
    assert share_explained_by_kernel(wanted, shuffled, 5).max() < 0.05


# Question 3: ReLU and pooling


def test_relu_is_homogeneous_for_factors_from_0_alone():
    x = normal(1000)
    for factor in [0, 0.3, 1, 7]:
        torch.testing.assert_close(F.relu(factor * x), factor * F.relu(x))
    for factor in [-1e-3, -1, -7]:
        assert (F.relu(factor * x) != factor * F.relu(x)).all()


def test_relu_is_additive_only_where_signs_agree():
    x, y = normal(2, 1000)
    assert torch.equal(F.relu(x + y) == F.relu(x) + F.relu(y), x * y >= 0)
    assert torch.equal(F.relu(x) + F.relu(-x), x.abs())


def corner_pool(stride):
    return lambda x: x[..., ::stride, ::stride]


def network_max_pool():
    """The pooling layer of the networks here: window 2, stride 2."""
    return next(layer for layer in models.build("Q1_1").layers if isinstance(layer, nn.MaxPool2d))


def dense_max(window):
    """Max pooling with stride 1, around the edge."""
    return lambda x: torch.stack([shift(x, (-i, -j)) for i, j in positions((window, window))]).amax(0)


POOLS = {
    "corner 1": (corner_pool(1), 1),
    "corner 2": (corner_pool(2), 2),
    "corner 3": (corner_pool(3), 3),
    "average": (nn.AvgPool2d(2), 2),
    "max of the networks": (network_max_pool(), 2),
    "max 3": (nn.MaxPool2d(3), 3),
    "max 3, stride 2": (lambda x: corner_pool(2)(dense_max(3)(x)), 2),
    "max 2, stride 1": (dense_max(2), 1),
}


@pytest.mark.parametrize(("pool", "stride"), POOLS.values(), ids=POOLS)
def test_pool_commutes_with_shifts_by_its_stride_alone(pool, stride):
    x = normal(2, 6, 12)
    pooled = pool(x)
    for by in positions((6, 12)):
        after = pool(shift(x, by))
        matching = [other for other in positions(pooled.shape[1:]) if torch.allclose(after, shift(pooled, other))]
        multiple = all(step % stride == 0 for step in by)
        assert matching == ([tuple(step // stride for step in by)] if multiple else [])


@pytest.mark.parametrize("stride", [2, 3])
def test_corner_pooling_is_linear_but_no_convolution(stride):
    x, y = normal(2, 6, 12)
    pool = corner_pool(stride)
    torch.testing.assert_close(pool(2 * x - 3 * y), 2 * pool(x) - 3 * pool(y))

    assert pool(impulse((6, 12))).sum() == 1
    assert pool(shift(impulse((6, 12)), (0, 1))).sum() == 0

    def in_place(x):
        kept = torch.zeros_like(x)
        kept[::stride, ::stride] = pool(x)
        return kept

    assert torch.equal(convolve(in_place(impulse((6, 12))), x), x)
    assert convolution_error(in_place, (6, 12)) > 0.1


def test_max_pool_is_homogeneous_but_not_linear():
    pool = network_max_pool()
    x, y = normal(2, 1, 6, 12)
    torch.testing.assert_close(pool(3 * x), 3 * pool(x))
    assert (pool(-x) != -pool(x)).all()
    assert (pool(x + y) <= pool(x) + pool(y)).all()
    assert (pool(x + y) < pool(x) + pool(y)).any()
    left, right = torch.tensor([[[[1.0, 0], [0, 0]]], [[[0.0, 1], [0, 0]]]])
    assert (pool(left).item(), pool(right).item(), pool(left + right).item()) == (1, 1, 1)


def test_pool_of_largest_magnitude_is_homogeneous_not_additive():
    def pool(x):
        windows = F.unfold(x, 2, stride=2)
        return windows.gather(1, windows.abs().argmax(1, keepdim=True))

    x, y = normal(2, 1, 1, 6, 12)
    for factor in [-7, -1, 0, 0.3]:
        torch.testing.assert_close(pool(factor * x), factor * pool(x))
    assert ((pool(x + y) - pool(x) - pool(y)).abs() > ROUNDING).any()


def test_max_pool_is_dense_maximum_then_corner_pool():
    x = normal(1, 6, 12)
    assert torch.equal(network_max_pool()(x), corner_pool(2)(dense_max(2)(x)))


def test_max_pool_sees_empty_block_that_fills_a_window():
    image = torch.ones(1, 6, 12)
    image[:, 2:4, 4:6] = 0
    zeros = {by: (network_max_pool()(shift(image, by)) == 0).sum().item() for by in positions((6, 12))}
    assert zeros == {by: int(by[0] % 2 == by[1] % 2 == 0) for by in zeros}
