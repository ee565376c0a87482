"""The native step on every model and on random networks, over thousands of steps, through kills and sanitizers."""

import math
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import models
from native.step import NativeStep
from runner.config import Config
from tests.helpers.compare import assert_same_outcome
from tests.helpers.native import (
    CLASSIC,
    OTHER,
    PLAIN,
    Twin,
    agrees,
    difference,
    errors,
    make_batch,
    make_native,
    needs_compiler,
    row,
)
from tests.helpers.paths import PROJECT

pytestmark = needs_compiler
STUDY = [spec.name for spec in models.TABLE]
# Steps beside PyTorch's. All models were compared over 2,000 once; here most take fewer, for time.
STEPS = dict.fromkeys(STUDY, 200) | {"Q1_1": 2000, "Q2_1": 500}
MOST_MACS = 4e9  # of those steps, forward: the largest models take fewer still


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of these tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.mark.parametrize("name", STUDY)
def test_step_of_every_model_is_that_of_pytorch(name):
    """Beside float64 for a step, then beside PyTorch's step for many."""
    spec = models.find(name)
    for batch in (4, 2):  # 2: the rest of an epoch
        for config in (CLASSIC, OTHER, PLAIN):
            assert agrees(spec, config, batch)
    steps = min(STEPS[name], int(MOST_MACS / sum(layer.macs for layer in spec.layers()) / 4))
    losses, weights = differences_in_training(spec, Config(name), steps)
    assert losses.max() < 1e-5
    assert (weights > 1e-5).float().mean() < 0.02


def differences_in_training(spec, config, steps):
    """Differences of losses, in nats, and of weights, relative, from those of PyTorch's step on the same batches.

    Each step begins at the same weights. Else one value that rounding lets through a pool or ReLU, which happens in
    one step of a thousand, grows until the losses differ in the second digit; so do those of PyTorch in float32 from
    those in float64.
    """
    step = make_native(spec, config)
    twin = Twin(step, spec, config, torch.float32)
    batches = [make_batch(4, seed) for seed in range(50)]
    found = []
    for number in range(steps):
        images, labels = batches[number % len(batches)]
        losses = [F.cross_entropy(logits, labels).item() for logits in (twin(images, labels), step(images, labels))]
        found.append((abs(losses[1] - losses[0]), difference(step.model.parameters(), twin.model.parameters())))
        twin.take_over(step)
    return torch.tensor(found).unbind(1)


# ---- random networks ----


@st.composite
def rows(draw):
    """Rows of up to four convolutions and four layers in the head, with and without ReLU."""
    words, size = [], 32
    for _ in range(draw(st.integers(0, 4))):
        kernel = draw(st.integers(1, min(7, size)))
        padded = kernel % 2 == 1 and draw(st.booleans())
        words.append(f"{draw(st.integers(1, 40))}k{kernel}{'p' * padded}")
        size -= 0 if padded else kernel - 1
        if size > 1 and draw(st.booleans()):
            words.append("P")
            size //= 2
    head = draw(st.lists(st.one_of(st.just("D"), st.integers(1, 150).map(str)), max_size=4))
    return row(" ".join(words), " ".join(head), draw(st.sampled_from(["Q1_x", "Q2_x"])))


CONFIGS = st.builds(
    Config,
    model_name=st.just("Q1_1"),
    lr=st.floats(1e-4, 0.1),
    momentum=st.sampled_from([0.0, 0.5, 0.9]),
    weight_decay=st.sampled_from([0.0, 0.01]),
    label_smoothing=st.floats(0, 1),
).flatmap(
    lambda config: st.booleans().map(lambda on: Config(**vars(config) | {"nesterov": on and config.momentum > 0}))
)


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows(), CONFIGS, st.integers(1, 9))
def test_step_of_a_random_network_is_that_of_float64(spec, config, batch):
    assert agrees(spec, config, batch)


SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows(), CONFIGS, st.integers(1, 9))
def step_of_a_random_network_with_sanitizers(spec, config, batch):
    assert math.isfinite(errors(spec, config, batch, *SANITIZERS))


def test_sanitizers_find_nothing(tmp_path):
    """In a process that has begun with them; Python's own leaks are not looked for."""
    compiler = next(filter(None, map(shutil.which, ("gcc", "cc"))), "false")
    ask = [[compiler, f"-print-file-name={name}"] for name in ("libasan.so", "libstdc++.so.6")]
    paths = [subprocess.run(command, capture_output=True, encoding="utf-8").stdout.strip() for command in ask]
    if not all(map(os.path.isabs, paths)):
        pytest.skip("needs gcc and its libasan")
    options = {"LD_PRELOAD": " ".join(paths), "ASAN_OPTIONS": "detect_leaks=0", "CC": compiler}
    code = (
        "from tests.slow import test_native; test_native.step_of_a_random_network_with_sanitizers(); print('nothing')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PROJECT,
        env=os.environ | options | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr[-5000:]
    assert done.stdout == "nothing\n"


# ---- kills ----


class KillAtStep:
    """Makes a process end in its ``n``-th native step."""

    def __init__(self, n):
        self.n = n

    def __call__(self):
        step = NativeStep.forward_backward

        def step_or_end(self_, *batch):
            self.n -= 1
            if not self.n:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(self_, *batch)

        NativeStep.forward_backward = step_or_end


def test_resume_after_kills_is_bitwise_equal(place):
    """With dropout, a remainder batch, and a learning rate of its own for each step."""
    straight, killed = (place(name, images=(1100, 300)) for name in ("straight", "killed"))
    command = [
        "--model-name",
        "Q1_24",
        "--recipe",
        "fast",
        "--precision",
        "fp32",
        "--batch-size",
        "12",
        "--epochs",
        "2",
    ]
    command += ["--checkpoint-every", "17", "--step", "native"]
    assert straight.run(*command) == 0
    for step in (20, 80, 60):
        code = killed.run(*command, "--resume", "auto", before=KillAtStep(step))
        assert code == -signal.SIGKILL, killed.said()
    assert killed.run(*command, "--resume", "auto") == 0, killed.said()
    (folder,), (reference,) = killed.runs, straight.runs
    assert_same_outcome(folder, reference)
