"""What an epoch takes on a GPU: step by step, compiled by ``torch.compile``, and recorded as a CUDA graph."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import data
import models
from experiments.benchmarks.contenders import EX1, build
from runner.config import Config
from runner.machine import count_macs, set_up, synchronize
from runner.step import TrainStep, make_optimizer

WAYS = ("eager", "compiled", "CUDA graph")
WARM_UP = 3  # steps before a step is recorded, in which libraries pick their kernels and momentum gets its memory
LEARNING_RATES = {4: 0.001, 64: 0.01, 512: 0.03}  # by the size of a batch
EPOCHS = 2  # of which the last is timed


@dataclass
class GraphStep:
    """A step of training on batches of one size, recorded once and replayed with each call."""

    step: TrainStep
    images: Tensor  # the batch that it is recorded with, and that others are copied into
    labels: Tensor

    def __post_init__(self) -> None:
        # Recording takes steps before it, on a stream of their own; what they changed is put back.
        before = [weight.detach().clone() for weight in self.step.weights]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                self.step(self.images, self.labels)
        torch.cuda.current_stream().wait_stream(stream)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.step(self.images, self.labels)
        with torch.no_grad():
            for weight, value in zip(self.step.weights, before):
                weight.copy_(value)
                self.step.optimizer.state[weight]["momentum_buffer"].zero_()

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        self.images.copy_(images)
        self.labels.copy_(labels)
        self.graph.replay()


def measure(dataset: data.Dataset, model_name: str, batch_size: int, way: str) -> tuple[float, float]:
    """Train for ``EPOCHS`` epochs on the GPU; return the seconds of the last and the accuracy on the test images.

    What is left of an epoch behind its last whole batch is left out, as a graph is of one size.
    """
    device = torch.device("cuda")
    settings = {"batch_size": batch_size, "lr": LEARNING_RATES[batch_size]}
    config = Config.from_given({"model_name": model_name, **settings})
    model = build(model_name)
    placement = device, models.memory_format_of(model), set_up(config, count_macs(model), device).loader_threads
    images = dataset.train.take(slice(len(dataset.train) // batch_size * batch_size))
    loader = data.make_loader(images, data.TRAIN, config, *placement)
    step = TrainStep(model.to(device).train(), make_optimizer(model, config), compiled=way == "compiled")
    take: Callable[[Tensor, Tensor], object] = step
    if way == "CUDA graph":
        chunk, labels = next(iter(loader.epoch(1)))
        take = GraphStep(step, chunk[:batch_size].clone(), labels[:batch_size].clone())

    seconds = 0.0
    for epoch in range(1, EPOCHS + 1):
        synchronize(device)
        began = time.perf_counter()
        for chunk, labels in loader.epoch(epoch):
            for batch, targets in zip(chunk.split(batch_size), labels.split(batch_size)):
                take(batch, targets)
        synchronize(device)
        seconds = time.perf_counter() - began
    test = data.make_loader(dataset.test, data.TEST, config, *placement)
    result = EX1["validate"](model, test.epoch(1), len(dataset.classes))
    return seconds, result.accuracy
