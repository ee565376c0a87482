"""Figures."""

import ast

import matplotlib
import pytest
import torch

import utils
from report import plots, results, stats
from runner import config
from tests.helpers.fake_runs import fake_run
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


def test_legend_of_long_names_fits_the_figure(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(plots, "save_figure", lambda figure, *others: figures.append(figure) or b"")
    points = [(1.0, stats.mean([60.0, 61.0])), (2.0, stats.mean([62.0, 63.0]))]
    plots.plot_lines(
        tmp_path / "lines.png", "Lines", "lr", {f"Q1_{i}, batch-size 64, {'x' * 30}": points for i in range(6)}
    )
    [figure] = figures
    figure.draw_without_rendering()
    place = figure.legends[0].get_window_extent()
    assert place.x0 >= 0
    assert place.x1 <= figure.bbox.x1
