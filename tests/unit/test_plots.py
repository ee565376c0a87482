"""Figures."""

import pytest

import utils
from report import results
from runner import config
from tests.helpers.fake_runs import fake_run


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
