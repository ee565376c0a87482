"""The figures of a report: many runs side by side."""

import io
import itertools
import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import Bbox
from PIL import Image

from report import charts, page
from report.charts import percent_ends, shown_range
from report.results import SeedGroup, Study, find_frontier
from report.stats import Estimate
from runner import files
from runner.config import BLOCK_SIZES, PUBLISHED_SHUFFLES
from utils import (
    BLUE,
    GREY,
    NARROW_INCHES,
    VERMILION,
    add_legend,
    add_pair,
    cut_name,
    label_powers,
    new_figure,
    own_style,
    pick_classes,
    save_figure,
    set_text_size,
    text_points,
)

# Okabe and Ito's colours and a marker each, so that neither colour nor shape alone tells lines apart.
COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
HATCHES = ("", "////", "....", "xx")  # of bars, whose colours are alike in grey
SHUFFLE_STYLE = dict(zip(PUBLISHED_SHUFFLES, zip(COLOURS, MARKERS)))
PANELS_PER_ROW = 6
COLOURS_PER_FIGURE = 256  # a report holds all its figures and is sent around
MAX_PIXELS = 20_000_000  # of a picture that a run left, which has a tenth of that


def data_name(data: Mapping[str, Any]) -> str:
    """Name a data set in a title; which copy of CIFAR-10 it is says the head of the page."""
    return "CIFAR-10" if data["slug"].partition("-")[0] == "cifar10" else data["name"]


def _add_grid(axes: Axes, axis: Literal["both", "y"] = "both") -> None:
    axes.grid(axis=axis, alpha=0.3)
    axes.set_axisbelow(True)


def _number_epochs(axes: Axes) -> None:
    axes.set_xlabel("epoch")
    axes.locator_params(axis="x", integer=True, min_n_ticks=1)


def _save(figure: Figure, path: Path, alt: str, columns: int = 0, handles: Sequence[Artist] = ()) -> page.Figure:
    """Save a figure; one with ``columns`` gets a legend below it, by default that of its first axes."""
    if columns:
        add_legend(figure, handles or figure.axes[0].get_legend_handles_labels()[0], columns)
    return page.Figure(path, alt, save_figure(figure, path, COLOURS_PER_FIGURE))


def read_picture(path: Path, alt: str) -> page.Figure:
    """Read a PNG of a run, to show it as it is. Raises an exception of any kind where it is none, or too large."""
    content = files.read_file(path)
    _decode(content)
    return page.Figure(path, alt, content)


def _decode(content: bytes) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow only warns of a picture that would take all memory
        image = Image.open(io.BytesIO(content), formats=["PNG"])
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width:,}×{image.height:,} pixels are too many")
        return image.convert("RGBA")


def _error_bars(*accuracies: Estimate) -> list[list[float]]:
    """Return how far error bars reach down, and up; NaN, which draws none, where there is no interval."""
    ends = [percent_ends(each) if each.has_interval else (math.nan, math.nan) for each in accuracies]
    return [
        [each.mean - low for each, (low, _) in zip(accuracies, ends)],
        [high - each.mean for each, (_, high) in zip(accuracies, ends)],
    ]


def _plot_bars(axes: Axes, places: Sequence[float], accuracies: Sequence[Estimate], width: float, **style: Any) -> None:
    bars, error_bars = [each.mean for each in accuracies], _error_bars(*accuracies)
    axes.bar(places, bars, width, yerr=error_bars, edgecolor="white", lw=0, error_kw=dict(lw=0.8, capsize=2), **style)


def _plot_band(axes: Axes, group: SeedGroup, column: str, colour: str, **style: Any) -> None:
    """Plot the mean over the seeds after each epoch, with a band from the least to the greatest."""
    epochs = range(1, group.epochs + 1)
    values = [group.values(column, epoch) for epoch in epochs]
    if group.epochs == 1:
        style = {"marker": "o"} | style  # a line of one point is none
    axes.plot(epochs, [sum(row) / len(row) for row in values], color=colour, **style)
    if len(group.runs) > 1:
        axes.fill_between(epochs, [*map(min, values)], [*map(max, values)], color=colour, alpha=0.2, lw=0)


Placed = tuple[float, Estimate, str]  # an accuracy: where it stands on the other axis, and its colour


def _limit_accuracies(axes: Axes, axis: Literal["x", "y"], placed: Sequence[Placed]) -> list[Artist]:
    """Keep one wide interval from squeezing the rest: end the axis, mark what goes on, and return what a legend shows.

    Without such an interval nothing changes, and the list is empty.
    """
    low, high = shown_range([estimate for _, estimate, _ in placed])
    margin = 0.05 * (high - low)
    goes_on = [
        (place, edge, marker, colour)
        for place, estimate, colour in placed
        for is_out, edge, marker in (
            (percent_ends(estimate)[0] < low, low - margin, "<" if axis == "x" else "v"),
            (percent_ends(estimate)[1] > high, high + margin, ">" if axis == "x" else "^"),
        )
        if is_out
    ]
    if not goes_on:
        return []
    axes.set(**{f"{axis}lim": (low - margin, high + margin)})
    for place, edge, marker, colour in goes_on:
        axes.plot(*((edge, place) if axis == "x" else (place, edge)), marker, color=colour, ms=7, clip_on=False)
    return [Line2D([], [], color=GREY, marker=marker, ls="", label="the interval goes on")]


@own_style()
def plot_parameters(path: Path, counts: Mapping[str, int]) -> page.Figure:
    """Plot the parameters of models."""
    figure = new_figure(max(5, 0.38 * len(counts) + 0.8), 4.2, "Trainable parameters of the models")
    axes = figure.subplots()
    bars = axes.bar([*counts], [*counts.values()], color=[_model_style(name)[0] for name in counts])
    axes.bar_label(bars, [f"{count:,}" for count in counts.values()], rotation=90, padding=3, fontsize=8)
    limits = min(1e3, *counts.values()), max(3e7, *counts.values())
    axes.set(yscale="log", ylabel="parameters (log scale)", ylim=limits)
    label_powers(axes.yaxis)
    axes.tick_params(axis="x", rotation=90)
    axes.margins(x=0.01)
    _add_grid(axes, "y")
    kinds = {_model_style(name)[0]: "affine" if name.startswith("Q2_") else "with ReLU" for name in counts}
    handles = [Patch(color=colour, label=kind) for colour, kind in kinds.items()]
    columns = len(kinds) if len(kinds) > 1 else 0
    return _save(figure, path, "Bar chart of the trainable parameters of every model", columns, handles)


def _model_style(name: str) -> tuple[str, str]:
    """Return the colour and marker of a model: the affine ones differ."""
    return (VERMILION, "s") if name.startswith("Q2_") else (BLUE, "o")


Labels = Callable[[SeedGroup], str]


@own_style()
def plot_all_curves(path: Path, study: Study, key: str, label: str) -> page.Figure:
    """Plot ``key`` (loss or accuracy) over the epochs: a panel per model, with the same axes."""
    groups = study.models
    columns = min(PANELS_PER_ROW, len(groups))
    rows = math.ceil(len(groups) / columns)
    title = f"{key.capitalize()} over the epochs on {data_name(study.data)}"
    figure = new_figure(max(4.5, 2 * columns + 0.8), 1.7 * rows + 1.1, title)
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    for axes, group in zip(panels, groups):
        _plot_band(axes, group, f"train_{key}", BLUE, lw=1.2, ls="--", label="training (mean over the epoch)")
        _plot_band(axes, group, f"val_{key}", VERMILION, lw=1.4, label="validation")
        axes.set_title(f"{group.model}" + f"  (n = {len(group.runs)})" * (len(group.runs) > 1), fontsize=9)
        axes.locator_params(axis="x", integer=True, min_n_ticks=1, nbins=5)
        _add_grid(axes)
    for axes in panels[len(groups) :]:
        axes.axis("off")
    for axes in panels[len(groups) - columns : len(groups)]:
        axes.tick_params(labelbottom=True)
        axes.set_xlabel("epoch", fontsize=9)
    figure.supylabel(label, fontsize=9)
    return _save(figure, path, f"{label} over the epochs, a panel for each model, with common axes", 2)


@own_style()
def plot_overlay(path: Path, title: str, groups: Sequence[SeedGroup], label_of: Labels) -> page.Figure:
    """Plot loss and accuracy of a few groups in one pair of axes; training dashed, validation solid."""
    figure = new_figure(10, 4.4, title)
    for axes, key, label in zip(add_pair(figure, (1, 1)), ("loss", "accuracy"), ("loss (nats)", "accuracy (%)")):
        for group, colour, marker in zip(groups, itertools.cycle(COLOURS), itertools.cycle(MARKERS)):
            _plot_band(axes, group, f"train_{key}", colour, lw=1, ls="--")
            _plot_band(axes, group, f"val_{key}", colour, marker=marker, markersize=4, lw=1.5, label=label_of(group))
        axes.set_ylabel(label)
        _number_epochs(axes)
        _add_grid(axes)
    handles = [*axes.get_legend_handles_labels()[0], Line2D([], [], color=GREY, ls="--", label="dashed: training")]
    alt = f"Loss and accuracy of {', '.join(map(label_of, groups))} over the epochs"
    chart = charts.curves(groups, label_of, itertools.cycle(COLOURS))
    return replace(_save(figure, path, alt, 4, handles), chart=chart)


# ---- what a comparison shows first: the accuracy after the last epoch, by what varies ----


@own_style()
def plot_lines(
    path: Path, title: str, setting: str, lines: Mapping[str, Sequence[tuple[float, Estimate]]]
) -> page.Figure:
    """Plot accuracy against a number, with bands that are 95 % intervals: a line for each of some names."""
    figure = new_figure(7.5, 4.4, title)
    axes = figure.subplots()
    placed = list[Placed]()
    for (name, points), colour, marker in zip(lines.items(), itertools.cycle(COLOURS), itertools.cycle(MARKERS)):
        xs, means = [x for x, _ in points], [estimate.mean for _, estimate in points]
        axes.plot(xs, means, color=colour, marker=marker, label=name)
        low, high = zip(*(percent_ends(estimate) for _, estimate in points))
        axes.fill_between(xs, low, high, color=colour, alpha=0.2, lw=0)
        placed += [(x, estimate, colour) for x, estimate in points]
    xs = sorted({x for points in lines.values() for x, _ in points})
    if xs[0] > 0 and xs[-1] > 8 * xs[0]:
        axes.set_xscale("log")
        axes.minorticks_off()
    shown = xs if len(xs) <= 10 else [xs[0], xs[len(xs) // 2], xs[-1]]
    axes.set_xticks(shown, [f"{x:g}" for x in shown])
    axes.set(xlabel=setting, ylabel=LAST_ACCURACY)
    _add_grid(axes)
    handles = axes.get_legend_handles_labels()[0] if len(lines) > 1 else []
    handles += _limit_accuracies(axes, "y", placed)
    return _save(figure, path, f"Accuracy against {setting}", 3 if handles else 0, handles)


@own_style()
def plot_heat_maps(path: Path, title: str, settings: tuple[str, str], maps: Mapping[str, Mapping]) -> page.Figure:
    """Show mean accuracies by two numbers, and frame the best of all and what can't be told from it.

    ``maps`` has them by name and by pair of numbers, each with whether it can't be told from the best.
    """
    ys, xs = (sorted({pair[i] for table in maps.values() for pair in table}) for i in (0, 1))
    best = max((value, name, pair) for name, table in maps.items() for pair, (value, _) in table.items())
    values = [value for table in maps.values() for value, _ in table.values()]
    columns = min(2, len(maps))
    rows = math.ceil(len(maps) / columns)
    size = max(4.5, columns * (0.62 * len(xs) + 1.2) + 1), rows * (0.4 * len(ys) + 1) + 1
    figure = new_figure(*size, title)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    small = len(xs) * columns > 14
    for axes, (name, table) in zip(panels, maps.items()):
        grid = [[table.get((y, x), (math.nan, False))[0] for x in xs] for y in ys]
        image = axes.imshow(grid, cmap="cividis", vmin=min(values), vmax=max(values), aspect="auto", origin="lower")
        middle = (min(values) + max(values)) / 2
        for (y, x), (value, is_open) in table.items():
            is_best = best[1:] == (name, (y, x))
            place = xs.index(x), ys.index(y)
            style: dict[str, Any] = dict(fontsize=6 if small else 9, fontweight="bold" if is_best else "normal")
            colour = "black" if value > middle else "white"
            axes.text(*place, f"{value:.1f}", ha="center", va="center", color=colour, **style)
            if is_best or is_open:
                corner, frame = (place[0] - 0.47, place[1] - 0.47), "-" if is_best else ":"
                axes.add_patch(Rectangle(corner, 0.94, 0.94, fill=False, ec=colour, lw=2 if is_best else 1.5, ls=frame))
        axes.set_xticks(range(len(xs)), [f"{x:g}" for x in xs], rotation=45 if len(xs) > 8 else 0)
        axes.set_yticks(range(len(ys)), [f"{y:g}" for y in ys])
        axes.set(xlabel=settings[1], ylabel=settings[0])
        axes.set_title(name, fontsize=10)
    for axes in panels[len(maps) :]:
        axes.axis("off")
    figure.colorbar(image, ax=panels, label="accuracy (%)", shrink=0.8)
    any_open = any(is_open for table in maps.values() for _, is_open in table.values())
    figure.supxlabel("frame: the best" + "; dots: can't be told from it" * any_open, fontsize=9)
    return _save(figure, path, f"Mean accuracy by {settings[0]} and {settings[1]}")


@own_style()
def plot_dots(
    path: Path, title: str, accuracies: Mapping[str, Estimate], reference: str, reference_is: str
) -> page.Figure:
    """Plot accuracies with their 95 % intervals, a line each, and where the one compared with is, and what it is."""
    figure = new_figure(7.5, 0.27 * len(accuracies) + 1.7, title)
    axes = figure.subplots()
    for place, (name, estimate) in enumerate(accuracies.items()):
        is_reference = name == reference
        style: dict[str, Any] = dict(color=VERMILION, marker="s") if is_reference else dict(color=BLUE, marker="o")
        axes.errorbar(estimate.mean, place, xerr=_error_bars(estimate), ms=6, capsize=3, **style)
    axes.axvline(accuracies[reference].mean, color=VERMILION, ls=":", lw=1)
    axes.set_yticks(range(len(accuracies)), [cut_name(name, 60) for name in accuracies], fontsize=9)
    axes.set(xlabel=_fold(figure, LAST_ACCURACY), ylim=(len(accuracies) - 0.4, -0.6))
    _add_grid(axes)
    placed = [
        (place, estimate, VERMILION if name == reference else BLUE)
        for place, (name, estimate) in enumerate(accuracies.items())
    ]
    handles: list[Artist] = [Line2D([], [], color=VERMILION, marker="s", ls=":", label=reference_is)]
    handles += _limit_accuracies(axes, "x", placed)
    return _save(figure, path, _accuracies_alt(accuracies.values()), 3, handles)


def _accuracies_alt(accuracies: Iterable[Estimate]) -> str:
    """Say what is shown of accuracies after the last epoch: those of one run each have no intervals."""
    has_any = any(estimate.has_interval for estimate in accuracies)
    return "Accuracies after the last epoch" + " with their 95 % intervals" * has_any


LAST_ACCURACY = "validation accuracy after the last epoch (%)"


def _fold(figure: Figure, text: str) -> str:
    """Break the name of an axis where a figure of one column of a paper has no room for it."""
    return textwrap.fill(text, 24) if figure.get_figwidth() < NARROW_INCHES else text


def _place_labels(figure: Figure, axes: Axes, labels: Sequence[tuple[str, float, Estimate, dict]]) -> None:
    """Write each label near its point, tied to it, where it lies over the fewest points, intervals and labels."""
    set_text_size(figure)
    figure.draw_without_rendering()  # only now is known where in the picture a point is
    room = axes.get_window_extent()
    boxes = []  # of what a label should not lie over, in pixels
    for _, x, estimate, _ in labels:
        (left, low), (_, high) = (axes.transData.transform((x, end)) for end in percent_ends(estimate))
        boxes.append(Bbox.from_extents(left - 8, low - 8, left + 8, high + 8))
    directions = [(math.cos(angle), math.sin(angle)) for angle in (k * math.pi / 6 for k in (3, 9, 0, 6, *range(12)))]
    leader = dict(arrowstyle="-", color="0.6", lw=0.6, shrinkA=0, shrinkB=3)
    backing = dict(color="white", alpha=0.7, lw=0, pad=0)
    for text, x, estimate, style in labels:
        style = dict(textcoords="offset points", ha="center", va="center") | style
        if points := text_points():
            style["fontsize"] = points
        # Try a dozen directions at five distances; of equally good places the first is taken.
        trial = axes.annotate(text, (x, estimate.mean), (0, 0), **style)
        choices: list[tuple[int, int, tuple[float, float], Bbox]] = []
        for reach in (1.0, 1.6, 2.4, 3.4, 4.6):
            for right, up in directions:
                trial.set_position((20 * reach * right, 11 * reach * up))
                box = trial.get_window_extent()
                is_inside = room.containsx(box.x0) and room.containsx(box.x1)
                over = sum(1 for other in boxes if box.overlaps(other)) + (not is_inside)
                choices.append((over, len(choices), trial.get_position(), box))
        trial.remove()
        _, _, position, box = min(choices, key=lambda choice: choice[:2])
        axes.annotate(text, (x, estimate.mean), position, arrowprops=leader, bbox=backing, **style)
        boxes.append(box)


@own_style()
def plot_accuracy_against_parameters(
    path: Path, title: str, groups: Sequence[SeedGroup], label_of: Labels
) -> page.Figure:
    """Plot the last accuracy of models against their parameters, with the frontier and 95 % intervals over seeds."""
    figure = new_figure(9, 5.6, title)
    axes = figure.subplots()
    best, labels, placed = find_frontier(groups), list[tuple[str, float, Estimate, dict]](), list[Placed]()
    for group in groups:
        estimate = group.mean("val_accuracy")
        colour, marker = _model_style(group.model)
        x = group.example.parameters
        axes.errorbar(x, estimate.mean, _error_bars(estimate), color=colour, marker=marker, ms=6, capsize=3, zorder=3)
        placed.append((x, estimate, colour))
        style: dict[str, Any] = dict(fontsize=9, fontweight="bold") if group in best else dict(fontsize=7.5, color=GREY)
        labels.append((label_of(group), x, estimate, style))
    xs, ys = [group.example.parameters for group in best], [group.mean("val_accuracy").mean for group in best]
    told = "Pareto frontier: no model of this size or smaller is more accurate"
    told = textwrap.fill(told, int(12 * figure.get_figwidth()))
    axes.step(xs, ys, where="post", color=GREY, ls=":", zorder=1, label=told)
    axes.set(xscale="log", xlabel="trainable parameters (log scale)")
    label_powers(axes.xaxis)
    axes.set_ylabel(LAST_ACCURACY)
    axes.margins(0.08, 0.12)
    handles = axes.get_legend_handles_labels()[0] + _limit_accuracies(axes, "y", placed)
    _add_grid(axes)
    _place_labels(figure, axes, sorted(labels, key=lambda label: "fontweight" not in label[3]))
    saved = _save(figure, path, "Validation accuracy of each model against its parameters", 1, handles)
    return replace(saved, chart=charts.accuracy_against_parameters(groups, label_of, LAST_ACCURACY, BLUE))


def pick_group_classes(group: SeedGroup) -> tuple[list[str], str]:
    """Pick the classes that are shown one by one, of very many by how often the first of some networks is right."""
    means = {name: group.mean(f"val_accuracy_of_{name}").mean for name in group.example.data["classes"]}
    shown, told = pick_classes({name: None if math.isnan(mean) else mean for name, mean in means.items()})
    return [*shown], told


@own_style()
def plot_side_by_side(path: Path, title: str, groups: Sequence[SeedGroup], label_of: Labels) -> page.Figure:
    """Plot a few groups: their accuracy over the epochs if there are several, and that of each class after the last.

    One above the other: of two side by side nothing could be read on a telephone.
    """
    has_curves = any(group.epochs > 1 for group in groups)
    figure = new_figure(6.5, 6.4 if has_curves else 4, title)
    *over_epochs, by_class = figure.subplots(1 + has_curves, 1, squeeze=False).flat
    classes, told = pick_group_classes(groups[0])
    width = 0.8 / len(groups)
    for i, group in enumerate(groups):
        label = f"{label_of(group)} (n = {len(group.runs)})"
        for axes in over_epochs:
            _plot_band(axes, group, "val_accuracy", COLOURS[i], marker=MARKERS[i], markersize=4)
        columns = ["val_accuracy", *(f"val_accuracy_of_{name}" for name in classes)]
        places = [x + (i - (len(groups) - 1) / 2) * width for x in range(len(columns))]
        accuracies = [group.mean(column) for column in columns]
        _plot_bars(by_class, places, accuracies, width, color=COLOURS[i], hatch=HATCHES[i % len(HATCHES)], label=label)
    for axes in (*over_epochs, by_class):
        chance = 100 / len(groups[0].example.data["classes"])
        line = axes.axhline(chance, color=GREY, ls=":", lw=1, label=f"chance: {chance:.2g} %")
        axes.set_ylim(0, None)
        _add_grid(axes)
    for axes in over_epochs:
        axes.set_ylabel("validation accuracy (%)")
        _number_epochs(axes)
    by_class.set(ylabel=_fold(figure, "accuracy after the last epoch (%)"), ylim=(0, 100))
    is_tight = max(map(len, classes)) > 5 or figure.get_figwidth() < NARROW_INCHES
    rotation = 90 if told else 45 if is_tight else 0
    names = ["all", *map(cut_name, classes)]
    by_class.set_xticks(range(len(names)), names, rotation=rotation, fontsize=6 if told else 9)
    by_class.set_xlabel(told)
    handles, _ = by_class.get_legend_handles_labels()
    handles.sort(key=lambda handle: handle is line)
    return _save(figure, path, f"{title}: accuracy over the epochs, and of each class", 3, handles)


@own_style()
def plot_calibration(path: Path, title: str, groups: Sequence[SeedGroup]) -> page.Figure:
    """Plot validation loss above, confidence and accuracy below, over the epochs: two panels per model."""
    columns = min(3, len(groups))
    rows = math.ceil(len(groups) / columns)
    figure = new_figure(max(5, 2.6 * columns + 1), 4.4 * rows + 0.6, title)
    panels = figure.subplots(2 * rows, columns, sharex=True, squeeze=False)
    for place, group in enumerate(groups):
        row, column = divmod(place, columns)
        loss, share = panels[2 * row][column], panels[2 * row + 1][column]
        _plot_band(loss, group, "val_loss", VERMILION, marker="s", markersize=3, label="validation loss")
        _plot_band(share, group, "val_accuracy", COLOURS[2], marker="^", markersize=3, label="validation accuracy")
        _plot_band(share, group, "val_confidence", BLUE, marker="o", markersize=3, ls="--", label="mean confidence")
        loss.set_title(group.model, fontsize=10)
        _number_epochs(share)
        share.tick_params(labelbottom=True)
        loss.set_ylabel("loss (nats)" if not column else "")
        share.set_ylabel("%" if not column else "")
        _add_grid(loss)
        _add_grid(share)
    for kind in (0, 1):  # axes of one kind have one scale
        alike = [axes for line in panels[kind::2] for axes in line if axes.lines]
        lows, highs = zip(*(axes.get_ylim() for axes in alike))
        for axes in alike:
            axes.set_ylim(min(lows), max(highs))
    for axes in [axes for line in panels[-2:] for axes in line[len(groups) - (rows - 1) * columns :]]:
        axes.axis("off")
    first, below = panels[0][0], panels[1][0]
    handles = [*first.get_legend_handles_labels()[0], *below.get_legend_handles_labels()[0]]
    alt = "Validation loss, accuracy and mean confidence over the epochs of the models whose loss climbs"
    return _save(figure, path, alt, 3, handles)


@own_style()
def plot_course(path: Path, groups: Sequence[SeedGroup], percent: float | None) -> page.Figure:
    """Plot validation accuracies over the epochs, with a published one, in percent."""
    figure = new_figure(6.5, 3, _title_of(groups))
    axes = figure.subplots()
    for group, colour, marker in zip(groups, COLOURS, MARKERS):
        label = f"{group.model}, {group.shuffle} ({group.size})"
        _plot_band(axes, group, "val_accuracy", colour, marker=marker, markersize=4, label=label)
    if percent is not None:
        axes.axhline(percent, color="black", ls="--", lw=1, label="published")
    axes.set(ylabel="test accuracy (%)", ylim=(0, None))
    _number_epochs(axes)
    _add_grid(axes)
    return _save(figure, path, "Accuracy over the epochs, with the published one", 2)


@own_style()
def plot_against_published(
    path: Path, group: SeedGroup, epoch: int, published_percent: Mapping[str, float]
) -> page.Figure:
    """Plot the accuracy in each class after an epoch beside the published one, in percent, with 95 % intervals."""
    figure = new_figure(6.5, 3, f"{_title_of([group])}, after epoch {epoch}")
    axes = figure.subplots()
    accuracies = [group.mean(f"val_accuracy_of_{name}", epoch) for name in published_percent]
    places = range(len(accuracies))
    _plot_bars(axes, places, accuracies, 0.7, color=BLUE, label=f"measured ({group.size})")
    axes.plot(places, [*published_percent.values()], color="black", marker="D", ls="", label="published")
    axes.set_xticks(places, [*published_percent])
    axes.set(ylabel="accuracy (%)", ylim=(0, 100))
    _add_grid(axes, "y")
    return _save(figure, path, "Accuracy in each class, measured and published", 2)


@own_style()
def plot_losses(path: Path, groups: Sequence[SeedGroup]) -> page.Figure:
    """Plot training and validation loss over the epochs: a panel for each model."""
    figure = new_figure(max(6.5, 2.6 * len(groups) + 0.8), 3, "Loss over the epochs")
    panels = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for axes, group in zip(panels, groups):
        _plot_band(axes, group, "train_loss", BLUE, ls="--", label="training (mean over the epoch)")
        _plot_band(axes, group, "val_loss", VERMILION, label="validation")
        axes.set_title(f"{group.model} ({group.size})", fontsize=9)
        _number_epochs(axes)
        _add_grid(axes)
    panels[0].set_ylabel("loss (nats)")
    return _save(figure, path, "Training and validation loss over the epochs", 2)


@own_style()
def plot_final(path: Path, groups: Sequence[SeedGroup]) -> page.Figure:
    """Plot the accuracies of models after the last epoch against each other, with 95 % intervals over seeds."""
    figure = new_figure(6.5, 0.3 * len(groups) + 1.2, "Test accuracy after the last epoch")
    axes = figure.subplots()
    accuracies = [group.mean("val_accuracy") for group in groups]
    for place, estimate in enumerate(accuracies):
        axes.errorbar(estimate.mean, place, xerr=_error_bars(estimate), color=BLUE, marker="o", capsize=3)
    axes.set_yticks(range(len(groups)), [f"{group.model} ({group.size})" for group in groups])
    axes.set(xlabel="test accuracy (%)", ylim=(len(groups) - 0.4, -0.6))
    _add_grid(axes)
    handles = _limit_accuracies(axes, "x", [(place, estimate, BLUE) for place, estimate in enumerate(accuracies)])
    return _save(figure, path, _accuracies_alt(accuracies), 1 if handles else 0, handles)


def _title_of(groups: Sequence[SeedGroup]) -> str:
    """Name models, and their shuffle where there is one."""
    shuffled = ", ".join(dict.fromkeys(group.shuffle for group in groups if group.shuffle != "none"))
    return ", ".join(dict.fromkeys(group.model for group in groups)) + f", {shuffled}" * bool(shuffled)


@own_style()
def plot_samples(path: Path, alt: str, pictures: Sequence[Path]) -> page.Figure:
    """Show the runs' own pictures of samples, one below the other."""
    images = [_decode(files.read_file(picture)) for picture in pictures]
    heights = [image.height / image.width for image in images]
    figure = new_figure(9, 9, "Images as the network gets them")
    figure.set_figheight(figure.get_figwidth() * sum(heights) + 0.4)
    for axes, image in zip(figure.subplots(len(images), 1, height_ratios=heights, squeeze=False).flat, images):
        axes.imshow(image)
        axes.axis("off")
    return _save(figure, path, alt)


@own_style()
def plot_cues(
    path: Path,
    studies: Mapping[tuple[str, ...], Study],
    names: Sequence[str],
    ceilings: Mapping[tuple[str, ...], float],
) -> page.Figure:
    """Plot accuracy by cue and shuffle: a panel for each model, with 95 % intervals; NaN where no ceiling is known."""
    figure = new_figure(11, 2.6 * len(names) + 0.9, "Accuracy where only the cues named carry the class")
    panels = figure.subplots(len(names), 1, sharex=True, sharey=True, squeeze=False).flat
    labels = [" +\n".join(cues) for cues in studies]
    width = 0.8 / len(PUBLISHED_SHUFFLES)
    for axes, name in zip(panels, names):
        for i, shuffle in enumerate(PUBLISHED_SHUFFLES):
            groups = {x: group for x, each in enumerate(studies.values()) if (group := each.group(name, shuffle))}
            places = [x + (i - 1) * width for x in groups]
            accuracies = [group.mean("val_accuracy") for group in groups.values()]
            style = dict(color=SHUFFLE_STYLE[shuffle][0], hatch=HATCHES[i], label=shuffle)
            _plot_bars(axes, places, accuracies, width, **style)
        axes.axhline(10, color=GREY, ls=":", lw=1, label="chance")
        for x, cues in enumerate(studies):
            axes.hlines(ceilings[cues], x - 0.42, x + 0.42, color="black", lw=1.2, label="ceiling" if x == 0 else None)
        axes.set(ylabel=f"{name}\naccuracy (%)", ylim=(0, 105))
        _add_grid(axes)
    axes.set_xticks(range(len(labels)), labels, fontsize=9)
    return _save(figure, path, "Accuracy by cue and shuffle, and what the cue allows: a panel for each model", 5)


@own_style()
def plot_budgets(path: Path, shown: Mapping[tuple[str, str], Mapping[int, Sequence[SeedGroup]]]) -> page.Figure:
    """Plot accuracy against the number of epochs by shuffle: a panel for each cue and model."""
    figure = new_figure(max(7.5, 3.6 * len(shown) + 0.6), 3.8, "Accuracy against the length of the training")
    for axes, ((cue, name), pairs) in zip(
        figure.subplots(1, len(shown), sharey=True, squeeze=False).flat, shown.items()
    ):
        for groups in zip(*pairs.values()):
            colour, marker = SHUFFLE_STYLE[groups[0].shuffle]
            style = dict(color=colour, marker=marker, label=groups[0].shuffle)
            _plot_means(axes, [*pairs], groups, **style)
        axes.axhline(10, color=GREY, ls=":", lw=1, label="chance")
        axes.set(xscale="log", xlabel="epochs")
        axes.set_xticks([*pairs], map(str, pairs))
        axes.minorticks_off()
        axes.set_title(f"{cue}, {name}", fontsize=10)
        _add_grid(axes)
    figure.axes[0].set(ylabel="accuracy after the last epoch (%)", ylim=(0, 105))
    return _save(figure, path, "Accuracy against the number of epochs, a panel for each cue and model", 3)


def _plot_means(axes: Axes, places: Sequence[float], groups: Sequence[SeedGroup], **style: Any) -> None:
    """Plot accuracies after the last epoch with their intervals."""
    accuracies = [group.mean("val_accuracy") for group in groups]
    axes.errorbar(places, [each.mean for each in accuracies], yerr=_error_bars(*accuracies), capsize=3, **style)


Panels = Sequence[tuple[Study, str]]  # studies of one number of epochs, each with a model


def _add_panels(figure: Figure, panels: Panels, histogram: float | None) -> list[Axes]:
    """Make axes for accuracies, with what is found where no place tells anything."""
    columns = min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    all_axes = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat)
    lines = (("grey", "grey values, nothing moved", COLOURS[2]), ("per-image", "per-image shuffle", COLOURS[3]))
    means = [group.mean("val_accuracy").mean for study, _ in panels for group in study.groups.values()]
    top = min(100, 10 * math.ceil(max(means) / 10 + 0.2))
    for axes, (study, name) in zip(all_axes, panels):
        for shuffle, label, colour in lines:
            if group := study.group(name, shuffle):
                axes.axhline(group.mean("val_accuracy").mean, color=colour, ls="--", lw=1.2, label=label)
        if histogram is not None:
            axes.axhline(histogram, color=COLOURS[4], ls="-.", lw=1.2, label="colour histogram alone")
        axes.axhline(100 / len(study.data["classes"]), color=GREY, ls=":", lw=1, label="chance")
        epochs = next(group.epochs for (model, _), group in study.groups.items() if model == name)
        axes.set_title(f"{name}, {epochs} epoch{'s' * (epochs != 1)}", fontsize=10)
        axes.set(ylim=(0, top))
        axes.tick_params(labelbottom=True)
        _add_grid(axes)
    for axes in all_axes[len(panels) :]:
        axes.axis("off")
    figure.supylabel("validation accuracy after the last epoch (%)", fontsize=9)
    return all_axes[: len(panels)]


def _size_of_panels(panels: Panels) -> tuple[float, float]:
    columns = min(2, len(panels))
    return max(7.5, 4.2 * columns + 0.6), 3.8 * math.ceil(len(panels) / columns) + 1.4


@own_style()
def plot_neighbourhoods(path: Path, panels: Panels, histogram: float | None) -> page.Figure:
    """Plot accuracy against the size of the blocks; ``histogram`` is that of the colour histogram alone, in percent."""
    # The curves, each from one pixel to the whole image.
    sizes = (1, *BLOCK_SIZES, 32)  # in pixels
    curves = (
        ("block:K, the inside stays", "block", ("fixed", "none"), dict(color=BLUE, marker="o")),
        ("within:K, the blocks stay", "within", ("none", "fixed"), dict(color=VERMILION, marker="s")),
        ("within-shared:K, one order", "within-shared", ("none", "fixed"), dict(color=COLOURS[5], marker="D")),
        ("edges:K alone, nothing moved", "edges", ("", ""), dict(color="black", marker="X", ls="")),
    )
    # A panel for each model and number of epochs.
    title = f"How large a neighbourhood? {data_name(panels[0][0].data)}"
    figure = new_figure(*_size_of_panels(panels), title)
    for axes, (study, name) in zip(_add_panels(figure, panels, histogram), panels):
        for label, kind, ends, style in curves:
            shuffles = [ends[0], *(f"{kind}:{size}" for size in BLOCK_SIZES), ends[1]]
            groups = {x: group for x, each in zip(sizes, shuffles) if (group := study.group(name, each))}
            if any(group.shuffle.startswith(f"{kind}:") for group in groups.values()):
                _plot_means(axes, [*groups], [*groups.values()], label=label, **style)
        axes.set(xscale="log", xlabel="K (pixels)")
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
    return _save(
        figure, path, "Accuracy against the size of the blocks, a panel for each model", 3, _all_handles(figure)
    )


@own_style()
def plot_neighbours_kept(path: Path, panels: Panels, histogram: float | None) -> page.Figure:
    """Plot accuracy against the share of neighbouring pixels that a shuffle leaves neighbours."""
    # Each with where its labels stand, in points.
    families = (
        ("block", BLUE, "o", (0, -14)),
        ("within", VERMILION, "s", (6, -12)),
        ("within-shared", COLOURS[5], "D", (-3, 7)),
    )
    title = f"Accuracy and what stays next to what, {data_name(panels[0][0].data)}"
    figure = new_figure(*_size_of_panels(panels), title)
    for axes, (study, name) in zip(_add_panels(figure, panels, histogram), panels):
        for kind, colour, marker, offset in families:
            inner = [group for size in BLOCK_SIZES if (group := study.group(name, f"{kind}:{size}"))]
            groups = [*inner, *(group for end in ("fixed", "none") if (group := study.group(name, end)))]
            kept = {id(group): fmean(100 * run.neighbours_kept for run in group.runs.values()) for group in groups}
            # Runs of earlier versions do not tell what their shuffle keeps, and NaN has no place.
            groups = sorted(
                (group for group in groups if not math.isnan(kept[id(group)])), key=lambda group: kept[id(group)]
            )
            if not inner or not groups:
                continue
            _plot_means(
                axes, [kept[id(group)] for group in groups], groups, color=colour, marker=marker, label=f"{kind}:K"
            )
            for group in groups:
                if group in inner:
                    place = kept[id(group)], group.mean("val_accuracy").mean
                    text = group.shuffle.partition(":")[2]
                    axes.annotate(text, place, offset, textcoords="offset points", fontsize=8, color=colour)
        axes.set(xlabel="pairs of neighbouring pixels that stay neighbours (%)", xlim=(-3, 103))
    alt = "Accuracy against the share of neighbouring pixels that stay neighbours, a panel for each model"
    return _save(figure, path, alt, 3, _all_handles(figure))


@own_style()
def plot_severities(path: Path, name: str, groups: Mapping[str, Sequence[Estimate]]) -> page.Figure:
    """Plot accuracy against the severity of corruptions, 0 for the test images: a line for each network."""
    figure = new_figure(7.5, 4.4, f"Accuracy on the test images (0), and on {name} by severity")
    axes = figure.subplots()
    for (label, estimates), colour, marker in zip(groups.items(), itertools.cycle(COLOURS), itertools.cycle(MARKERS)):
        means, bars = [each.mean for each in estimates], _error_bars(*estimates)
        axes.errorbar(range(len(means)), means, yerr=bars, capsize=3, color=colour, marker=marker, label=label)
    axes.set(xlabel="severity", ylabel="accuracy (%), mean over the corruptions", ylim=(0, 100))
    _add_grid(axes)
    return _save(figure, path, f"Accuracy on {name} by severity, a line for each network", 3)


def _all_handles(figure: Figure) -> list[Artist]:
    """Return what a legend of all axes shows, each label once."""
    found: dict[str, Artist] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels()):
            found.setdefault(label, handle)
    return [*found.values()]


@own_style()
def plot_use(path: Path, study: Study, bars: Mapping[str, Mapping[str, Sequence[Estimate]]]) -> page.Figure:
    """Plot accuracy by shuffle, of networks trained with it and only tested with it: a panel for each model."""
    title = f"Trained with a shuffle (need), or only tested with it (use): {data_name(study.data)}"
    figure = new_figure(11, 2.7 * len(bars) + 1.4, title)
    for axes, (name, of_shuffle) in zip(figure.subplots(len(bars), 1, squeeze=False).flat, bars.items()):
        for i, (label, colour) in enumerate((("trained with it", BLUE), ("only tested with it", VERMILION))):
            places = [x + 0.4 * (i - 0.5) for x in range(len(of_shuffle))]
            style = dict(color=colour, hatch=HATCHES[i], label=label)
            _plot_bars(axes, places, [pair[i] for pair in of_shuffle.values()], 0.4, **style)
        axes.axhline(100 / len(study.data["classes"]), color=GREY, ls=":", lw=1, label="chance")
        axes.set(ylabel=f"{name}\naccuracy (%)", ylim=(0, 100))
        axes.set_xticks(range(len(of_shuffle)), of_shuffle, rotation=30, ha="right", fontsize=8)
        _add_grid(axes, "y")
    return _save(figure, path, "Accuracy by shuffle, trained with it and only tested with it", 3)


@own_style()
def plot_transfer(path: Path, study: Study, name: str, table: Mapping[str, Mapping[str, float]]) -> page.Figure:
    """Show accuracies in percent by the shuffle of training, then that of the test, as a map with its numbers."""
    rows, columns = list(table), list(next(iter(table.values())))
    values = [[table[row][column] for column in columns] for row in rows]
    figure = new_figure(0.62 * len(columns) + 2.4, 0.42 * len(rows) + 2.2, f"{name} on {data_name(study.data)}")
    axes = figure.subplots()
    axes.imshow(values, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            weight, colour = "bold" if rows[y] == columns[x] else "normal", "black" if value > 55 else "white"
            axes.text(x, y, f"{value:.0f}", ha="center", va="center", fontsize=9, fontweight=weight, color=colour)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=9)
    axes.set_yticks(range(len(rows)), rows, fontsize=9)
    axes.set(xlabel="shuffle of the test images", ylabel="shuffle of training")
    return _save(figure, path, f"Accuracy of {name} by the shuffle of training and that of the test")


@own_style()
def plot_by_class(
    path: Path, model: str, network: Mapping[str, Estimate], histogram: Mapping[str, Estimate]
) -> page.Figure:
    """Plot a network's accuracy in each class, in percent, against the colour histogram's, with 95 % intervals."""
    figure = new_figure(6, 5.4, f"{model}, per-image, and the colour histogram")
    axes, labels = figure.subplots(), list[tuple[str, float, Estimate, dict]]()
    for name, estimate in network.items():
        x = histogram[name]
        bars: dict[str, Any] = dict(xerr=_error_bars(x), yerr=_error_bars(estimate), elinewidth=0.7)
        axes.errorbar(x.mean, estimate.mean, color=BLUE, marker="o", ms=5, **bars)
        labels.append((name, x.mean, estimate, dict(fontsize=9)))
    axes.axline((0, 0), slope=1, color=GREY, ls=":", lw=1, label="equal")
    axes.legend(loc="lower right", fontsize=9)
    axes.set(xlabel="colour histogram alone, accuracy (%)", ylabel="network, accuracy (%)", xlim=(0, None))
    axes.set_ylim(0, None)
    _add_grid(axes)
    _place_labels(figure, axes, labels)
    return _save(figure, path, f"Accuracy of {model} in each class against the colour histogram's")
