"""A step of training: what it computes, and the ways in which this machine does it."""

import contextlib
import math

import pytest
import torch
import torch.nn.functional as F
from steps import GraphedStep
from torch import nn

import data
import ex1
import models
from data import TRAIN, Images, Loader
from runner import cli, machine
from runner.config import Config
from runner.step import TrainStep, initialize_kaiming, learning_rate, make_optimizer
from tests.helpers.images import make_images


def batch(n, seed=0):
    images = make_images(n, seed)
    return data.normalize(images.pixels).contiguous(memory_format=torch.channels_last), images.labels


def build(name="Q1_1", seed=0):
    torch.manual_seed(seed)
    return models.build(name)


def weights(network):
    return torch.cat([weight.detach().flatten() for weight in network.parameters()])


# ---- the recipe ----


def test_one_cycle_rises_and_falls_and_constant_stays():
    config = Config("Q1_1", schedule="one-cycle", lr=2.0, warmup=0.25)
    rates = [learning_rate(config, step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[25] == max(rates) == 2.0
    assert rates[100] == 0
    rises, falls = torch.tensor(rates[:26]).diff(), torch.tensor(rates[25:]).diff()
    assert torch.allclose(rises, rises[:1].expand(25), atol=1e-6)
    assert torch.allclose(falls, falls[:1].expand(75), atol=1e-6)
    assert {learning_rate(Config("Q1_1", lr=0.3), step, 100) for step in range(100)} == {0.3}


def test_optimiser_is_the_recipes():
    optimizer = make_optimizer(build(), Config("Q1_1", lr=0.2, momentum=0.7, weight_decay=0.3, nesterov=True))
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]) == (0.2, 0.7, 0.3, True)


@pytest.mark.parametrize("name", ["Q1_1", "Q1_4", "Q1_19", "Q1_24", "Q2_2"])
def test_fused_step_is_the_plain_one(name):
    settings = Config(name, lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True)
    network, twin = build(name), build(name).to(memory_format=torch.contiguous_format)
    optimizer = make_optimizer(network, settings)
    assert optimizer.defaults["fused"]
    plain = torch.optim.SGD(
        twin.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True, foreach=False, fused=False
    )
    network.eval(), twin.eval()  # without dropout, which draws in the order of the memory
    for seed in range(3):
        images, labels = batch(8, seed)
        TrainStep(network, optimizer)(images, labels)
        plain.zero_grad()
        F.cross_entropy(twin(images.contiguous()), labels).backward()
        plain.step()
    for weight, other in zip(network.parameters(), twin.parameters()):
        assert torch.allclose(weight, other, atol=1e-5)
    assert not torch.equal(weights(network), weights(build(name)))


def test_optimizer_is_not_fused_for_strided_weights():
    class Strided(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(10, 2 * 3072)[:, ::2])

        def forward(self, x):
            return x.flatten(1) @ self.weight.T

    torch.manual_seed(0)
    network = Strided()
    before = network.weight.detach().clone()
    optimizer = make_optimizer(network, Config("Q1_1", lr=0.1, momentum=0.9))
    images, labels = batch(4)
    TrainStep(network, optimizer)(images.contiguous(), labels)
    expected = before.clone().requires_grad_()
    F.cross_entropy(images.flatten(1) @ expected.T, labels).backward()
    assert torch.allclose(network.weight, before - 0.1 * expected.grad, atol=1e-6)


def test_label_smoothing_changes_gradient_and_not_shown_loss():
    tallies, changed = [], []
    for smoothing in (0.0, 0.5):
        network = build()
        step = TrainStep(network, torch.optim.SGD(network.parameters(), lr=1e-3), label_smoothing=smoothing)
        tallies.append(ex1.train_epoch(step, Loader(make_images(20), TRAIN, 20).epoch(1), 20))
        changed.append(weights(network) - weights(build()))
    assert tallies[0].loss == tallies[1].loss
    assert not torch.allclose(changed[0], changed[1], rtol=1e-2)


@pytest.mark.parametrize("name", ["Q1_19", "Q2_2"])
def test_kaiming_keeps_variance_from_layer_to_layer(name):
    network = build(name)
    spreads = []
    for layer in network.layers:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(lambda layer, inputs, output: spreads.append(output.std().item()))
    images, _ = batch(64)
    network(images)
    default, relative = spreads.copy(), lambda stds: max(stds) / min(stds)
    spreads.clear()
    initialize_kaiming(network)
    network(images)
    assert relative(spreads) < 4
    assert name == "Q2_2" or relative(default) > 4
    assert all(layer.bias.eq(0).all() for layer in network.layers if hasattr(layer, "bias"))
    linear = [layer for layer in network.layers if isinstance(layer, nn.Linear)]
    gains = [layer.weight.std().item() * math.sqrt(layer.in_features) for layer in linear]
    usual = 1.0 if name == "Q2_2" else math.sqrt(2)
    assert gains[:-1] == pytest.approx([usual] * (len(linear) - 1), rel=0.05)
    assert gains[-1] == pytest.approx(1.0, rel=0.1)


# ---- flipped images ----


@pytest.mark.parametrize("shuffle", ["none", "fixed"])
def test_flip_mirrors_each_half_every_other_epoch(shuffle):
    sample = make_images(300)
    loader = Loader(sample, TRAIN, 7, shuffle, shuffle_seed=3, flip=True)
    mirrored = Images(sample.pixels.flip(3), sample.labels)
    plain, other = (
        torch.cat([pixels.clone() for pixels, _ in Loader(images, TRAIN, 7, shuffle, shuffle_seed=3).epoch(1)])
        for images in (sample, mirrored)
    )
    flipped = []
    for epoch in (1, 2, 3):
        seen = torch.cat([pixels.clone() for pixels, _ in loader.epoch(epoch)])
        is_plain, is_flipped = ((seen == way).flatten(1).all(1) for way in (plain, other))
        assert (is_plain ^ is_flipped).all()
        flipped.append(is_flipped)
    assert 100 < flipped[0].sum() < 200
    assert torch.equal(flipped[0], ~flipped[1])
    assert torch.equal(flipped[0], flipped[2])


# ---- on a device ----


def test_device_permutations_differ_by_image_chunk_and_epoch():
    one = make_images(1)
    same = Images(one.pixels.expand(40, -1, -1, -1), torch.zeros(40, dtype=torch.int64))
    loader = Loader(same, TRAIN, 5)
    draw = lambda epoch, chunk: loader._permute_on_device(torch.arange(40), (1, TRAIN, epoch, chunk), map)
    seen = torch.cat([draw(1, 0), draw(1, 1), draw(2, 0)])
    assert len({tuple(image.flatten().tolist()) for image in seen}) == 120
    colours = {tuple(sorted(map(tuple, image.tolist()))) for image in seen}
    assert colours == {tuple(sorted(map(tuple, one.pixels[0].flatten(1).T.tolist())))}
    assert torch.equal(draw(1, 0), draw(1, 0))


def test_device_losses_are_read_once_an_epoch(monkeypatch):
    class OnCuda(torch.Tensor):
        device = property(lambda self: torch.device("cuda"))

    reads = []
    add_up = ex1.add_up
    monkeypatch.setattr(ex1, "add_up", lambda *args: (reads.append(len(args[1])), add_up(*args))[1])
    tallies = []
    for kind in (torch.Tensor, OnCuda):
        network = build()
        chunks = [
            (pixels.clone(), labels.as_subclass(kind))
            for pixels, labels in Loader(make_images(2100), TRAIN, 100).epoch(1)
        ]
        tallies.append(ex1.train_epoch(TrainStep(network, torch.optim.SGD(network.parameters(), lr=0.01)), chunks, 100))
    assert reads == [1, 1, 1, 0, 3]
    assert tallies[0].loss == pytest.approx(tallies[1].loss, rel=1e-6)
    assert (tallies[0].right, tallies[0].images, tallies[0].steps) == (tallies[1].right, 2100, 21)


# ---- threads and precision ----


def test_threads_follow_the_work_of_a_step_and_the_cores(monkeypatch):
    monkeypatch.setattr(steps, "cores", lambda: 8)
    macs = {name: machine.count_macs(build(name)) for name in ("Q1_1", "Q1_19")}
    assert machine.threads_that_pay(macs["Q1_1"], 4) == 1
    assert machine.threads_that_pay(macs["Q1_19"], 4) == 7
    assert machine.threads_that_pay(macs["Q1_1"], 128) == 4
    assert machine.threads_that_pay(macs["Q1_19"], 128) == 8


def test_threads_are_picked_by_a_run_and_one_in_a_batch(monkeypatch):

    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr(steps, "cores", lambda: 3)
    network, cpu = build("Q1_19"), torch.device("cpu")
    for arguments in ("Q1_19", "Q1_19 --threads 2"):
        config = cli.parse(["--model-name", *arguments.split()]).config()
        machine.set_up(config, network, cpu, None)
    for threads in (2, 5, -1, "2"):  # of the run that it goes on with
        machine.set_up(Config("Q1_19"), network, cpu, {"machine": {"threads": threads}})
    for run in cli.parse(["--model-name", "Q1_19", "--seeds", "0-1"]).runs():
        machine.set_up(run.config(), network, cpu, None)
    assert used == [3, 2, 2, 3, 3, 3, 1, 1]


@pytest.mark.parametrize(("speedup", "expected"), [(2.0, "bf16"), (1.1, "fp32"), (0.2, "fp32")])
def test_bf16_is_used_where_it_measures_clearly_faster(monkeypatch, speedup, expected):
    now = 0.0

    @contextlib.contextmanager
    def autocast(device, precision):
        nonlocal now
        now += 1 / speedup if precision == "bf16" else 1
        yield

    monkeypatch.setattr(steps, "autocast", autocast)
    monkeypatch.setattr(steps.time, "perf_counter", lambda: now)
    before = torch.get_rng_state()
    assert machine.fastest_precision(torch.device("cpu")) == expected
    assert torch.equal(before, torch.get_rng_state())


def test_precision_is_measured_once_and_then_kept():
    network, cpu = build(), torch.device("cpu")
    config = Config("Q1_1", precision="auto", threads=1)
    for precision in ("bf16", "fp32"):
        saved = {"machine": {"threads": 1, "precision": precision}}
        assert machine.set_up(config, network, cpu, saved) == precision
        fixed = Config("Q1_1", precision=precision, threads=1)
        assert machine.set_up(fixed, network, cpu, {"machine": {"precision": "other"}}) == precision


def test_bf16_computes_nearly_the_same_with_weights_in_fp32():
    images, labels = batch(64)
    logits, changed = [], []
    for precision in ("fp32", "bf16"):
        network = build("Q1_19")
        step = TrainStep(network, make_optimizer(network, Config("Q1_19", lr=0.1)), precision)
        logits.append(step(images, labels))
        changed.append(weights(network) - weights(build("Q1_19")))
        assert weights(network).dtype == logits[-1].dtype == torch.float32
    assert not torch.equal(*logits)
    assert torch.allclose(*logits, atol=0.01)
    assert F.cosine_similarity(*changed, dim=0) > 0.99


# ---- compiled, and as a CUDA graph ----


def test_compile_that_fails_is_gone_without(monkeypatch):
    def no_compiler(network):
        def fail(images):
            raise RuntimeError("no C++ compiler\nis here")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    said = []
    network, twin = build(), build()
    step = TrainStep(network, make_optimizer(network, Config("Q1_1")), compiled=True, warn=said.append)
    plain = TrainStep(twin, make_optimizer(twin, Config("Q1_1")))
    for seed in range(3):
        assert torch.equal(step(*batch(4, seed)), plain(*batch(4, seed)))
    assert torch.equal(weights(network), weights(twin))
    assert said == ["--compile: going on without, it failed here: RuntimeError: no C++ compiler"]


def test_compiled_network_is_stepped_with(monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda network: lambda images: (calls.append(1), network(images))[1])
    network = build()
    step = TrainStep(network, make_optimizer(network, Config("Q1_1")), compiled=True, warn=pytest.fail)
    step(*batch(4))
    assert calls == [1]


@pytest.fixture
def graphs(monkeypatch):
    """A stand-in for CUDA's graphs on the CPU: what is captured is undone, and done for each replay."""

    class Stream:
        def __init__(self, device=None):
            pass

        def wait_stream(self, other):
            pass

    class Graph:
        def replay(self):
            self.body()

    @contextlib.contextmanager
    def capture(graph, stream):
        take = GraphedStep.take

        def take_later(self, forward, images, labels):
            logits = torch.empty(len(labels), 10)
            graph.body = lambda: logits.copy_(take(self, forward, images, labels))
            return logits

        monkeypatch.setattr(GraphedStep, "take", take_later)
        yield
        monkeypatch.setattr(GraphedStep, "take", take)

    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", capture)
    return Graph


def graphed_and_plain(warn):
    network, twin = build(), build()
    graphed = GraphedStep(network, make_optimizer(network, Config("Q1_1")), warn=warn, batch_size=4)
    return graphed, TrainStep(twin, make_optimizer(twin, Config("Q1_1")))


def test_graph_takes_the_same_steps(graphs, monkeypatch):
    replays = []
    replay = graphs.replay
    monkeypatch.setattr(graphs, "replay", lambda self: (replays.append(1), replay(self))[1])
    graphed, plain = graphed_and_plain(pytest.fail)
    sizes = [4, 2, 4, 4, 4, 4, 2, 4]
    outputs = []
    for seed, size in enumerate(sizes):
        for step in (graphed, plain):
            step.set_learning_rate(0.01 * (seed + 1))
            outputs.append(step(*batch(size, seed)))
    for ours, theirs in zip(outputs[::2], outputs[1::2]):
        assert torch.allclose(ours, theirs, atol=1e-6)
    assert torch.allclose(weights(graphed.network), weights(plain.network), atol=1e-6)
    assert len(replays) == sizes.count(4) - steps.WARM_UP_STEPS


def test_graph_that_cannot_be_captured_is_gone_without(graphs, monkeypatch):
    @contextlib.contextmanager
    def fails(graph, stream):
        raise RuntimeError("operation not permitted when stream is capturing")
        yield

    monkeypatch.setattr(torch.cuda, "graph", fails)
    said = []
    graphed, plain = graphed_and_plain(said.append)
    for seed in range(6):
        assert torch.allclose(graphed(*batch(4, seed)), plain(*batch(4, seed)), atol=1e-6)
    assert torch.allclose(weights(graphed.network), weights(plain.network), atol=1e-6)
    assert len(said) == 1
    assert "--cuda-graph: going on without, it failed here: RuntimeError: operation not permitted" in said[0]
