"""The lesson in docs/tour.ipynb as a file; tests/slow/test_tour.py executes it."""

import json

import pytest

from tests.helpers.paths import PROJECT

TOUR = PROJECT / "docs" / "tour.ipynb"


@pytest.fixture
def cells():
    return json.loads(TOUR.read_text(encoding="utf-8"))["cells"]


def test_is_small_and_without_outputs(cells):
    assert TOUR.stat().st_size < 30_000
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not [cell["id"] for cell in code if cell["outputs"] or cell["execution_count"] is not None]


def test_cells_have_ids_of_their_own(cells):
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_code_is_plain_python(cells):
    """No magic, which means another thing, or nothing, elsewhere: a command goes through ``run``."""
    for cell in cells:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), cell["id"], "exec")
