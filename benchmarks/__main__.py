"""Times contenders side by side and writes a table: ``python -m benchmarks [SECTION...]``.

In each round every contender takes its turn, so that whatever else the machine does meets them all alike. A ratio is
the median of the rounds' own ratios; its spread is their lowest and highest.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import torch

import console
import pages
import sources
import utils
from benchmarks import contenders
from benchmarks.contenders import Lightning, Limit, Ours, Textbook
from data import Dataset
from pages import Cell, Heading, Table, Text

SHUFFLES = ("none", "fixed", "per-image")


def alternate(entries: Sequence[Callable[[int], float]], steps: int, rounds: int) -> list[list[float]]:
    """The seconds of a step of each contender in each round, after one that does not count."""
    times: list[list[float]] = [[] for _ in entries]
    for number in range(rounds + 1):
        for entry, own in zip(entries, times):
            gc.collect()  # ends the workers of contenders before
            seconds = entry(steps if number else min(steps, contenders.UNTIMED))
            if number:
                own.append(seconds)
    return times


def ratios(times: Sequence[float], base: Sequence[float]) -> str:
    """``times`` over ``base``, round by round: the median, and the lowest and highest."""
    each = [a / b for a, b in zip(times, base, strict=True)]
    return f"{median(each):.3f} ({min(each):.3f} … {max(each):.3f})"


def milliseconds(times: Sequence[float]) -> Cell:
    value = 1e3 * median(times)
    return Cell(f"{value:.3f}", value)


def overhead(dataset: Dataset, batches: Path, rounds: int) -> list[pages.Block]:
    """What our loop adds to the steps themselves."""
    rows = []
    for threads in (1, 0):
        for model, batch_size, steps in (("Q1_1", 4, 6000), ("Q1_1", 128, 390), ("Q1_19", 4, 600), ("Q1_19", 128, 24)):
            ours = [Ours(model, dataset, batch_size=batch_size, shuffle=name, threads=threads) for name in SHUFFLES]
            if threads == 0 and ours[0].threads == 1:
                continue  # the same as above
            limit, *times = alternate([Limit(ours[0]), *ours], steps, rounds)
            for name, own in zip(SHUFFLES, times):
                facts = [model, str(batch_size), name, str(ours[0].threads)]
                rows.append([*facts, milliseconds(limit), milliseconds(own), ratios(own, limit)])
    columns = ("model", "batch", "shuffle", "threads", "bare limit, ms/step", "ours, ms/step", "ours / limit")
    return [
        Heading("Overhead"),
        Text(
            "The bare limit is the same network, batch size, optimiser and number of threads on one batch that is "
            "there already, so without any data."
        ),
        Table(columns, rows),
    ]


def classic(dataset: Dataset, batches: Path, rounds: int) -> list[pages.Block]:
    """The classic recipe against the textbook loop and Lightning."""
    rows, notes = [], []
    for model, steps in (("Q1_1", 3000), ("Q1_19", 600)):
        entries = [Ours(model, dataset), Textbook(model, batches, 2), Textbook(model, batches, 0)]
        try:
            entries.append(Lightning(model, batches, 2))
        except ImportError:
            notes = ["Lightning is not installed."]
        times = alternate(entries, steps, rounds)
        for entry, own in zip(entries, times):
            epoch = median(own) * len(dataset.train) / 4
            facts = [model, entry.name, str(entry.threads), milliseconds(own), Cell(f"{epoch:.1f}", epoch)]
            rows.append([*facts, ratios(own, times[0])])
    columns = ("model", "contender", "threads", "ms/step", "s/epoch", "time / ours")
    return [
        Heading("The classic recipe"),
        Text(" ".join(["Batches of 4; an epoch is its steps' median time, workers being started already.", *notes])),
        Table(columns, rows),
    ]


FIRST_STEP = """
import sys, time
began = time.perf_counter()
import torch
imported = time.perf_counter()
import commands, ex1, steps
def first(self, *args):
    print(time.perf_counter() - began, imported - began, file=sys.__stdout__, flush=True)
    os._exit(0)
import os
steps.Step.__call__ = first
ex1.main(commands.parse())
"""


def start(dataset: Dataset, batches: Path, rounds: int) -> list[pages.Block]:
    """How long a command takes to begin."""

    def seconds(*command: str) -> float:
        began = time.perf_counter()
        subprocess.run([sys.executable, *command], cwd=utils.PROJECT, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - began

    def to_first_step() -> float:
        with tempfile.TemporaryDirectory() as folder:
            command = [sys.executable, "-c", FIRST_STEP, "--model-name", "Q1_1", "--results-dir", folder, "--quiet"]
            done = subprocess.run(command, cwd=utils.PROJECT, check=True, stdout=subprocess.PIPE, text=True)
        whole, imported = map(float, done.stdout.split()[-2:])
        return whole - imported

    measured = {
        "python ex1.py -h": [seconds("ex1.py", "-h") for _ in range(rounds)],
        "python ex1.py --list-models": [seconds("ex1.py", "--list-models") for _ in range(rounds)],
        "python -c 'import torch'": [seconds("-c", "import torch") for _ in range(rounds)],
        "from import torch to the first step of Q1_1": [to_first_step() for _ in range(rounds)],
    }
    rows = [
        [what, Cell(f"{median(times):.2f}", median(times)), f"{min(times):.2f} … {max(times):.2f}"]
        for what, times in measured.items()
    ]
    return [Heading("Start"), Table(("what", "median, s", "spread, s"), rows)]


SECTIONS = {"overhead": overhead, "classic": classic, "start": start}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="turns of each contender (default: 7)")
    parser.add_argument("--data-dir", default="data", metavar="DIR", help="where CIFAR-10 is (default: data)")
    parser.add_argument("--out", default="results/benchmarks.md", metavar="FILE", help="(default: %(default)s)")
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"there is no section {', '.join(sorted(unknown))}")
    warnings.simplefilter("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    dataset = sources.load("cifar10", options.data_dir, notice=console.warn, warn=console.warn)
    machine = utils.describe_machine(torch.device("cpu"), "fp32")
    blocks: list[pages.Block] = [
        Heading("Benchmarks", 1),
        Text(
            items=(
                f"Command: python -m benchmarks {' '.join(options.sections)} --rounds {options.rounds}",
                f"{machine['device_name']}, {os.cpu_count()} cores, {platform.system()}, "
                f"PyTorch {torch.__version__}, {dataset.name}, commit {(machine['git_commit'] or 'unknown')[:9]}",
                "Every contender takes its turn in each round. A ratio is the median of the rounds' ratios; in "
                "brackets, their lowest and highest.",
            )
        ),
    ]
    with tempfile.TemporaryDirectory() as folder:
        contenders.write_batches(dataset, Path(folder))
        for name in options.sections or SECTIONS:
            console.warn(f"{name} …")
            blocks += SECTIONS[name](dataset, Path(folder), options.rounds)
    out = Path(options.out)
    utils.make_folder(out.parent)
    text = pages.to_markdown(blocks, out.parent)
    utils.write_file(out, text)
    print(text)


if __name__ == "__main__":
    main()
