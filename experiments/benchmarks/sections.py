"""What is measured: each section times contenders side by side and returns a part of the page.

In each round every contender takes its turn, so that whatever else the machine does meets them all alike. A ratio is
the median of the rounds' own ratios; its spread is their lowest and highest.
"""

import gc
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median

import torch

import models
import utils
from data import Dataset
from experiments.benchmarks import gpu as on_gpu
from experiments.benchmarks.contenders import (
    UNTIMED,
    BareStep,
    Contender,
    Lightning,
    MatrixProduct,
    NoDataLoop,
    Textbook,
    ThisRepo,
)
from report import results
from report.page import Block, Figure, Heading, Row, Table, Text
from report.plots import COLOURS_PER_FIGURE
from report.text import Cell, number_cell
from runner import machine
from runner.config import PUBLISHED_SHUFFLES
from runner.errors import RunnerError
from runner.machine import PROJECT, count_macs

SIZES = (("Q1_1", 4, 2048), ("Q1_1", 128, 128), ("Q1_19", 4, 256), ("Q1_19", 128, 16))  # model, batch, steps of a turn
TEXTBOOK_STEPS = 300  # by which an epoch of the textbook loop is reckoned where whole ones would take too long


@dataclass(frozen=True)
class Bench:
    """What a section works with."""

    dataset: Dataset  # real images
    data_dir: Path  # where they are
    batches: Path  # a folder with the same images as torchvision reads them
    rounds: int  # turns of each contender
    out: Path  # the folder of the page, which figures are written to
    classic: Path  # results of the classic recipe, whose best epochs the fast one has to reach


def alternate(entries: Sequence[Callable[[int], float]], steps: int, rounds: int) -> list[list[float]]:
    """Measure the seconds of a step of each contender in each round, after a round that does not count."""
    times: list[list[float]] = [[] for _ in entries]
    for turn in range(rounds + 1):
        for entry, own_times in zip(entries, times):
            gc.collect()  # ends the workers of contenders before
            seconds = entry(steps if turn else min(steps, UNTIMED))
            if turn:
                own_times.append(seconds)
    return times


def ratios(times: Sequence[float], base: Sequence[float]) -> str:
    """Format ``times`` over ``base``, round by round: the median, and the lowest and highest."""
    each = [a / b for a, b in zip(times, base, strict=True)]
    return f"{median(each):.3f} ({min(each):.3f} … {max(each):.3f})"


def milliseconds(times: Sequence[float]) -> Cell:
    return number_cell(1e3 * median(times), 3)


def overhead(bench: Bench) -> list[Block]:
    """Measure what our loop adds to the steps themselves."""
    rows: list[Row] = []
    for threads in (1, 0):
        for model, batch_size, steps in SIZES:
            settings = {"batch_size": batch_size, "threads": threads, "step": "torch"}  # which the bare limit takes
            ours = [ThisRepo(model, bench.dataset, shuffle=name, **settings) for name in PUBLISHED_SHUFFLES]
            if threads == 0 and ours[0].threads == 1:
                continue  # the same as above
            limit, *times = alternate([NoDataLoop(ours[0]), *ours], steps, bench.rounds)
            for name, own in zip(PUBLISHED_SHUFFLES, times):
                facts = [model, str(batch_size), name, str(ours[0].threads)]
                rows.append([*facts, milliseconds(limit), milliseconds(own), ratios(own, limit)])
    about = (
        "The bare limit is the same network, batch size, optimiser and number of threads on one batch that is there "
    )
    about += "already, so without any data."
    columns = ("model", "batch", "shuffle", "threads", "bare limit, ms/step", "ours, ms/step", "ours / limit")
    return [Heading("Overhead"), Text(about), Table(columns, rows)]


def classic(bench: Bench) -> list[Block]:
    """Measure the classic recipe against the textbook loop and Lightning."""
    rows: list[Row] = []
    about = "Batches of 4; an epoch is its steps' median time, workers being started already. The first of ours is the "
    about += "default."
    for model, steps in (("Q1_1", 2000), ("Q1_19", 400)):
        entries: list[Contender] = [ThisRepo(model, bench.dataset)]
        entries += [ThisRepo(model, bench.dataset, threads=1, step=kind) for kind in ("native", "torch")]
        entries += [Textbook(model, bench.batches, workers) for workers in (2, 0)]
        try:
            entries.append(Lightning(model, bench.batches, 2))
        except ImportError:
            about = f"{about.removesuffix(' Lightning is not installed.')} Lightning is not installed."
        times = alternate(entries, steps, bench.rounds)
        for entry, own in zip(entries, times):
            epoch = median(own) * len(bench.dataset.train) / 4
            cells = milliseconds(own), number_cell(epoch, 1), ratios(own, times[0])
            rows.append([model, entry.name, str(entry.threads), *cells])
    columns = ("model", "contender", "threads", "ms/step", "s/epoch", "time / the first")
    return [Heading("The classic recipe"), Text(about), Table(columns, rows)]


OPERATIONS = 6  # of a step, for a multiply-accumulate of its forward pass: two forward, and twice that backward


def step(bench: Bench) -> list[Block]:
    """Measure the step that is compiled for a network against PyTorch's, and both against a matrix product."""
    rows: list[Row] = []
    shares: dict[str, tuple[float, float]] = {}
    peaks: list[float] = []
    for spec in models.TABLE:
        eager, native = (ThisRepo(spec.name, bench.dataset, threads=1, step=kind) for kind in ("torch", "native"))
        operations = OPERATIONS * count_macs(eager.model) * eager.config.batch_size
        steps = max(5, round(3e9 / (operations + 15e6)))
        entries: list[Contender] = [MatrixProduct(), NoDataLoop(eager, time.process_time), BareStep(native)]
        peak, *times = alternate(entries, steps, bench.rounds)
        plain, own = ([operations * best / one for best, one in zip(peak, each)] for each in times)
        shares[spec.name] = median(plain), median(own)
        peaks += [1e-9 / best for best in peak]
        percents = [f"{100 * median(own):.0f} % ({100 * min(own):.0f} … {100 * max(own):.0f})"]
        percents.insert(0, f"{100 * median(plain):.0f} %")
        rows.append([spec.name, *map(milliseconds, times), ratios(*times), *percents])
    about = (
        "Batches of 4, fp32, one thread, processor time; the bare step, on one batch that is there already. The share "
        "is that of the operations of a matrix product at its fastest, in the same round: "
        f"{median(peaks):.0f} billion a second ({min(peaks):.0f} … {max(peaks):.0f}). A step counts as {OPERATIONS} "
        "operations for each multiply-accumulate of its forward pass. The native step does fewer: behind a pool it "
        "goes back over one pixel of four, so that its share may be above what its instructions come to."
    )
    columns = ("model", "PyTorch, ms/step", "native, ms/step", "PyTorch / native", "PyTorch, share", "native, share")
    return [
        Heading("The native step"),
        Text(about),
        Table(columns, rows),
        plot_shares(bench.out / "shares.png", shares),
    ]


MODELS_OF_RULE = ("Q1_1", "Q1_4", "Q1_10", "Q1_11", "Q1_20", "Q1_19", "Q2_1")


def rule(bench: Bench) -> list[Block]:
    """Measure where the native step is faster than PyTorch's, by which ``--step auto`` and ``--precision auto`` go."""
    others = [(precision, threads) for precision in ("fp32", "bf16") for threads in (1, 2)]
    rows: list[Row] = []
    for batch_size in (4, 16, 64, 128):
        for model in MODELS_OF_RULE:
            every = [("native", "fp32", 1), *(("torch", *other) for other in others)]
            entries = []
            for step, precision, threads in every:
                settings = dict(batch_size=batch_size, step=step, precision=precision, threads=threads)
                entries.append(BareStep(ThisRepo(model, bench.dataset, **settings), time.perf_counter))
            work = batch_size * count_macs(entries[0].step.model)
            own, *times = alternate(entries, max(5, round(3e9 / (OPERATIONS * work + 15e6))), bench.rounds)
            versus = [ratios(each, own) for each in times]
            rows.append([model, str(batch_size), number_cell(work / 1e6, 0), milliseconds(own), *versus])
    columns = [f"PyTorch, {precision}, {threads} thread{'s' * (threads > 1)} / native" for precision, threads in others]
    about = "The bare step, fp32 on one thread, against PyTorch's in wall time. The work is that of a forward pass."
    heading = Heading("Where the native step pays")
    return [heading, Text(about), Table(("model", "batch", "million MACs", "native, ms/step", *columns), rows)]


@utils.own_style()
def plot_shares(path: Path, shares: Mapping[str, tuple[float, float]]) -> Figure:
    """Plot the share of a matrix product's speed that the steps of each network reach, PyTorch's and the native one."""
    figure = utils.new_figure(7, 6.5, "A step in batches of 4, one thread, against a matrix product")
    axes = figure.subplots()
    places = range(len(shares))
    for number, (label, colour) in enumerate((("PyTorch's step", utils.GREY), ("native step", utils.BLUE))):
        values = [100 * pair[number] for pair in shares.values()]
        axes.barh([place + 0.4 * number - 0.2 for place in places], values, 0.4, color=colour, label=label)
    axes.set_yticks(places, shares)
    axes.invert_yaxis()
    axes.set(xlabel="operations a second, % of those of a matrix product on the same core", xlim=0)
    axes.grid(alpha=0.3, axis="x")
    axes.legend(frameon=False)
    alt = "The share of a matrix product's speed that the steps of each network reach"
    return Figure(path, alt, utils.save_figure(figure, path, COLOURS_PER_FIGURE))


PEAK = """
def peak():
    "In MB. What getrusage says would begin with the memory of the process that started this one."
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) * 1024 / 1e6 for line in file if line.startswith("VmHWM"))
"""

# Writes the seconds to the first step of a run, or the memory of a whole one, to standard error.
PROBE = f"""{PEAK}
import os, sys, time
import torch
imported, bare = time.perf_counter(), peak()
import ex1
from runner import cli
from runner.step import TrainStep
def first(*args):
    os.write(2, str(time.perf_counter() - imported).encode())
    os._exit(0)
if sys.argv.pop(1) == "start":
    TrainStep.__call__ = first
ex1.main(cli.parse())
os.write(2, str(peak() - bare).encode())
"""


def seconds(*command: str) -> float:
    """Measure the seconds that a command of Python's takes, as a whole."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def probe(bench: Bench, what: str, *options: str) -> float:
    """Run ``PROBE`` for what it measures, ``start`` or ``memory``, of a run of Q1_1."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-c", PROBE, what, "--model-name", "Q1_1", "--results-dir", folder, "--quiet"]
        command += ["--data-dir", str(bench.data_dir.resolve()), *options]
        return float(subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, encoding="utf-8").stderr)


def start(bench: Bench) -> list[Block]:
    """Measure how long a command takes to begin, and how much memory a run takes."""
    entries: dict[str, Callable[[], float]] = {
        "python ex1.py -h": lambda: seconds("ex1.py", "-h"),
        "python ex1.py --list-models": lambda: seconds("ex1.py", "--list-models"),
        "python -c 'import torch'": lambda: seconds("-c", "import torch"),
        "the first step of Q1_1, after import torch": lambda: probe(bench, "start"),
    }
    measured: dict[str, list[float]] = {what: [] for what in entries}
    for _ in range(bench.rounds):
        for what, entry in entries.items():
            measured[what].append(entry())
    rows: list[Row] = [
        [what, number_cell(median(times), 2), f"{min(times):.2f} … {max(times):.2f}"]
        for what, times in measured.items()
    ]
    memory: list[Row] = []
    for options in ("--shuffle none", "--shuffle fixed", "--shuffle per-image", "--val holdout", "--recipe fast"):
        peak = probe(bench, "memory", *options.split(), "--epochs", "1", "--batch-size", "128")
        memory.append([options, number_cell(peak, 0)])
    about = "The peak of a whole run of Q1_1, beyond that of Python with torch imported; batches of 128, one epoch."
    table = Table(("what", "median, s", "spread, s"), rows)
    return [Heading("Start"), table, Heading("Memory"), Text(about), Table(("options", "MB"), memory)]


def textbook_epoch(bench: Bench, model: str, workers: int) -> float:
    """Reckon the seconds of an epoch of the textbook loop, without its validation, from some of its steps."""
    gc.collect()  # ends the workers of contenders before
    return Textbook(model, bench.batches, workers)(TEXTBOOK_STEPS) * len(bench.dataset.train) / 4


def run(bench: Bench, folder: str, *options: str) -> float:
    """Have ``ex1.py`` train what ``options`` say, as a user would; return the seconds of the whole command."""
    return seconds("ex1.py", *options, "--quiet", "--results-dir", folder, "--data-dir", str(bench.data_dir.resolve()))


def batch(bench: Bench) -> list[Block]:
    """Measure all models, an epoch each: a sweep of ours against the textbook loop, one model after another."""
    names = [model.name for model in models.TABLE]

    def one_after_another() -> dict[int, float]:
        return {workers: sum(textbook_epoch(bench, name, workers) for name in names) for workers in (2, 0)}

    before = one_after_another()
    with tempfile.TemporaryDirectory() as folder:
        ours = run(bench, folder, "--model-name", "all", "--epochs", "1")
    after = one_after_another()
    rows: list[Row] = [["./run_all.sh --epochs 1, whole", number_cell(ours, 0), "1.000"]]
    for workers in before:
        both = before[workers], after[workers]
        what = f"textbook loop, num_workers={workers}, training alone"
        rows.append([what, number_cell(fmean(both), 0), ratios(both, (ours, ours))])
    about = (
        f"All {len(names)} models, one epoch of the classic recipe each. Ours is the whole command: start, training, "
        "validation, figures and the report. The textbook loop's time is that of its steps alone, "
        f"{TEXTBOOK_STEPS} of each model before and as many after, for as many as an epoch has."
    )
    return [Heading("A sweep"), Text(about), Table(("what", "s", "time / ours"), rows)]


FAST_COLUMNS = (
    "model", "classic: its best epoch", "fast: last epoch, 3 seeds", "reached by", "computed by",
    "textbook loop to that epoch, s", "fast to it, s", "fast, whole command, s", "textbook / fast",
)  # fmt: skip


def fast(bench: Bench) -> list[Block]:
    """Measure the fast recipe's time to the accuracy of the classic one's best epoch, of which there must be runs."""
    study = results.read_study(bench.classic / bench.dataset.slug)
    if not study.is_classic:
        raise RunnerError(f"most runs in {bench.classic} are not of the classic recipe")
    rows: list[Row] = []
    for model in ("Q1_1", "Q1_11", "Q1_19"):
        # What is to be reached: the mean over the seeds of each run's best epoch.
        group = study.groups[model, "none"]
        tops = [max(one.history, key=lambda row: row["val_accuracy"]) for one in group.runs.values()]
        best, epochs = (fmean(top[column] for top in tops) for column in ("val_accuracy", "epoch"))

        # Each seed's fast run, whole, after as many epochs of the textbook loop.
        loops: dict[int, list[float]] = {2: [], 0: []}
        trained, commands, reached, last = [], [], [], []
        for seed in range(3):
            for workers, times in loops.items():
                times.append(epochs * textbook_epoch(bench, model, workers))
            with tempfile.TemporaryDirectory() as folder:
                options = ("--model-name", model, "--recipe", "fast", "--seed", str(seed))
                commands.append(run(bench, folder, *options))
                one = results.read_run(next(Path(folder).glob(f"*/{model}/*/config.json")).parent)
            history = one.history
            reached.append(next((row["epoch"] for row in history if row["val_accuracy"] >= best), math.inf))
            trained.append(sum(row["seconds"] for row in history if row["epoch"] <= reached[-1]))
            last.append(history[-1]["val_accuracy"])

        facts = [model, f"{best:.1f} % after {epochs:.1f} of {group.epochs} (n = {len(tops)})"]
        facts += [f"{fmean(last):.1f} % ({min(last):.1f} … {max(last):.1f})"]
        facts += [f"{sum(map(math.isfinite, reached))} of 3"]
        facts += [f"{one.machine['computed_by']}, {one.machine['precision']}, threads: {one.machine['threads']}"]
        spent = number_cell(median(trained), 1), number_cell(median(commands), 1)
        for workers, times in loops.items():
            rows.append([*facts, f"num_workers={workers}: {median(times):.0f}", *spent, ratios(times, trained)])
    about = (
        "Time to the mean accuracy of the best epochs of the classic runs, on the test images; "
        "seconds of training without validation, for both, and to the end of a fast run that doesn't reach it. The "
        "textbook loop's time is that of its steps, measured before each fast run, for as many epochs."
    )
    here = machine.describe(machine.Machine(torch.device("cpu"), machine.fastest_precision(torch.device("cpu")), 0))
    title = f"The fast recipe: {here['device_name']}, {machine.cores()} cores, {here['precision']}"
    return [Heading(title), Text(about), Table(FAST_COLUMNS, rows)]


def growth(bench: Bench) -> list[Block]:
    """Measure how the time of an epoch grows with images and with the network."""
    # Images: the time for one should not depend on how many there are.
    counts, rounds = (1_000, 5_000, 20_000, 50_000), max(3, bench.rounds // 2)
    ours = ThisRepo("Q1_1", bench.dataset, threads=1)
    entries = [lambda steps, count=count: ours(count // 4) for count in counts]
    times = alternate(entries, 1, rounds)
    rows: list[Row] = [
        [f"{count:,}", number_cell(median(own) * count / 4, 2), ratios(own, times[-1])]
        for count, own in zip(counts, times)
    ]
    blocks: list[Block] = [
        Heading("Growth"),
        Text("Q1_1, batches of 4, one thread: an epoch of so many images, and its time for an image."),
        Table(("images", "s/epoch", "time for an image / that with 50,000"), rows),
    ]

    # Networks: each beside the bare limit.
    for batch_size in (4, 128):
        points, rows = [], []
        for spec in models.TABLE:
            own = ThisRepo(spec.name, bench.dataset, threads=1, batch_size=batch_size, step="torch")
            macs = count_macs(own.model)
            limits, owns = alternate([NoDataLoop(own), own], max(8, round(8e9 / (macs * batch_size + 30e6))), rounds)
            steps = len(bench.dataset.train) / batch_size
            points.append((macs, median(owns) * steps, median(limits) * steps))
            cells = number_cell(macs / 1e6, 2), *(number_cell(value, 1) for value in points[-1][1:])
            rows.append([spec.name, *cells, ratios(owns, limits)])
        figure = plot_growth(bench.out / f"growth_batch_{batch_size}.png", points, batch_size)
        columns = ("model", "million MACs", "ours, s/epoch", "bare limit, s/epoch", "ours / limit")
        blocks += [Text(f"All models, batches of {batch_size}, one thread:"), Table(columns, rows), figure]
    return blocks


@utils.own_style()
def plot_growth(path: Path, points: Sequence[tuple[int, float, float]], batch_size: int) -> Figure:
    """Plot seconds per epoch, ours and the bare limit's, against multiply-accumulates of an image, on log axes."""
    figure = utils.new_figure(7, 4.6, f"An epoch of 50,000 images in batches of {batch_size}, one thread")
    axes = figure.subplots()
    macs, ours, limits = zip(*sorted(points))
    millions = [value / 1e6 for value in macs]
    axes.plot(millions, limits, color=utils.VERMILION, lw=1.2, label="bare limit, without data")
    axes.plot(millions, ours, "o", color=utils.BLUE, label="ours")
    axes.set(xscale="log", yscale="log", xlabel="million multiply-accumulates an image", ylabel="seconds per epoch")
    utils.label_powers(axes.xaxis, axes.yaxis)
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    alt = f"Seconds per epoch against multiply-accumulates, batches of {batch_size}"
    return Figure(path, alt, utils.save_figure(figure, path, COLOURS_PER_FIGURE))


def gpu(bench: Bench) -> list[Block]:
    """Measure an epoch on a GPU, with a step that PyTorch computes as written, compiled, or recorded."""
    if not torch.cuda.is_available():
        return [Heading("On a GPU"), Text("There is no CUDA device here.")]
    rows: list[Row] = []
    for model in ("Q1_1", "Q1_19"):
        for batch_size in on_gpu.LEARNING_RATES:
            for way in on_gpu.WAYS:
                seconds, accuracy = on_gpu.measure(bench.dataset, model, batch_size, way)
                rows.append([model, str(batch_size), way, number_cell(seconds, 2), number_cell(100 * accuracy, 1)])
    about = (
        f"{torch.cuda.get_device_name()}, fp32, all images on it. The seconds are those of the training of epoch "
        f"{on_gpu.EPOCHS}, one run each; the accuracy is that after it, with a learning rate of "
        + ", ".join(f"{lr:g} for batches of {size}" for size, lr in on_gpu.LEARNING_RATES.items())
        + "."
    )
    return [Heading("On a GPU"), Text(about), Table(("model", "batch", "step", "s/epoch", "accuracy, %"), rows)]


SECTIONS: dict[str, Callable[[Bench], list[Block]]] = {
    section.__name__: section for section in (overhead, step, rule, classic, start, batch, fast, growth, gpu)
}
