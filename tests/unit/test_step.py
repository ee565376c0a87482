"""A step of training: what it computes, and the ways in which this machine does it."""

import contextlib
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import data
import ex1
import models
from data import TRAIN, Images, Loader
from experiments import sweep
from runner import cli, machine
from runner.config import Config
from runner.step import TrainStep, initialize_kaiming, learning_rate, make_optimizer
from tests.helpers.images import listening, make_images
from tests.helpers.training import train_epoch


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


def test_cosine_and_step_fall_from_the_highest_rate_after_a_rise():
    cosine = [learning_rate(Config("Q1_1", schedule="cosine", lr=2.0), step, 100) for step in range(101)]
    assert (cosine[0], cosine[50], cosine[100]) == (2.0, pytest.approx(1.0), pytest.approx(0.0))
    assert cosine == sorted(cosine, reverse=True)
    steps = [learning_rate(Config("Q1_1", schedule="step", lr=2.0), step, 100) for step in range(100)]
    assert steps == pytest.approx([2.0] * 50 + [0.2] * 25 + [0.02] * 25)
    for schedule in ("cosine", "step"):
        risen = Config("Q1_1", schedule=schedule, lr=2.0, warmup=0.25)
        assert [learning_rate(risen, step, 100) for step in (0, 25)] == pytest.approx([0.2, 2.0])
        assert all(learning_rate(replace(risen, warmup=1.0), step, 100) <= 2.0 for step in range(100))


def test_optimiser_is_the_one_that_is_asked_for():
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        config = Config("Q1_1", optimizer=name, lr=0.2, momentum=0.7, weight_decay=0.3)
        network, twin = build(), build()
        ours, theirs = make_optimizer(network, config), kind(twin.parameters(), 0.2, (0.7, 0.999), weight_decay=0.3)
        for weight, other in zip(network.parameters(), twin.parameters()):
            weight.grad = torch.ones_like(weight)
            other.grad = torch.ones_like(other)
        for _ in range(3):
            ours.step()
            theirs.step()
        pairs = zip(network.parameters(), twin.parameters())
        assert all(torch.allclose(weight, other, atol=1e-6) for weight, other in pairs)


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
    metrics, changed = [], []
    for smoothing in (0.0, 0.5):
        network = build()
        step = TrainStep(network, torch.optim.SGD(network.parameters(), lr=1e-3), label_smoothing=smoothing)
        metrics.append(train_epoch(step, Loader(make_images(20), TRAIN, 20), batch_size=20))
        changed.append(weights(network) - weights(build()))
    assert metrics[0].loss == metrics[1].loss
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

    class CudaLoader(Loader):
        def epoch(self, *which, **part):
            return ((pixels, labels.as_subclass(OnCuda)) for pixels, labels in super().epoch(*which, **part))

    reads = []
    add_losses = ex1.add_losses
    monkeypatch.setattr(ex1, "add_losses", lambda *args: (reads.append(len(args[1])), add_losses(*args))[1])
    metrics = []
    for kind in (Loader, CudaLoader):
        network = build()
        step = TrainStep(network, torch.optim.SGD(network.parameters(), lr=0.01))
        metrics.append(train_epoch(step, kind(make_images(2100), TRAIN, 100), batch_size=100))
    assert reads == [1, 1, 1, 3]
    assert metrics[0].loss == pytest.approx(metrics[1].loss, rel=1e-6)
    assert (metrics[0].correct, metrics[0].images, metrics[0].steps) == (metrics[1].correct, 2100, 21)


# ---- threads and precision ----


def test_threads_follow_the_work_of_a_step_and_the_cores(monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    macs = {name: machine.count_macs(build(name)) for name in ("Q1_1", "Q1_19")}
    assert machine.threads_that_pay(macs["Q1_1"], 4) == 1
    assert machine.threads_that_pay(macs["Q1_19"], 4) == 7
    assert machine.threads_that_pay(macs["Q1_1"], 128) == 4
    assert machine.threads_that_pay(macs["Q1_19"], 128) == 8


def test_threads_are_picked_by_a_run_and_one_in_a_batch(monkeypatch):
    used = []
    monkeypatch.setattr(torch, "set_num_threads", used.append)
    monkeypatch.setattr(machine, "cores", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    macs, cpu = machine.count_macs(build("Q1_19")), torch.device("cpu")

    def configs(arguments):
        return [Config.from_given(run) for run in cli.parse(["--model-name", *arguments.split()]).runs(["Q1_19"])]

    for arguments in ("Q1_19", "Q1_19 --threads 2"):
        [config] = configs(arguments)
        machine.set_up(config, macs, cpu)
    for threads in (2, 5, -1, "2"):  # of the run that it goes on with
        machine.set_up(Config("Q1_19"), macs, cpu, {"threads": threads})
    for job in sweep.plan(configs("Q1_19 --seeds 0-1")):
        machine.set_up(job.config, macs, cpu)
    assert used == [3, 2, 2, 3, 3, 3, 1, 1]


@pytest.mark.parametrize(("speedup", "expected"), [(2.0, "bf16"), (1.1, "fp32"), (0.2, "fp32")])
def test_bf16_is_used_where_it_measures_clearly_faster(monkeypatch, speedup, expected):
    now = 0.0

    @contextlib.contextmanager
    def autocast(device, precision):
        nonlocal now
        now += 1 / speedup if precision == "bf16" else 1
        yield

    monkeypatch.setattr(machine, "autocast", autocast)
    monkeypatch.setattr(machine.time, "perf_counter", lambda: now)
    before = torch.get_rng_state()
    assert machine.fastest_precision(torch.device("cpu")) == expected
    assert torch.equal(before, torch.get_rng_state())


def test_precision_is_measured_once_and_then_kept():
    macs, cpu = machine.count_macs(build()), torch.device("cpu")
    config = Config("Q1_1", precision="auto", threads=1)
    for precision in ("bf16", "fp32"):
        assert machine.set_up(config, macs, cpu, {"threads": 1, "precision": precision}).precision == precision
        fixed = Config("Q1_1", precision=precision, threads=1)
        assert machine.set_up(fixed, macs, cpu, {"precision": "other"}).precision == precision


def test_precision_that_is_open_is_fp32_with_the_native_step_else_the_faster(monkeypatch):
    monkeypatch.setattr(machine, "fastest_precision", lambda _: "bf16")
    for asked, native, torchs in (("auto", "fp32", "bf16"), ("fp32", "fp32", "fp32"), ("bf16", "bf16", "bf16")):
        config = Config("Q1_1", precision=asked, threads=1)
        here = machine.set_up(config, 1, torch.device("cpu"))
        assert [machine.settle(config, here, step).precision for step in ("native", "torch")] == [native, torchs]


@pytest.mark.parametrize(
    ("asked", "before", "step", "threads"),
    [(0, None, "native", 1), (0, None, "torch", 2), (2, None, "native", 2), (0, {"threads": 2}, "native", 2)],
)
def test_native_step_takes_one_thread_where_nobody_asked_for_more(asked, before, step, threads, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    config, had = Config("Q1_19", threads=asked), torch.get_num_threads()
    try:
        here = machine.set_up(config, 40_000_000, torch.device("cpu"), before)
        assert here.threads == 2
        assert machine.settle(config, here, step, before).threads == threads == torch.get_num_threads()
    finally:
        torch.set_num_threads(had)


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


# ---- compiled ----


def test_compile_that_fails_is_gone_without(monkeypatch):
    def no_compiler(network):
        def fail(images):
            raise RuntimeError("no C++ compiler\nis here")

        return fail

    monkeypatch.setattr(torch, "compile", no_compiler)
    said = []
    network, twin = build(), build()
    step = TrainStep(network, make_optimizer(network, Config("Q1_1")), compiled=True)
    plain = TrainStep(twin, make_optimizer(twin, Config("Q1_1")))
    with listening(warning=said.append):
        for seed in range(3):
            assert torch.equal(step(*batch(4, seed)), plain(*batch(4, seed)))
    assert torch.equal(weights(network), weights(twin))
    assert said == ["--compile: going on without, it failed here: RuntimeError: no C++ compiler"]


def test_compiled_network_is_stepped_with(monkeypatch):
    calls = []
    monkeypatch.setattr(torch, "compile", lambda network: lambda images: (calls.append(1), network(images))[1])
    network = build()
    step = TrainStep(network, make_optimizer(network, Config("Q1_1")), compiled=True)
    with listening(warning=pytest.fail):
        step(*batch(4))
    assert calls == [1]
