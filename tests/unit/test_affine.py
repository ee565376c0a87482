"""Affine networks, as one matrix."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import models
from experiments import affine
from experiments.affine import Affine, NotAffine
from runner import files


def images(n=64, seed=0):
    """Random images as a network gets them, in the memory format of the project's own networks."""
    pixels = torch.randint(0, 256, (n, 3, 32, 32), generator=torch.Generator().manual_seed(seed))
    return (pixels / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def build(name):
    torch.manual_seed(0)
    return models.build(name).eval()


@pytest.fixture(scope="module")
def collapsed():
    """The networks of question 2 with random weights, and what they collapse to."""
    networks = {name: build(name) for name in ("Q2_1", "Q2_2")}
    matrices = {name: affine.collapse(network) for name, network in networks.items()}
    return {name: (networks[name], matrices[name]) for name in networks}


@pytest.fixture
def red_for_the_first():
    """A matrix that sees red in the left half as the first class, and no more of it than on average as any other."""
    weight = torch.zeros(10, 3, 32, 32, dtype=torch.float64)
    weight[0, 0, :, :16] = 1
    # What all templates share must not be seen.
    weight += torch.rand(3, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return Affine(weight, torch.arange(10, dtype=torch.float64))


@pytest.mark.parametrize("name", ["Q2_1", "Q2_2"])
def test_network_of_question_2_is_its_matrix(collapsed, name):
    network, matrix = collapsed[name]
    assert matrix.weight.dtype == matrix.bias.dtype == torch.float64
    assert (matrix.weight.shape, matrix.bias.shape) == ((10, 3, 32, 32), (10,))
    exact = copy.deepcopy(network).double()
    with torch.no_grad():
        torch.testing.assert_close(matrix.logits(images()), exact(images().double()), rtol=0, atol=1e-9)
    assert 1e-9 < affine.check(name, network, matrix, images()) < 1e-5


def test_matrix_is_the_jacobian(collapsed):
    network, matrix = collapsed["Q2_1"]
    exact = copy.deepcopy(network).double()
    jacobian = torch.autograd.functional.jacobian(exact, images(1).double())[0, :, 0]
    torch.testing.assert_close(matrix.weight, jacobian, rtol=0, atol=1e-12)


def test_linear_layer_gives_its_own_weight_back():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    matrix = affine.collapse(network)
    torch.testing.assert_close(matrix.weight.flatten(1), network[1].weight.detach().double(), rtol=0, atol=1e-15)
    assert torch.equal(matrix.bias, network[1].bias.detach().double())
    assert not matrix.weight.requires_grad
    assert matrix.parameters == 30_730


@pytest.mark.parametrize(
    "network",
    [
        nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(768, 10)),
        nn.Sequential(nn.Flatten(), nn.Linear(3072, 20), nn.ReLU(), nn.Linear(20, 10)),
    ],
    ids=["pool", "ReLU"],
)
def test_one_pool_or_one_relu_is_not_affine(network):
    with pytest.raises(NotAffine, match=r"^Own is not affine: its logits are off by up to [0-9.]+ .*\(0\.0001 is"):
        affine.check("Own", network, affine.collapse(network), images())


def test_q1_1_is_not_affine():
    network = build("Q1_1")
    with pytest.raises(NotAffine, match="^Q1_1 is not affine"):
        affine.check("Q1_1", network, affine.collapse(network), images())


@pytest.mark.parametrize("value", [-1, 1])
def test_one_logit_of_one_image_is_enough(value):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    matrix = affine.collapse(network)
    matrix.weight[7, 2, 31, 31] += 1e-3
    pictures = torch.zeros(100, 3, 32, 32)
    affine.check("Own", network, matrix, pictures)
    pictures[-1, 2, 31, 31] = value
    assert affine.largest_difference(network, matrix, pictures) == pytest.approx(1e-3, abs=1e-6)
    affine.check("Own", network, matrix, pictures, tolerance=2e-3)
    with pytest.raises(NotAffine, match=r"0\.001 "):
        affine.check("Own", network, matrix, pictures)


def test_logits_that_are_no_number_are_not_affine():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    matrix = affine.collapse(network)
    pictures = images(100)
    pictures[0] = float("nan")
    with pytest.raises(NotAffine, match="nan"):
        affine.check("Own", network, matrix, pictures)


def test_collapse_leaves_network_and_random_numbers_alone():
    network = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(), nn.Flatten(), nn.Linear(3072, 10)).train()
    network(images())
    before = copy.deepcopy(network.state_dict())
    random = torch.get_rng_state()
    matrix = affine.collapse(network)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(part.training for part in network.modules())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert {key: value.dtype for key, value in network.state_dict().items()} == {k: v.dtype for k, v in before.items()}
    affine.check("Own", network.eval(), matrix, images())


def test_facts_are_those_of_the_matrix():
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 4), nn.Linear(4, 10))
    with torch.no_grad():
        network[1].weight.copy_(3 * torch.eye(4, 3072))
        network[2].weight.copy_(torch.eye(10, 4))
    facts = affine.describe(affine.collapse(network), network)
    assert facts["singular_values"] == pytest.approx([3] * 4 + [0] * 6)
    assert facts["effective_rank"] == pytest.approx(4)
    assert (facts["parameters"], facts["network_parameters"]) == (30_730, 4 * 3073 + 10 * 5)


def test_templates_are_uniform_by_their_mean_over_places(red_for_the_first):
    assert red_for_the_first.uniform_share == pytest.approx(0.5)  # one half of the places has it all
    anywhere = torch.arange(30.0, dtype=torch.float64).view(10, 3, 1, 1).expand(10, 3, 32, 32)
    everywhere = Affine(anywhere + red_for_the_first.weight[1], red_for_the_first.bias)
    assert everywhere.uniform_share == pytest.approx(1)
    balanced = red_for_the_first.weight.clone()
    balanced[0, 0, :, 16:] -= 1
    assert Affine(balanced, red_for_the_first.bias).uniform_share == pytest.approx(0)


def test_scores_tell_a_class_from_a_class_up_to_the_sign():
    labels = torch.arange(200) % 10
    own = torch.eye(10)[labels] * 9
    sure = affine.score(own + torch.arange(200)[:, None], labels)
    # 9 less the mean of 0.9 for the own class, and -0.9 for the others.
    assert sure == pytest.approx(
        {"own_mean": 8.1, "own_sd": 0, "others_sd": 0, "own_highest": 1, "own_lowest": 0}, abs=1e-4
    )
    signs = torch.tensor([1.0, 1.0, 1.0, -1.0]).repeat_interleave(50)[:, None]
    either = affine.score(own * signs, labels)
    assert either["own_mean"] == pytest.approx(8.1 / 2)
    assert either["own_sd"] == pytest.approx(8.1 * 0.75**0.5)
    assert either["others_sd"] == pytest.approx(0.9 * 0.75**0.5)
    assert (either["own_highest"], either["own_lowest"]) == (0.75, 0.25)
    between = affine.score(torch.arange(10.0)[None], torch.tensor([5]))
    assert (between["own_highest"], between["own_lowest"]) == (0, 0)


@pytest.mark.figures
def test_facts_of_a_constant_network_can_be_written(tmp_path):
    network = nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))
    nn.init.zeros_(network[1].weight)
    matrix = affine.collapse(network)
    assert affine.describe(matrix, network)["effective_rank"] == affine.describe(matrix, network)["uniform_share"] == 0
    files.write_json(tmp_path / "facts.json", affine.describe(matrix, network))
    affine.plot_templates(tmp_path / "templates.png", "Constant", matrix, list("abcdefghij"))
    picture = np.asarray(Image.open(tmp_path / "templates.png").convert("RGB")).astype(int)
    assert (abs(picture - 128) <= 1).all(2).mean() > 0.3


def test_save_writes_matrix_and_nothing_beside_it(tmp_path, red_for_the_first):
    affine.save(tmp_path / "matrix.npz", red_for_the_first)
    with np.load(tmp_path / "matrix.npz", allow_pickle=False) as saved:
        assert set(saved) == {"weight", "bias"}
        matrix = Affine(*(torch.from_numpy(saved[name]) for name in ("weight", "bias")))
    assert torch.equal(matrix.weight, red_for_the_first.weight)
    assert torch.equal(matrix.bias, red_for_the_first.bias)
    assert [path.name for path in tmp_path.iterdir()] == ["matrix.npz"]


@pytest.mark.figures
def test_pictures_show_what_speaks_for_each_class(tmp_path, red_for_the_first):
    affine.plot_templates(tmp_path / "templates.png", "Red", red_for_the_first, list("abcdefghij"))
    picture = np.asarray(Image.open(tmp_path / "templates.png").convert("RGB")).astype(int)
    # The first weighs 0.9 more than the mean and the others 0.1 less, on one scale: 255 and 128 − 127/9 in red.
    reds = (abs(picture - [255, 128, 128]) <= 1).all(2)
    faint = (abs(picture - [113, 128, 128]) <= 1).all(2)
    greys = (abs(picture - [128, 128, 128]) <= 1).all(2)
    height, width = reds.shape
    rows, columns = np.nonzero(reds)
    assert rows.max() < height / 2
    assert columns.max() < width / 5
    share = reds.sum() / (reds | faint | greys).sum()
    assert share == pytest.approx(1 / 20, abs=0.002)
    assert faint.sum() == pytest.approx(9 * reds.sum(), rel=0.02)
    assert greys[rows.min() : rows.max(), columns.max() + 2 : 2 * columns.max() - columns.min()].all()
