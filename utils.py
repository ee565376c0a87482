"""What a run leaves behind: its folder, checkpoints, history, parameter summary, per-class accuracy and plots.

Accuracy in files is a fraction in [0, 1], on screen and in plots a percentage. Loss is the mean cross-entropy in nats.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import hashlib
import importlib.metadata
import io
import os
import platform
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from data import Dataset
from net import count_parameters
from runner import files
from runner.config import Config

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PROJECT = Path(__file__).resolve().parent
COMMIT_VARIABLE = "RUNNER_COMMIT"


# ---- measurements ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Evaluation:
    """How a network does on some images.

    Attributes:
        loss: mean cross-entropy in nats.
        confusion: images counted by true class (row) and predicted class (column), int64 (C, C).
        confidence: mean probability (softmax) that is given to the predicted class. What it exceeds the accuracy by is
            over-confidence; see Guo et al., 2017, "On Calibration of Modern Neural Networks".
    """

    loss: float
    confusion: Tensor
    confidence: float

    @property
    def images(self) -> int:
        return int(self.confusion.sum())

    @property
    def accuracy(self) -> float:
        return self.confusion.trace().item() / self.images

    @property
    def per_class(self) -> list[float | None]:
        """The accuracy of each true class; None for a class without images."""
        totals = self.confusion.sum(1).tolist()
        return [right / total if total else None for right, total in zip(self.confusion.diagonal().tolist(), totals)]

    def as_dict(self, classes: Sequence[str]) -> dict:
        return {
            "images": self.images,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "confidence": self.confidence,
            "per_class_accuracy": dict(zip(classes, self.per_class)),
            "confusion": self.confusion.tolist(),
            "confusion_axes": ["true class", "predicted class"],
        }


@dataclass
class Tally:
    """What an epoch of training has added up to so far: enough to go on in its middle.

    Attributes:
        images: trained on, in the chunks that are done.
        loss_sum: their losses, in nats, each from before its own step.
        right: how many of them were classified rightly.
        logits: those of the steps that are done in the chunk at work, float32 (B, C) each.
        steps: done in this epoch.
        seconds: of training.
    """

    images: int = 0
    loss_sum: float = 0.0
    right: int = 0
    logits: list[Tensor] = field(default_factory=list)
    steps: int = 0
    seconds: float = 0.0

    @property
    def loss(self) -> float:
        return self.loss_sum / self.images

    @property
    def accuracy(self) -> float:
        return self.right / self.images


def history_row(epoch: int, tally: Tally, val: Evaluation, classes: Sequence[str]) -> dict:
    """What ``history.csv`` says of an epoch that is done."""
    return {
        "epoch": epoch,
        "train_loss": tally.loss,
        "train_accuracy": tally.accuracy,
        "val_loss": val.loss,
        "val_accuracy": val.accuracy,
        "val_confidence": val.confidence,
        "seconds": tally.seconds,
        "images_per_second": tally.images / tally.seconds,
    } | {f"val_accuracy_of_{name}": value for name, value in zip(classes, val.per_class)}


def count_confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Counts of (true class, predicted class), int64 (classes, classes), on the CPU."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes).cpu()


def per_class_lines(evaluation: Evaluation, classes: Sequence[str]) -> list[str]:
    """The accuracy of each class as the published tables print it, e.g. ``Accuracy of plane : 48 %``."""
    width = max(map(len, classes))
    return [
        f"Accuracy of {name:>{width}} : " + ("no images" if value is None else f"{100 * value:2.0f} %")
        for name, value in zip(classes, evaluation.per_class)
    ]


# ---- files ----------------------------------------------------------------------------------------------------------


def write_history(path: Path, dataset: str, history: Sequence[dict]) -> None:
    """Writes ``history.csv``, one row an epoch, each with the data set's name."""
    text = io.StringIO()
    writer = csv.DictWriter(text, ["dataset", *history[0]], lineterminator="\n")
    writer.writeheader()
    writer.writerows({"dataset": dataset, **row} for row in history)
    files.write_file(path, text.getvalue())


def describe_dataset(dataset: Dataset) -> dict:
    """What files say about the data of a run; together with the images themselves it is the ``Dataset`` again."""
    return {
        "name": dataset.name,
        "slug": dataset.slug,
        "source": dataset.source,
        "sha256": dataset.digest,
        "seed": dataset.seed,
        "classes": list(dataset.classes),
        "train_images": len(dataset.train),
        "test_images": len(dataset.test),
    }


def describe_machine(device: torch.device, precision: str, model_file: str = "") -> dict:
    """Versions, device, threads, precision, git commit and the SHA-256 of a file of own models, for ``config.json``."""
    packages = ("torch", "torchvision", "numpy", "matplotlib", "torchsummary")
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": ["python", *sys.argv],
        "device": str(device),
        "device_name": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name(),
        "threads": torch.get_num_threads(),
        "precision": precision,
        "platform": platform.platform(),
        "git_commit": git_commit(),
        "model_sha256": hashlib.sha256(Path(model_file).read_bytes()).hexdigest() if model_file else None,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in packages},
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """The commit of the code, ``-dirty`` where Python files were changed since; None outside a checkout.

    A copy of the code for another machine is told in ``$RUNNER_COMMIT``.
    """
    if os.environ.get(COMMIT_VARIABLE):
        return os.environ[COMMIT_VARIABLE]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    with contextlib.suppress(OSError, subprocess.SubprocessError):
        changed = git("diff", "--name-only", "HEAD", "--", "*.py")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    return None


def parameter_summary(network: nn.Module) -> str:
    """torchsummary's table of ``network``, which must be on the CPU, with our own count of trainable parameters.

    The summary sends random numbers through a copy of the network; the global generator stays as it was. An own module
    that torchsummary can't summarise is shown as PyTorch prints it.
    """
    from torchsummary import summary

    text = io.StringIO()
    try:
        with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(text):
            summary(copy.deepcopy(network), (3, 32, 32), device="cpu")
    except Exception:
        text = io.StringIO(f"{network}\n")
    return f"{text.getvalue()}Trainable parameters: {count_parameters(network):,}\n"


# ---- plots ----------------------------------------------------------------------------------------------------------

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#767676"


def new_figure(width: float, height: float, title: str) -> Figure:
    """An empty figure, ``width`` × ``height`` inches, with the run's title above it, broken between settings to fit."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    # A space that doesn't break keeps each setting on one line.
    settings = [line.replace(" ", "\xa0").replace("\xa0·\xa0", "\xa0· ") for line in title.splitlines()[1:]]
    lines = [title.splitlines()[0], *settings]
    figure.suptitle(
        "\n".join(part for line in lines for part in textwrap.wrap(line, int(10 * width), break_on_hyphens=False)),
        fontsize=11,
    )
    return figure


def save_figure(figure: Figure, path: Path, colours: int | None = None) -> None:
    """Writes a PNG; with 256 ``colours`` a figure takes about a third of the bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    if colours:
        from PIL import Image

        picture = Image.open(buffer).convert("RGB").quantize(colours)
        picture.save(buffer := io.BytesIO(), format="png", optimize=True)
    files.write_file(path, buffer.getvalue())


def run_title(config: Config, dataset: Dataset) -> str:
    """The title of every plot of a run: model and data set, then epochs, shuffle and what differs from the defaults."""
    settings = [f"{config.epochs} epoch{'s' * (config.epochs != 1)}", f"pixel shuffle: {config.shuffle}"]
    settings += [f"{name} {value}" for name, value in config.differing.items() if name != "epochs"]
    return f"{config.model_name} on {dataset.name}\n" + " · ".join([*settings, f"seed {config.seed}"])


def plot_curves(path: Path, title: str, history: Sequence[dict], validated_on: str) -> None:
    """Loss and accuracy over the epochs, training and validation."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(9, 4, title)
    epochs = [row["epoch"] for row in history]
    for axes, key, scale, label in zip(
        figure.subplots(1, 2), ("loss", "accuracy"), (1, 100), ("loss (nats)", "accuracy (%)")
    ):
        train, val = ([scale * row[f"{part}_{key}"] for row in history] for part in ("train", "val"))
        axes.plot(epochs, train, color=BLUE, marker="o", markersize=4, label="training (mean over the epoch)")
        axes.plot(epochs, val, color=VERMILION, marker="s", markersize=4, ls="--", label=f"validation ({validated_on})")
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if len(epochs) == 1:
            axes.set_xlim(0, 2)
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    save_figure(figure, path)


def plot_per_class(path: Path, title: str, evaluation: Evaluation, classes: Sequence[str]) -> None:
    """The accuracy of each class as bars, with the mean and chance."""
    figure = new_figure(7, 4, title)
    axes = figure.subplots()
    axes.barh(classes, [100 * (value or 0) for value in evaluation.per_class], color=BLUE)
    for row, value in enumerate(evaluation.per_class):
        # In a column of their own, where no bar and no line crosses them.
        text = "no images" if value is None else f"{100 * value:.0f} %"
        axes.text(1.08, row, text, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=9)
    overall = 100 * evaluation.accuracy
    axes.axvline(overall, color=VERMILION, ls="--", label=f"all classes: {overall:.1f} %")
    axes.axvline(100 / len(classes), color=GREY, ls=":", label=f"chance: {100 / len(classes):.0f} %")
    axes.set(xlabel=f"accuracy (%) on {evaluation.images:,} test images, last epoch", xlim=(0, 100))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    save_figure(figure, path)


def plot_confusion(path: Path, title: str, evaluation: Evaluation, classes: Sequence[str]) -> None:
    """The confusion matrix, each row in percent of its true class."""
    figure = new_figure(7, 6.5, title)
    axes = figure.subplots()
    counts = evaluation.confusion.double()
    percent = (100 * counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, col in ((row, col) for row in range(len(classes)) for col in range(len(classes))):
        value, missing = percent[row, col], counts[row].sum() == 0
        color = "white" if value > 55 else "black"
        axes.text(col, row, "–" if missing else f"{value:.0f}", ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(len(classes)), classes, rotation=45, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted class", ylabel="true class")
    figure.colorbar(image, label=f"% of the true class ({evaluation.images:,} test images)", shrink=0.8)
    save_figure(figure, path)


def plot_samples(path: Path, title: str, rows: dict[str, Tensor], labels: Sequence[str]) -> None:
    """Images as the network sees them: ``rows`` maps what a row shows to its images, uint8 (len(labels), 3, 32, 32)."""
    figure = new_figure(1 + len(labels), 0.9 + 1.05 * len(rows), title)
    grid = figure.subplots(len(rows), len(labels), squeeze=False)
    for line, (name, images) in zip(grid, rows.items()):
        for axes, image in zip(line, images):
            axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
    for axes, label in zip(grid[0], labels):
        axes.set_title(label, fontsize=9)
    save_figure(figure, path)
