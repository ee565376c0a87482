"""Figures of a page that answer to the pointer, as Vega-Lite specifications: values on hovering, lines off, zoom.

A page shows them in place of pictures where the package vl-convert-python is there, which brings what draws them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean, median_low
from typing import Any

from report.results import SeedGroup, find_frontier
from report.stats import Estimate
from runner.errors import printable

Labels = Callable[[SeedGroup], str]
Spec = dict[str, Any]

DIGITS = 5  # of a value, decimal places
HEIGHT = 300  # of a chart, pixels
MANY_EPOCHS = 12  # which are not named one by one
SHOWN = "shown"  # what the page's script tells a chart: the names of the lines that are on
# By themselves the wheel and a finger move the page. Shift turns the wheel sideways, so it is Ctrl: two fingers on a
# touchpad send it too.
HELD = "event.ctrlKey || event.metaKey"
DRAG = f"[pointerdown[{HELD}], window:pointerup] > window:pointermove!"
ZOOM = {"type": "interval", "zoom": f"wheel![{HELD}]", "translate": DRAG}
# Without room at its ends, of an outermost dot half would be outside, where the pointer meets nothing.
SCALE = {"nice": False, "padding": 12}
INTERVAL = {"y": {"field": "low", "type": "quantitative"}, "y2": {"field": "high"}}  # what a mark reaches over


@dataclass(frozen=True)
class Chart:
    """One figure: charts side by side, whose lines are switched off and on together."""

    specs: Sequence[Spec]
    lines: Mapping[str, str]  # what can be switched off: names, and their colours


WIDE = 3  # times as far as is usual: an interval that would squeeze a figure's others
SQUEEZED = 2 / 3  # of its room, by less than that nothing is lost


def percent_ends(accuracy: Estimate) -> tuple[float, float]:
    """Return where the 95 % interval of an accuracy ends, within 0 to 100 %; without one both are its mean."""
    if not accuracy.has_interval:
        return accuracy.mean, accuracy.mean
    return max(accuracy.low, 0.0), min(accuracy.high, 100.0)


def shown_range(accuracies: Sequence[Estimate]) -> tuple[float, float]:
    """Return from where to where accuracies are drawn: a single interval that is far wider than most goes on beyond."""
    means, ends = [each.mean for each in accuracies], [percent_ends(each) for each in accuracies]
    usual = median_low([high - low for low, high in ends]) / 2
    beyond = max(max(means) - min(means), WIDE * usual, 1.0)
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    limits = max(low, min(means) - beyond), min(high, max(means) + beyond)
    return limits if limits[1] - limits[0] < SQUEEZED * (high - low) else (low, high)


@cache
def script() -> str | None:
    """Return the JavaScript that draws charts; None where the package that has it is not installed."""
    try:
        import vl_convert
    except ImportError:
        return None
    return vl_convert.javascript_bundle()


def curves(groups: Sequence[SeedGroup], label_of: Labels, colours: Iterable[str]) -> Chart:
    """Draw loss and accuracy over the epochs: validation solid with the range over seeds, training dashed."""
    lines = {printable(label_of(group)): colour for group, colour in zip(groups, colours)}
    specs = []
    for key, title in (("loss", "loss (nats)"), ("accuracy", "accuracy (%)")):
        rows = []
        for name, group in zip(lines, groups):
            for split, told in (("val", "validation"), ("train", "training")):
                for epoch in range(1, group.epochs + 1):
                    values = group.values(f"{split}_{key}", epoch)
                    mean, low, high = _rounded(fmean(values), min(values), max(values))
                    rows.append(dict(line=name, of=told, epoch=epoch, value=mean, low=low, high=high))
        specs.append(_curves_of(rows, lines, title))
    return Chart(specs, lines)


def accuracy_against_parameters(groups: Sequence[SeedGroup], label_of: Labels, title: str, colour: str) -> Chart:
    """Draw the last accuracy of models against their parameters, with intervals and the frontier."""
    best = {id(group) for group in find_frontier(groups)}
    rows = []
    for group in groups:
        estimate = group.mean("val_accuracy")
        mean, low, high = _rounded(estimate.mean, *percent_ends(estimate))
        what = dict(name=printable(label_of(group)), parameters=group.example.parameters, runs=len(group.runs))
        rows.append(what | dict(value=mean, low=low, high=high, best=id(group) in best))

    x = _axis("parameters", "trainable parameters (log scale)", scale=SCALE | {"type": "log"}, axis={"format": "~s"})
    low, high = _rounded(*shown_range([group.mean("val_accuracy") for group in groups]))
    place = {"x": x, "y": _axis("value", title, scale=SCALE | {"zero": False, "domain": [low, high]})}
    shown = [_told("name"), _told("parameters", form=","), _told("runs"), _told("value", "accuracy (%)", ".2f")]
    shown += [_told("low", "95 % from", ".2f"), _told("high", "to", ".2f")]
    frontier = {"type": "line", "interpolate": "step-after", "strokeDash": [2, 3], "color": "grey"}
    dots = {"type": "point", "filled": True, "size": 60, "opacity": 1, "color": colour}
    names = {"type": "text", "align": "right", "dx": -6, "dy": -6}
    layers = [
        _layer(frontier, place, only="datum.best"),
        _layer({"type": "rule", "color": colour}, {"x": x} | INTERVAL),
        _layer(dots, place | {"tooltip": shown}),
        _layer(names, place | {"text": {"field": "name"}}, only="datum.best"),
    ]
    return Chart([_chart(rows, layers)], {})


def _curves_of(rows: Sequence[Spec], lines: Mapping[str, str], title: str) -> Spec:
    """Make one chart of ``lines``, names and their colours, that are drawn where they are on."""
    colour = _nominal("line", [*lines], [*lines.values()])
    dash = _nominal("of", ["validation", "training"], [[1, 0], [5, 4]])
    # Of few epochs Vega would name halves, too.
    epochs = sorted({row["epoch"] for row in rows})
    ticks = {"values": epochs} if len(epochs) < MANY_EPOCHS else {"tickMinStep": 1}
    x = _axis("epoch", "epoch", axis={"format": "d"} | ticks)
    place = {"x": x, "y": _axis("value", title), "color": colour}
    shown = [_told("line"), _told("of", "curve"), _told("epoch"), _told("value", title, ".4~f")]
    layers = [
        _layer({"type": "area", "opacity": 0.2}, {"x": x, "color": colour} | INTERVAL, only="datum.of == 'validation'"),
        _layer({"type": "line"}, place | {"strokeDash": dash}),
        _layer({"type": "point", "filled": True, "opacity": 1, "size": 14}, place),
        # What the pointer has to meet is larger than a dot. (Vega-Lite's nearest dot does not tell names.)
        _layer({"type": "point", "filled": True, "opacity": 0, "size": 250}, place | {"tooltip": shown}),
    ]
    are_on = [{"filter": f"indexof({SHOWN}, datum.line) >= 0"}]
    return _chart(rows, layers) | {"params": [{"name": SHOWN, "value": [*lines]}], "transform": are_on}


def _chart(rows: Sequence[Spec], layers: list[Spec]) -> Spec:
    """Make the specification of a chart as wide as its place, which is zoomed by its axes."""
    layers[0]["params"] = [{"name": "zoom", "select": ZOOM, "bind": "scales"}]
    layout = {"width": "container", "height": HEIGHT, "autosize": {"type": "fit", "contains": "padding"}}
    return {"data": {"values": [*rows]}, "layer": layers, "config": {"font": "sans-serif"}} | layout


def _layer(mark: Spec, encoding: Spec, only: str = "") -> Spec:
    return {"mark": mark, "encoding": encoding} | ({"transform": [{"filter": only}]} if only else {})


def _axis(field: str, title: str, **more: Any) -> Spec:
    return {"field": field, "type": "quantitative", "title": title, "scale": SCALE | {"zero": False}} | more


def _nominal(field: str, domain: list, values: list) -> Spec:
    return {"field": field, "type": "nominal", "legend": None, "scale": {"domain": domain, "range": values}}


def _told(field: str, title: str = "", form: str = "") -> Spec:
    """Have a value shown on hovering."""
    if not form:
        return {"field": field, "title": title or field, "type": "nominal"}
    return {"field": field, "title": title or field, "type": "quantitative", "format": form}


def _rounded(*values: float) -> list[float]:
    return [round(value, DIGITS) for value in values]
