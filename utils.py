"""What a run leaves for people: metrics, per-class accuracy, the parameter summary, history.csv and plots.

Accuracy in files is a fraction in [0, 1], on screen and in plots a percentage. Loss is the mean cross-entropy in nats.
"""

import contextlib
import copy
import io
import itertools
import math
import re
import shutil
import textwrap
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models import IMAGE_SHAPE, count_parameters
from runner import files
from runner.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure


# ---- metrics ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Calibration:
    """How far the probabilities that a model gives can be believed; see Guo et al., 2017, as below."""

    error: float  # expected calibration error: mean distance of confidence and accuracy, over bins of equal width
    confidence_when_wrong: float | None  # mean confidence of the wrong answers; None where there is none
    temperature: float  # that logits are divided by for the lowest loss
    scaled_loss: float  # the loss that is left then, in nats, each half of the images with the temperature of the other


@dataclass(frozen=True)
class EvalMetrics:
    """How a model does on some images."""

    loss: float  # mean cross-entropy in nats
    confusion: Tensor  # images counted by true class (row) and predicted class (column), int64 (C, C)
    # Mean probability (softmax) that is given to the predicted class. What it exceeds the accuracy by is over-
    # confidence; see Guo et al., 2017, "On Calibration of Modern Neural Networks".
    confidence: float
    calibration: Calibration | None = None  # None where no logits were at hand
    correct: Tensor | None = None  # whether each image is classified correctly, bool (N,), on the CPU

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
        return [
            correct / total if total else None for correct, total in zip(self.confusion.diagonal().tolist(), totals)
        ]

    @classmethod
    def from_dict(cls, test: Mapping[str, Any]) -> "EvalMetrics":
        """Make them of the entry of ``metrics.json``, without calibration and single images."""
        return cls(test["loss"], torch.tensor(test["confusion"]), test["confidence"])

    def as_dict(self, classes: Sequence[str]) -> dict:
        """Make the entry of ``metrics.json``."""
        calibration = {"calibration": asdict(self.calibration)} if self.calibration else {}
        correct = {}
        if self.correct is not None:  # a bit for each image, in the order that they have, from the highest of a byte
            correct["correct_images"] = np.packbits(self.correct.numpy()).tobytes().hex()
        return {
            "images": self.images,
            "loss": self.loss,
            "accuracy": self.accuracy,
            "confidence": self.confidence,
            **calibration,
            **correct,
            "per_class_accuracy": dict(zip(classes, self.per_class)),
            "confusion": self.confusion.tolist(),
            "confusion_axes": ["true class", "predicted class"],
        }


@dataclass
class RunningMetrics:
    """What an epoch of training has added up to so far: enough to go on in its middle."""

    images: int = 0  # trained on, in the chunks that are done
    loss_sum: float = 0.0  # their losses, in nats, each from before its own step
    correct: int = 0  # how many of them were classified correctly
    # Those of the steps that are done in the chunk at work, float32 (B, C) each.
    logits: list[Tensor] = field(default_factory=list)
    steps: int = 0  # done in this epoch
    seconds: float = 0.0  # of training

    @property
    def loss(self) -> float:
        return self.loss_sum / self.images

    @property
    def accuracy(self) -> float:
        return self.correct / self.images

    def accumulate(self, labels: Tensor) -> Tensor:
        """Add the steps whose logits wait, given their ``labels`` int64 (n,), and return their losses (n,) in nats."""
        logits = torch.cat(self.logits)
        losses = F.cross_entropy(logits, labels, reduction="none")
        self.images += len(labels)
        self.loss_sum += losses.sum().item()
        self.correct += int((logits.argmax(1) == labels).sum())
        self.logits.clear()
        return losses


def count_confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Count pairs of (true class, predicted class): int64 (classes, classes), on the CPU."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes).cpu()


CALIBRATION_BINS = 15


def measure_calibration(logits: Tensor, labels: Tensor) -> Calibration:
    """Measure calibration on finite logits, float32 (N, C), and labels, int64 (N,), of one image or more."""
    confidence, predicted = logits.softmax(1).double().max(1)
    right = (predicted == labels).double()

    # In a bin the images count by how many they are, so that the sums of both are all that is needed.
    bins = (confidence * CALIBRATION_BINS).long().clamp(max=CALIBRATION_BINS - 1)
    error = torch.bincount(bins, confidence - right).abs().sum().item() / len(labels)
    wrong = confidence[right == 0]

    # Every second image is one half: images often come sorted by class.
    halves = [slice(0, None, 2), slice(1, None, 2)] if len(labels) > 1 else [slice(None)] * 2
    temperatures = [fit_temperature(logits[half], labels[half]) for half in halves]
    scaled = sum(
        F.cross_entropy(logits[half].double() / temperature, labels[half], reduction="sum").item()
        for half, temperature in zip(halves, reversed(temperatures))
    ) / sum(len(labels[half]) for half in halves)
    mean_temperature = sum(temperatures) / len(temperatures)
    return Calibration(error, wrong.mean().item() if len(wrong) else None, mean_temperature, scaled)


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Find the temperature in [1/100, 100] by which logits (N, C) are divided for the lowest loss on labels (N,).

    The loss is convex in its inverse, so that its slope is bisected.
    """
    logits = logits.double()
    of_label = logits.gather(1, labels[:, None]).mean().item()
    low, high = math.log(0.01), math.log(100)
    for _ in range(25):
        middle = (low + high) / 2
        slope = ((logits * math.exp(middle)).softmax(1) * logits).sum(1).mean().item() - of_label
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


MOST_CLASSES = 20  # at either end of those that are shown one by one, by accuracy


def pick_classes(per_class: Mapping[str, float | None]) -> tuple[dict[str, float | None], str]:
    """Pick the classes that are shown one by one, the best and the worst of very many, and say so; else all."""
    if len(per_class) <= 2 * MOST_CLASSES:
        return dict(per_class), ""
    known = {name: value for name, value in per_class.items() if value is not None}
    ordered = sorted(known, key=lambda name: -known[name])
    names = dict.fromkeys([*ordered[:MOST_CLASSES], *ordered[-MOST_CLASSES:]])
    shown: dict[str, float | None] = {name: known[name] for name in names}
    return shown, f"the best and the worst {MOST_CLASSES} of {len(per_class):,} classes"


def result_lines(test: Mapping[str, Any]) -> list[str]:
    """Format a run's result, the entry ``test`` of ``metrics.json``: the accuracy on all images, then by class."""
    percent, loss = 100 * test["accuracy"], test["loss"]
    overall = f"Accuracy of the network on {test['images']:,} test images: {percent:.1f} % (loss {loss:.3f})"
    # As the published tables print it, e.g. "Accuracy of plane : 48 %".
    shown, told = pick_classes(test["per_class_accuracy"])
    width = max(map(len, shown))
    return [overall, *filter(None, [told])] + [
        f"Accuracy of {name:>{width}} : " + ("no images" if value is None else f"{100 * value:2.0f} %")
        for name, value in shown.items()
    ]


# ---- the history and the parameter summary ---------------------------------------------------------------------------


def history_row(epoch: int, train: RunningMetrics, val: EvalMetrics, classes: Sequence[str]) -> dict:
    """Make the row of ``history.csv`` of an epoch that is done."""
    calibration = {}
    if val.calibration:
        calibration = {
            "val_calibration_error": val.calibration.error,
            "val_confidence_when_wrong": val.calibration.confidence_when_wrong,
            "val_scaled_loss": val.calibration.scaled_loss,
        }
    return {
        "epoch": epoch,
        "train_loss": train.loss,
        "train_accuracy": train.accuracy,
        "val_loss": val.loss,
        "val_accuracy": val.accuracy,
        "val_confidence": val.confidence,
        **calibration,
        "seconds": train.seconds,
        "images_per_second": train.images / train.seconds,
    } | {f"val_accuracy_of_{name}": value for name, value in zip(classes, val.per_class)}


def parameter_summary(model: nn.Module) -> str:
    """Format torchsummary's table of ``model``, which must be on the CPU, with our own count of trainable parameters.

    The summary sends random numbers through a copy of the model; the global generator stays as it was. An own module
    that torchsummary can't summarise is shown as PyTorch prints it, with its parameters one by one.
    """
    from torchsummary import summary

    table, count, note = io.StringIO(), count_parameters(model), ""
    try:
        with torch.random.fork_rng(devices=[]), contextlib.redirect_stdout(table):
            summary(copy.deepcopy(model), IMAGE_SHAPE, device="cpu")
    except Exception as error:
        lines = [f"torchsummary can't make a table of this network ({type(error).__name__}).", str(model)]
        for name, weight in model.named_parameters():
            lines.append(f"{name:<40} {str([*weight.shape]):<20} {weight.numel():>12,}")
        table = io.StringIO("\n".join([*lines, ""]))
    # Its table adds up layers, each time they are used.
    counted = re.search(r"Trainable params: ([\d,]+)", table.getvalue())
    if counted and (missing := count - int(counted[1].replace(",", ""))):
        why = "counts the weight and bias of each layer alone" if missing > 0 else "counts a layer each time it is used"
        note = f" (the table adds up to {counted[1]}: it {why})"
    return f"{table.getvalue()}Trainable parameters: {count:,}{note}\n"


# ---- plots ----------------------------------------------------------------------------------------------------------

# Okabe and Ito's colours, which colour-blind readers can tell apart.
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#767676"
SCREEN_DPI = 150
PRINT_POINTS, PRINT_DPI = 8, 300  # of text, and of pictures, for a page of paper or a slide
NARROW_INCHES = 5  # a figure of less has no room for two axes side by side
LEGEND_INCHES, LETTER_INCHES = 1.6, 0.08  # of a column of a legend, at least, and of a letter in it
CIFAR10_COPY = "CIFAR-10 folder [0-9a-f]{8}"  # which one it is, config.json and the head of a report say
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Style:
    """How figures are drawn; the default is for a screen."""

    format: str = "png"  # that of a file beside the PNG: png (none), pdf or svg
    width: float | None = None  # in inches; with it all text has PRINT_POINTS
    has_titles: bool = True


_ON_SCREEN = Style()
_STYLE = ContextVar("style", default=_ON_SCREEN)


@contextlib.contextmanager
def drawn_in(style: Style) -> Iterator[None]:
    """Draw all figures inside the block in a style."""
    token = _STYLE.set(style)
    try:
        yield
    finally:
        _STYLE.reset(token)


def text_points() -> int | None:
    """Return the size that all text of a figure has; None: what each text says."""
    return PRINT_POINTS if _STYLE.get().width else None


def set_text_size(figure: "Figure") -> None:
    """Give all text of a figure the size that is asked for, if one is."""
    from matplotlib.text import Text

    if points := text_points():
        for text in figure.findobj(Text):
            text.set_fontsize(points)


@contextlib.contextmanager
def own_style() -> Iterator[None]:
    """Draw in matplotlib's default style; what the user has set of it is neither used nor changed.

    No text is taken for mathematics: it may be a name with a dollar sign. A letter that the font lacks is a box, and
    not a warning for each time that it is drawn.
    """
    import matplotlib

    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        matplotlib.rcdefaults()
        matplotlib.rcParams["text.parse_math"] = False
        yield


def new_figure(width: float, height: float, title: str) -> "Figure":
    """Make an empty figure, ``width`` × ``height`` inches or of the width that is asked for, with a title above it."""
    from matplotlib.figure import Figure

    style = _STYLE.get()
    title = re.sub(rf"( on {CIFAR10_COPY})$", " on CIFAR-10", title, count=1, flags=re.MULTILINE)
    if style.width:
        # Text of one size takes more of a small figure, so that it is higher than to scale.
        width, height = style.width, height * (style.width / width) ** (1 / 3)
    figure = Figure(figsize=(width, height), layout="constrained")
    if not style.has_titles:
        return figure
    # A space that doesn't break keeps each setting on one line.
    settings = [line.replace(" ", "\xa0").replace("\xa0·\xa0", "\xa0· ") for line in title.splitlines()[1:]]
    lines = [title.splitlines()[0], *settings]
    figure.suptitle(
        "\n".join(part for line in lines for part in textwrap.wrap(line, int(10 * width), break_on_hyphens=False)),
        fontsize=11,
    )
    return figure


def trim_height(figure: "Figure") -> None:
    """Take away what a figure of one width asked for has too much in height, as its pictures keep their shape."""
    if not _STYLE.get().width:
        return
    set_text_size(figure)
    figure.draw_without_rendering()
    boxes = [box for axes in figure.axes if (box := axes.get_tightbbox())]
    top = min([figure.bbox.y1, *(text.get_window_extent().y0 for text in figure.texts)])  # below the title
    unused = (top - max(box.y1 for box in boxes)) + min(box.y0 for box in boxes)
    figure.set_figheight(figure.get_figheight() - max(0, unused / figure.dpi - 0.1))


def add_pair(figure: "Figure", widths: tuple[float, float] = (1, 1)) -> "list[Axes]":
    """Add two axes side by side, or in a figure of one column of a paper one above the other."""
    if figure.get_figwidth() < NARROW_INCHES:
        figure.set_figheight(1.7 * figure.get_figheight())
        return [*figure.subplots(2, 1)]
    return [*figure.subplots(1, 2, width_ratios=widths)]


def add_legend(figure: "Figure", handles: "Sequence[Artist]", columns: int) -> None:
    """Add a legend below the axes, in at most so many columns, and no more than there is room for."""
    inches = max(LEGEND_INCHES, 0.6 + LETTER_INCHES * max(len(str(handle.get_label())) for handle in handles))
    columns = max(1, min(columns, int(figure.get_figwidth() / inches)))
    columns = math.ceil(len(handles) / math.ceil(len(handles) / columns))  # in lines of one length
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize=9, frameon=False)


def label_powers(*axes: "Axis") -> None:
    """Label axes with a logarithmic scale by powers such as 10⁴, which are no mathematics to matplotlib."""
    from matplotlib.ticker import LogFormatterSciNotation

    class Powers(LogFormatterSciNotation):
        def __call__(self, x: float, pos: int | None = None) -> str:
            text = super().__call__(x, pos)  # as mathematics
            text = re.sub(r"\^\{([-\d]+)\}", lambda power: power[1].translate(SUPERSCRIPTS), text)
            return re.sub(r"\\mathdefault|[${}]", "", text).replace(r"\times", "×")

    for axis in axes:
        axis.set_major_formatter(Powers())
        axis.set_minor_formatter(Powers())


def save_figure(figure: "Figure", path: Path, colours: int | None = None) -> bytes:
    """Write a PNG, and return its bytes; with 256 ``colours`` a figure takes about a third of them."""
    set_text_size(figure)
    style = _STYLE.get()
    if style.format != "png":
        nobody_asks_when = {"CreationDate": None} if style.format == "pdf" else {"Date": None}
        figure.savefig(buffer := io.BytesIO(), format=style.format, metadata=nobody_asks_when)
        files.write_file(path.with_suffix(f".{style.format}"), buffer.getvalue())
    dpi = PRINT_DPI if style.width else SCREEN_DPI
    figure.savefig(buffer := io.BytesIO(), format="png", dpi=dpi)
    if colours:
        from PIL import Image

        picture = Image.open(buffer).convert("RGB").quantize(colours)
        picture.save(buffer := io.BytesIO(), format="png", optimize=True, dpi=(dpi, dpi))
    files.write_file(path, content := buffer.getvalue())
    return content


@own_style()
def plot_curves(path: Path, title: str, history: Sequence[dict], validated_on: str) -> None:
    """Plot loss and accuracy over the epochs, training and validation."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(9, 4, title)
    epochs = [row["epoch"] for row in history]
    for axes, key, scale, label in zip(
        add_pair(figure), ("loss", "accuracy"), (1, 100), ("loss (nats)", "accuracy (%)")
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
    add_legend(figure, axes.get_legend_handles_labels()[0], 2)
    save_figure(figure, path)


CURVES_SHARE = 0.01  # of the time of training that drawing the curves again and again may take


class Watch:
    """What shows a run while it trains: ``curves.png`` drawn anew after epochs, and event files for TensorBoard."""

    def __init__(self, folder: Path, title: str, validated_on: str, events: Sequence[dict] | None = None):
        """Watch a run in ``folder``; ``events`` is the history so far of one that writes event files."""
        self.folder, self.title, self.validated_on = folder, title, validated_on
        self.drawn, self.cost = time.monotonic(), 0.1  # when curves were drawn, and how long that took, in seconds
        self.events: Any = None
        if events is not None:
            # Those of a run that was stopped may be ahead of its checkpoint.
            shutil.rmtree(folder / files.EVENTS, ignore_errors=True)
            self.events = import_event_writer()(folder / files.EVENTS)
            for row in events:
                self._add_events(row)

    def show(self, history: Sequence[dict]) -> None:
        """Show an epoch more, in curves where the time since they were drawn is long against what that costs."""
        if self.events:
            self._add_events(history[-1])
            self.events.flush()
        began = time.monotonic()
        if self.cost <= CURVES_SHARE * (began - self.drawn):
            plot_curves(self.folder / files.CURVES, self.title, history, self.validated_on)
            self.drawn = time.monotonic()
            self.cost = self.drawn - began

    def close(self) -> None:
        if self.events:
            self.events.close()

    def _add_events(self, row: Mapping[str, Any]) -> None:
        for column, value in row.items():
            split, _, name = column.partition("_")
            if split in ("train", "val") and value is not None:
                self.events.add_scalar(f"{name}/{split}", value, row["epoch"])


def import_event_writer() -> Any:
    """Import what writes event files. Raises UsageError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UsageError("--tensorboard needs a package that is not installed: pip install tensorboard") from None
    return SummaryWriter


def cut_name(name: str, most: int = 30) -> str:
    """Cut the name of a class to what a figure has room for."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


@own_style()
def plot_per_class(path: Path, title: str, metrics: EvalMetrics, classes: Sequence[str]) -> None:
    """Plot the accuracy of each class as bars, with the mean and chance."""
    shown, told = pick_classes(dict(zip(classes, metrics.per_class)))
    figure = new_figure(7, max(4, 0.18 * len(shown) + 1.4), title)
    axes = figure.subplots()
    names = [cut_name(name) for name in shown]
    axes.barh(range(len(shown)), [100 * (value or 0) for value in shown.values()], color=BLUE, tick_label=names)
    for row, value in enumerate(shown.values()):
        # In a column of their own, where no bar and no line crosses them.
        text = "no images" if value is None else f"{100 * value:.0f} %"
        axes.text(1.08, row, text, transform=axes.get_yaxis_transform(), ha="right", va="center", fontsize=9)
    overall = 100 * metrics.accuracy
    axes.axvline(overall, color=VERMILION, ls="--", label=f"all classes: {overall:.1f} %")
    axes.axvline(100 / len(classes), color=GREY, ls=":", label=f"chance: {100 / len(classes):.2g} %")
    axes.set(ylabel=told, xlabel=f"accuracy (%) on {metrics.images:,} test images, last epoch", xlim=(0, 100))
    axes.invert_yaxis()
    axes.spines[["top", "right"]].set_visible(False)
    add_legend(figure, axes.get_legend_handles_labels()[0], 2)
    save_figure(figure, path)


@own_style()
def plot_confusion(path: Path, title: str, metrics: EvalMetrics, classes: Sequence[str]) -> None:
    """Plot the confusion matrix, each row in percent of its true class."""
    # Of very many classes some are named, and no number could be read.
    every, is_small = math.ceil(len(classes) / (2 * MOST_CLASSES)), len(classes) > MOST_CLASSES
    places = () if is_small else range(len(classes))
    figure = new_figure(7, 6.5, title)
    axes = figure.subplots()
    counts = metrics.confusion.double()
    percent = (100 * counts / counts.sum(1, keepdim=True).clamp(min=1)).numpy()
    image = axes.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    for row, col in itertools.product(places, places):
        value, missing = percent[row, col], counts[row].sum() == 0
        color = "white" if value > 55 else "black"
        axes.text(col, row, "–" if missing else f"{value:.0f}", ha="center", va="center", fontsize=8, color=color)
    named = range(0, len(classes), every)
    style: dict[str, Any] = {"fontsize": 6} if is_small else {}
    names = [cut_name(name) for name in classes[::every]]
    axes.set_xticks(named, names, rotation=90 if is_small else 45, ha="right", **style)
    axes.set_yticks(named, names, **style)
    axes.set(xlabel="predicted class", ylabel="true class")
    location = "bottom" if figure.get_figwidth() < NARROW_INCHES else "right"
    figure.colorbar(image, label=f"% of the true class ({metrics.images:,} test images)", shrink=0.8, location=location)
    trim_height(figure)
    save_figure(figure, path)


@own_style()
def plot_corruptions(path: Path, title: str, accuracies: Mapping[str, Sequence[float]]) -> None:
    """Show accuracies in [0, 1] by corruption and severity, and the mean of each, as a map with its numbers."""
    names = [*accuracies, "mean"]
    percent = 100 * np.array([*accuracies.values()])  # (corruptions, severities)
    percent = np.vstack([percent, percent.mean(0)])
    percent = np.column_stack([percent, percent.mean(1)])
    figure = new_figure(7, 0.34 * len(names) + 2, title)
    axes = figure.subplots()
    image = axes.imshow(percent, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (row, col), value in np.ndenumerate(percent):
        axes.text(
            col, row, f"{value:.1f}", ha="center", va="center", fontsize=8, color="black" if value > 55 else "white"
        )
    axes.set_xticks(range(percent.shape[1]), [*map(str, range(1, percent.shape[1])), "mean"])
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="severity")
    figure.colorbar(image, label="accuracy (%)", shrink=0.8)
    save_figure(figure, path)


@own_style()
def plot_samples(path: Path, title: str, rows: dict[str, Tensor], labels: Sequence[str]) -> None:
    """Show images as the model sees them: ``rows`` maps what a row shows to uint8 (len(labels), 3, 32, 32)."""
    figure = new_figure(1 + len(labels), 0.9 + 1.05 * len(rows), title)
    grid = figure.subplots(len(rows), len(labels), squeeze=False)
    for line, (name, images) in zip(grid, rows.items()):
        for axes, image in zip(line, images):
            axes.imshow(image.permute(1, 2, 0).numpy(), interpolation="nearest")
            axes.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, fontsize=9, rotation=0, ha="right", va="center")
    for axes, label in zip(grid[0], labels):
        axes.set_title(cut_name(label, 13), fontsize=9)
    save_figure(figure, path)
