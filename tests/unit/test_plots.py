"""Figures."""

import ast

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

import utils
from report import charts, plots, results, stats
from runner import config
from tests.helpers.fake_runs import fake_run, fake_seeds
from tests.helpers.images import CLASSES
from tests.helpers.paths import PROJECT


def test_frontier_is_what_nothing_as_small_beats(tmp_path):
    for model, accuracy in (("Q1_4", 40), ("Q1_2", 60), ("Q1_1", 50), ("Q1_19", 75), ("Q1_25", 74)):
        fake_run(tmp_path, model, accuracy=accuracy)
    assert [group.model for group in results.find_frontier(results.read_study(tmp_path).models)] == [
        "Q1_4",
        "Q1_2",
        "Q1_19",
    ]


@pytest.mark.parametrize("width", [7, 9])
def test_long_titles_stay_inside_their_figure(width):
    settings = dict(lr=0.0123, momentum=0.55, weight_decay=0.001, batch_size=128, shuffle="per-image", shuffle_seed=33)
    settings |= dict(val="holdout", holdout=1000, train_fraction=0.125, limit=1000, epochs=100, seed=123456)
    run = config.Config("A_long_name_of_an_own_model_that_goes_on_and_on", **settings)
    title = run.title("SYNTHETIC (not CIFAR-10) seed 12345")
    figure = utils.new_figure(width, 4, title)
    figure.canvas.draw()
    box = figure._suptitle.get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    shown = " ".join(figure._suptitle.get_text().replace("\xa0", " ").split())
    assert shown == " ".join(title.split())


@pytest.mark.figures
def test_figure_is_the_same_whatever_the_user_has_set(tmp_path):
    metrics = utils.EvalMetrics(1.0, torch.eye(3, dtype=torch.int64), 0.5)
    utils.plot_per_class(tmp_path / "ours.png", "Q1_1 on data", metrics, list("abc"))
    # Without LaTeX the first one ends any drawing.
    users = {"text.usetex": True, "font.family": ["Nonexistent Font"], "lines.linewidth": 9.0, "axes.facecolor": "red"}
    with matplotlib.rc_context(users):
        utils.plot_per_class(tmp_path / "users.png", "Q1_1 on data", metrics, list("abc"))
        assert {name: matplotlib.rcParams[name] for name in users} == users
    assert (tmp_path / "users.png").read_bytes() == (tmp_path / "ours.png").read_bytes()


def test_every_function_that_makes_a_figure_draws_in_our_style():
    paths = [*PROJECT.glob("*.py"), *PROJECT.glob("report/*.py"), *PROJECT.glob("experiments/**/*.py")]
    nodes = [node for path in paths for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    makers = [
        (node.name, [ast.unparse(decorator).removeprefix("utils.") for decorator in node.decorator_list])
        for node in nodes
        if isinstance(node, ast.FunctionDef) and "new_figure(" in ast.unparse(node.body)
    ]
    assert len(makers) > 10
    assert [name for name, decorators in makers if decorators != ["own_style()"]] == []


@pytest.fixture
def figures(monkeypatch):
    """The figures that are made, in place of their files."""
    made = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, *others: made.append(figure) or b"")
    return made


def test_legend_of_long_names_fits_the_figure(tmp_path, figures):
    points = [(1.0, stats.mean([60.0, 61.0])), (2.0, stats.mean([62.0, 63.0]))]
    plots.plot_lines(
        tmp_path / "lines.png", "Lines", "lr", {f"Q1_{i}, batch-size 64, {'x' * 30}": points for i in range(6)}
    )
    [figure] = figures
    figure.draw_without_rendering()
    place = figure.legends[0].get_window_extent()
    assert place.x0 >= 0
    assert place.x1 <= figure.bbox.x1


WILD = {"steady": [30.0, 31.0], "wild": [20.0, 50.0], "low": [1.0, 9.0], "alone": [25.0]}


def draw_wild(path, kind):
    """Draw accuracies some of whose intervals would leave what an accuracy can be."""
    estimates = {name: stats.mean(values) for name, values in WILD.items()}
    for name, values in WILD.items():
        for seed, value in enumerate(values):
            fake_run(
                path, {"steady": "Q1_1", "wild": "Q1_4", "low": "Q1_13", "alone": "Q1_19"}[name], seed, accuracy=value
            )
    groups = results.read_study(path).models
    if kind == "lines":
        return plots.plot_lines(path, "Lines", "lr", {"": list(enumerate(estimates.values(), 1))})
    if kind == "dots":
        return plots.plot_dots(path, "Dots", estimates, "steady", "the best")
    if kind == "severities":
        return plots.plot_severities(path, "others", {"Q1_1": [*estimates.values()]})
    draw = {"final": plots.plot_final, "parameters": plot_parameters, "classes": plot_classes}[kind]
    return draw(path, groups)


def plot_parameters(path, groups):
    return plots.plot_accuracy_against_parameters(path, "Parameters", groups, lambda group: group.model)


def plot_classes(path, groups):
    return plots.plot_side_by_side(path, "Classes", groups, lambda group: group.model)


@pytest.mark.parametrize("kind", ["lines", "dots", "severities", "final", "parameters", "classes"])
def test_intervals_of_accuracies_are_drawn_within_0_and_100_percent(tmp_path, figures, kind):
    draw_wild(tmp_path, kind)
    sideways = kind in ("dots", "final")
    ends = [
        point[0 if sideways else 1]
        for axes in figures[0].axes
        for collection in axes.collections
        for drawn in collection.get_paths()
        for point in drawn.vertices
    ]
    assert 0 == min(ends) < max(ends) <= 100


@pytest.mark.parametrize("axis", ["x", "y"])
def test_a_wild_interval_goes_on_beyond_the_axis_and_is_marked(tmp_path, figures, axis):
    estimates = {f"steady {i}": stats.mean([50 + i, 50.2 + i]) for i in range(5)} | {"wild": stats.mean([48, 58])}
    if axis == "x":
        plots.plot_dots(tmp_path, "Dots", estimates, "steady 4", "the best")
    else:
        plots.plot_lines(tmp_path, "Lines", "lr", {"Q1_1": list(enumerate(estimates.values(), 1))})
    [axes], [legend] = figures[0].axes, figures[0].legends
    low, high = getattr(axes, f"get_{axis}lim")()
    assert 35 < low < 50 < 55 < high < 65
    marks = [line.get_marker() for line in axes.lines if line.get_linestyle() == "None" and line.get_marker() in "<>v^"]
    assert marks == (["<", ">"] if axis == "x" else ["v", "^"])
    assert "the interval goes on" in [text.get_text() for text in legend.get_texts()]

    # Where all are about as wide, no axis is cut.
    figures.clear()
    plots.plot_dots(tmp_path, "Dots", {"a": stats.mean([48, 52]), "b": stats.mean([50, 53])}, "b", "the best")
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["the best"]


def test_charts_keep_intervals_within_percentages_and_a_wild_one_from_the_axis(tmp_path):
    for model, ends in {"Q1_1": (50, 50.2), "Q1_4": (49, 49.2), "Q1_13": (47, 47.2), "Q1_19": (20, 80)}.items():
        for seed, accuracy in enumerate(ends):
            fake_run(tmp_path, model, seed, accuracy=accuracy)
    groups = results.read_study(tmp_path).models
    [spec] = charts.accuracy_against_parameters(groups, lambda group: group.model, "accuracy", "blue").specs
    rows = spec["data"]["values"]
    assert all(0 <= row["low"] <= row["high"] <= 100 for row in rows)
    low, high = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert 30 < low < 47 < 50 < high < 70


def test_figure_by_class_is_narrow_enough_for_a_telephone(tmp_path, figures):
    for model in ("Q1_1", "Q1_4"):
        fake_seeds(tmp_path, model)
    plot_classes(tmp_path, results.read_study(tmp_path).models)
    # In 380 pixels, letters of 9 points are 7 pixels high.
    assert 9 / 72 * 380 / figures[0].get_figwidth() > 7
    over_epochs, by_class = (axes.get_position() for axes in figures[0].axes)
    assert over_epochs.y0 > by_class.y1


def test_outermost_dots_stand_inside_the_frame_and_the_best_is_named(tmp_path, figures):
    estimates = {name: stats.mean(values) for name, values in WILD.items()}
    plots.plot_dots(tmp_path, "Dots", estimates, "steady", "the best")
    low, high = sorted(figures[0].axes[0].get_ylim())
    assert (low, high) == pytest.approx((-0.6, len(WILD) - 0.4))
    assert "the best" in [text.get_text() for text in figures[0].legends[0].get_texts()]


@pytest.mark.parametrize(("is_open", "told"), [(False, "frame: the best"), (True, "dots: can't be told from it")])
def test_frames_of_a_map_are_explained(tmp_path, figures, is_open, told):
    table = {(y, x): (50.0 + y + x, is_open and y == 0) for y in (0, 1) for x in (0, 1)}
    plots.plot_heat_maps(tmp_path, "Map", ("lr", "momentum"), {"": table})
    assert told in figures[0].get_supxlabel()


@pytest.mark.figures
@pytest.mark.parametrize("has_titles", [True, False])
def test_narrow_confusion_has_no_blank_above_it(tmp_path, has_titles):
    metrics = utils.EvalMetrics(1.0, torch.eye(10, dtype=torch.int64), 0.5)
    with utils.drawn_in(utils.Style(width=3.3, has_titles=has_titles)):
        utils.plot_confusion(tmp_path / "confusion.png", "Q1_1 on data", metrics, CLASSES)
    with Image.open(tmp_path / "confusion.png") as picture:
        dark = np.asarray(picture.convert("L")).min(1) < 200
        assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.1)
    blank = np.diff(np.flatnonzero(dark), prepend=0, append=len(dark)).max()
    assert blank < 0.12 * len(dark)


@pytest.mark.figures
def test_figures_of_reports_tell_their_size(tmp_path):
    figure = plots.plot_parameters(tmp_path / "parameters.png", {"Q1_1": 62006, "Q1_4": 6194})
    with Image.open(figure.path) as picture:
        assert picture.info["dpi"] == pytest.approx((150, 150), abs=0.1)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("CIFAR-10 folder eec90e10", "CIFAR-10"),
        ("SYNTHETIC (not CIFAR-10) seed 0", "SYNTHETIC (not CIFAR-10) seed 0"),
        ("my folder eec90e10", "my folder eec90e10"),
    ],
)
def test_titles_of_figures_name_the_data_without_its_checksum(name, shown):
    title = utils.new_figure(9, 4, config.Config("Q1_1").title(name)).get_suptitle()
    assert title.splitlines()[0] == f"Q1_1 on {shown}"
