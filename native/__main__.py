"""Time the native step against PyTorch's, on one core: python -m native [--batch-size N] [MODEL ...].

Both take turns, so that what else the machine does meets both. The first line is the head of a table in Markdown.
"""

import time
from statistics import median

import torch

import models
from native import compiler
from native.source import Source
from native.step import NativeStep
from runner import startup
from runner.config import Config
from runner.step import TrainStep, make_optimizer

ROUNDS, SECONDS = 9, 0.3  # of turns, and of one turn


def milliseconds(step: TrainStep, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Take steps for a while, and return the time of one."""
    steps, began = 0, time.perf_counter()
    while time.perf_counter() < began + SECONDS:
        step(images, labels)
        steps += 1
    return 1000 * (time.perf_counter() - began) / steps


def main() -> None:
    parser = startup.Parser(prog="python -m native")
    parser.add_argument("models", nargs="*", default=[spec.name for spec in models.TABLE])
    parser.add_argument("--batch-size", type=int, default=4)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = torch.randn(arguments.batch_size, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(models.CLASSES, (arguments.batch_size,))
    print("| network | PyTorch, ms per step | native, ms per step | PyTorch / native |\n|---|---:|---:|---|")
    for name in arguments.models:
        config, model, twin = Config(name), models.build(name), models.build(name)
        plain = TrainStep(model, make_optimizer(model, config))
        library = compiler.load(Source(models.find(name)).text)
        native = NativeStep(twin, make_optimizer(twin, config), library=library)
        for step in (plain, native):  # warms it up
            milliseconds(step, images, labels)
        rounds = [[milliseconds(step, images, labels) for step in (plain, native)] for _ in range(ROUNDS)]
        ratios = [first / second for first, second in rounds]
        times = " | ".join(f"{median(column):.2f}" for column in zip(*rounds))
        print(f"| {name} | {times} | {median(ratios):.1f} ({min(ratios):.1f} … {max(ratios):.1f}) |", flush=True)


if __name__ == "__main__":
    main()
