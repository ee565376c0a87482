"""How long runs take: a few steps of each network are timed, and the runs are dealt out to the processes."""

import heapq
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

import data
import models
import native
from experiments import trial
from runner import machine
from runner.config import Config
from runner.step import initialize

MIN_SECONDS, MIN_STEPS = 0.2, 5  # that are timed of each network and batch size
# Besides its epochs: to start a process, draw figures and write files. Measured on two cores of 2020.
RUN_SECONDS = 4.0


@dataclass(frozen=True)
class Speed:
    """How fast a network computes here."""

    step: float  # seconds of a step of training
    image: float  # seconds of an image of validation


@dataclass
class Forecast:
    """Measures each network at each batch size once."""

    dataset: data.Dataset

    def __post_init__(self) -> None:
        self.known: dict[tuple, Speed] = {}

    def seconds(self, config: Config, epochs: int) -> float:
        """Estimate how long so many epochs of a run take, with its beginning and its end."""
        key = tuple(getattr(config, name) for name in ("model_name", "batch_size", "optimizer", "precision", "step"))
        if key not in self.known:
            self.known[key] = measure(config, len(self.dataset.classes))
        train, val, test = (len(images) for images in data.split(self.dataset, config))
        steps, speed = math.ceil(train / config.batch_size), self.known[key]
        return RUN_SECONDS + epochs * (steps * speed.step + val * speed.image)


def measure(config: Config, classes: int) -> Speed:
    """Time some steps of a run on noise, and its validation."""
    spec, model = models.find(config.model_name), models.build(config.model_name, classes)
    initialize(model, config)
    with spec.beside:
        here = machine.set_up(config, machine.count_macs(model), machine.pick_device(config))
        here, library = native.set_up(config, spec, here, classes)
        step = native.make_step(model, config, here, library)
        noise = trial.noise(model, config.batch_size, here.device)
        labels = torch.arange(config.batch_size, device=here.device) % classes
        step.lr = config.lr / 1000  # as far from diverging as may be

        def train() -> None:
            step(noise, labels)

        many = trial.noise(model, data.EVAL_BATCH, here.device)

        @torch.no_grad()
        def validate() -> None:
            with machine.autocast(here.device, here.precision):
                model(many)

        model.train()
        of_step = time_calls(train, here.device)
        model.eval()
        return Speed(of_step, time_calls(validate, here.device) / data.EVAL_BATCH)


def time_calls(call: Callable[[], object], device: torch.device) -> float:
    """Time a function, in seconds a call, once it has been called before."""
    call()
    machine.synchronize(device)
    began, calls = time.perf_counter(), 0
    while calls < MIN_STEPS or time.perf_counter() - began < MIN_SECONDS:
        call()
        calls += 1
    machine.synchronize(device)
    return (time.perf_counter() - began) / calls


def makespan(running: Iterable[float], waiting: Sequence[float], slots: int) -> float:
    """Reckon when all is done: what is running ends after so many seconds, and each end begins what waits first."""
    ends = [*running]
    ends += [0.0] * (slots - len(ends))
    heapq.heapify(ends)
    for seconds in waiting:
        heapq.heappush(ends, heapq.heappop(ends) + seconds)
    return max(ends, default=0.0)
