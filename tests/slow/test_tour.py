"""The lesson in docs/tour.ipynb, executed in a copy of the project: fewer runs than it has, on few generated images."""

import shutil

import pytest

from report import load
from tests.helpers.paths import PROJECT

nbclient = pytest.importorskip("nbclient", reason="needs: pip install nbclient")
nbformat = pytest.importorskip("nbformat", reason="needs: pip install nbclient")
for package in ("ipykernel", "pandas"):
    pytest.importorskip(package, reason=f"needs: pip install {package}")

SHORTER = {"LIMIT = 10_000": "LIMIT = 1_000", "EPOCHS = 6": "EPOCHS = 2"}
SHORTER |= {'"0.003 0.04 0.06"': '"0.003 0.06"', "--seeds 0-2": "--seeds 0-1"}


def test_lesson(tmp_path, monkeypatch):
    left_out = shutil.ignore_patterns(".*", "__pycache__", "data", "results", "tests")
    project = shutil.copytree(PROJECT, tmp_path / "project", ignore=left_out)
    monkeypatch.setenv("TOUR_DATASET", "synthetic")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for name in ("MPLBACKEND", "MATPLOTLIBRC"):  # those of the tests would keep pictures out of the notebook
        monkeypatch.delenv(name, raising=False)
    lesson = nbformat.read(project / "docs" / "tour.ipynb", as_version=4)
    nbformat.validate(lesson)
    code = [cell for cell in lesson.cells if cell.cell_type == "code"]
    for text, shorter in SHORTER.items():
        [cell] = [cell for cell in code if text in cell.source]
        cell.source = cell.source.replace(text, shorter)

    # From the notebook's own folder, as Jupyter does; a cell that raises fails here.
    nbclient.NotebookClient(lesson, timeout=600, resources={"metadata": {"path": str(project / "docs")}}).execute()

    runs, epochs = load(project / "results" / "tour")
    assert len(runs) == runs["finished"].sum() == 4
    assert len(epochs) == runs["epochs"].sum()

    outputs = {cell.id: cell.outputs for cell in code}
    shown = {name: [kind for output in outputs[name] for kind in output.get("data", {})] for name in outputs}
    pictures = [name for name in shown if "image/png" in shown[name]]
    assert pictures == ["curves", "sweep-curves", "report", "confusion", "wrong"]
    said = {name: "".join(output.get("text", "") for output in outputs[name]) for name in outputs}
    assert "4 of 4 runs finished" in said["sweep"]
    assert not [name for name in said if "\r" in said[name]], "a bar floods the notebook"
    assert "Best: lr" in next(output.data["text/markdown"] for output in outputs["report"] if "data" in output)

    # What the lesson computes by itself is what the program wrote.
    first = runs[(runs["lr"] == 0.06) & (runs["seed"] == 0)].iloc[0]
    wrong = round((1 - first["test_accuracy"]) * first["test_images"])
    assert f"{wrong:,} of {first['test_images']:,} answers are wrong" in said["wrong"]
