"""Parts of a page."""

from report import text


def test_intervals_of_accuracies_end_where_accuracies_do():
    assert text.accuracy_cell([1.0, 40.0]).text == "20.5 ± 27.6\n(0.0 … 100.0)"
    assert text.accuracy_cell([40.0, 42.0]).text == "41.0 ± 1.4\n(28.3 … 53.7)"
    assert text.mean_cell([1.0, 40.0]).text == "20.5 ± 27.6\n(-227.3 … 268.3)"
