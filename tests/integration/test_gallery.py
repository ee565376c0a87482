"""The gallery: what it makes of runs with known figures."""

import json
import re

import pytest
from PIL import Image

from report import gallery, overview, results
from report.page import to_markdown
from runner import files
from runner.config import FIELDS, SHUFFLES
from tests.helpers.fake_runs import COLOURS, fake_baselines, fake_run, fake_seeds
from tests.helpers.images import CLASSES
from tests.helpers.markdown import rows


def gallery_of(root, notes=()):
    """The gallery on CIFAR-10 in ``root``; empty where there is none."""
    study = results.read_study(root / "cifar10")
    files.make_folder(study.folder / "report")
    blocks = gallery.compose(study, study.folder / "report")
    assert all(any(note in told for told in study.notes) for note in notes)
    return to_markdown(blocks, study.folder) if blocks else ""


def test_no_page_where_nothing_is_to_show(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    assert gallery_of(tmp_path) == ""
    overview.write(tmp_path)
    assert not (tmp_path / "cifar10/gallery.md").exists()
    report = (tmp_path / "cifar10/report.md").read_text(encoding="utf-8").replace(str(tmp_path), "")
    assert "gallery" not in report


def test_gallery_is_linked_in_report(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    fake_run(tmp_path, "Q1_1", shuffle="block:4", accuracy=50)
    overview.write(tmp_path)
    assert (tmp_path / "cifar10/gallery.md").read_text(encoding="utf-8") == gallery_of(tmp_path)
    assert "](gallery.md)" in (tmp_path / "cifar10/report.md").read_text(encoding="utf-8")
    assert 'href="gallery.html"' in (tmp_path / "cifar10/report.html").read_text(encoding="utf-8")
    page = (tmp_path / "cifar10/gallery.html").read_text(encoding="utf-8")
    assert 'src="data:image/png;base64,' in page
    assert "neighbourhoods.png" not in page


# ---- shuffles between the extremes ----------------------------------------------------------------------------------


@pytest.mark.figures
def test_dials_are_compared_with_no_shuffle(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "none", accuracy=60)
    fake_seeds(tmp_path, "Q1_1", "fixed", accuracy=44)
    fake_seeds(tmp_path, "Q1_1", "block:4", accuracy=50)
    fake_run(tmp_path, "Q1_19", 0, "within:8", accuracy=70)
    table, columns = rows(gallery_of(tmp_path), "shuffle")
    assert list(table) == ["none", "fixed", "block:4", "within:8"]
    assert columns[1:3] == ["Q1_1 (%)", "Q1_1 less none"]
    assert abs(float(table["block:4"][1].split()[0]) - 50) < 1
    assert abs(float(table["block:4"][2].split("<br>")[0]) + 10) < 1.5
    assert abs(float(table["within:8"][3]) - 70) < 2
    assert table["within:8"][4].strip() == ""  # there is no run of Q1_19 without a shuffle


@pytest.mark.parametrize(
    ("accuracies", "told"),
    [
        ({2: 45, 4: 50, 8: 54, 16: 58}, "blocks of 8×8 pixels"),
        ({2: 53, 4: 50, 8: 54, 16: 58}, "blocks of 2×2 pixels"),
        ({2: 45, 4: 46, 8: 47, 16: 48}, "of no size up to 16×16 is it decided"),
        ({2: 45, 4: 52.1, 8: 54, 16: 58}, "blocks of 8×8 pixels"),  # 4: within the noise of the middle
    ],
)
def test_neighbourhood_is_enough_at_half_of_what_fixed_takes(tmp_path, accuracies, told):
    fake_seeds(tmp_path, "Q1_1", "none", accuracy=60)
    fake_seeds(tmp_path, "Q1_1", "fixed", accuracy=44)
    for size, accuracy in accuracies.items():
        fake_seeds(tmp_path, "Q1_1", f"block:{size}", accuracy=accuracy)
    assert f"Q1_1: {told}" in gallery_of(tmp_path)


@pytest.mark.figures
def test_neighbourhood_is_undecided_where_fixed_takes_nothing(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "none", accuracy=51)
    fake_seeds(tmp_path, "Q1_1", "fixed", accuracy=51)
    fake_seeds(tmp_path, "Q1_1", "block:4", accuracy=52)
    assert "Q1_1: that a fixed shuffle takes anything: not decided, " in gallery_of(tmp_path)


@pytest.mark.figures
def test_transfers_are_shown_and_unreadable_ones_told(tmp_path):
    epochs = FIELDS["epochs"].default
    measured = {
        "trained_with": "none",
        "epoch": epochs,
        "weights": "last",
        "test_accuracy": dict.fromkeys(SHUFFLES, 0.5),
    }
    for folder in fake_seeds(tmp_path, "Q1_1"):
        files.write_json(folder / "transfer.json", measured)
    assert "report/transfer_Q1_1.png" in gallery_of(tmp_path)
    # One shuffle alone, and what is not the result of the run.
    odd = {"test_accuracy": {"none": 0.5}}, {"weights": "best"}, {"epoch": epochs - 1}, {"trained_with": "fixed"}
    for change in odd:
        files.write_json(folder / "transfer.json", measured | change)
        assert "report/transfer_Q1_1.png" in gallery_of(tmp_path, notes=["transfer.json is left out"])


# ---- cues that are known --------------------------------------------------------------------------------------------


def synthetic(root, cues, model="Q1_1", **accuracies):
    """Runs on synthetic images with these cues, by shuffle, ``per_image`` for ``per-image``."""
    slug = "synthetic" + "".join(f"-{cue}-1" for cue in cues.split(","))
    about = dict(data="SYNTHETIC", slug=slug, classes=[f"syn{i}" for i in range(10)], dataset="synthetic", cues=cues)
    for shuffle, accuracy in accuracies.items():
        fake_seeds(root, model, shuffle.replace("_", "-"), accuracy=accuracy, **about)


def verdicts(page):
    """The verdicts on what was expected, by the expectation's first word and shuffle, and the model."""
    lines = page[page.index("| expected |") :].split("\n\n")[0].splitlines()[2:]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return {(row[0], row[1]): row[2] for row in cells}


@pytest.mark.figures
def test_expectations_of_known_cues_are_decided(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "colour", none=98, fixed=98, per_image=97)
    synthetic(tmp_path, "position", none=95, fixed=94, per_image=10)
    synthetic(tmp_path, "texture", none=99, fixed=60, per_image=10)
    synthetic(tmp_path, "colour,texture", none=99, fixed=97, per_image=97)
    page = gallery_of(tmp_path)
    assert set(verdicts(page).values()) == {"holds"}
    assert len(verdicts(page)) == 5
    assert "report/cues.png" in page
    lines = [line for line in page.splitlines() if line.startswith(("| colour", "| position", "| texture"))]
    assert [line.split("|")[1].strip() for line in lines[:4]] == ["colour", "position", "texture", "colour + texture"]


@pytest.mark.figures
def test_expectations_that_fail_or_are_undecided_are_told_so(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "colour", none=98, per_image=60)
    synthetic(tmp_path, "position", none=95, fixed=70, per_image=30)
    synthetic(tmp_path, "texture", model="Q2_1", none=20, fixed=16.7)  # not expected of an affine network
    synthetic(tmp_path, "texture", none=20, fixed=15)
    found = verdicts(gallery_of(tmp_path))
    assert found.pop(("texture falls in a fixed shuffle", "Q1_1")) == "not decided"
    assert set(found.values()) == {"does not hold"}
    assert len(found) == 3


# ---- baselines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "verdict"), [(30, "does not hold, -5"), (40, "holds, +5"), (35.1, "not decided, +0")]
)
def test_network_is_judged_against_the_colours(tmp_path, network, verdict):
    fake_seeds(tmp_path, "Q1_1", "per-image", accuracy=network)
    fake_baselines(tmp_path / "cifar10", 35)
    page = gallery_of(tmp_path)
    line = next(line for line in page.splitlines() if "finds more" in line)
    assert verdict.split()[0] in line
    assert verdict.rsplit(", ")[1][:1] in line
    table, _ = rows(page, "classifier")
    assert table["chance: what chance is"][1].strip() == "10.0"


@pytest.mark.figures
@pytest.mark.parametrize(("sign", "told"), [(1, "holds, correlation +1.00"), (-1, "does not hold, correlation -1.00")])
def test_classes_are_compared_with_the_colours_of_each(tmp_path, sign, told):
    fake_seeds(tmp_path, "Q1_1", "per-image", per_class=COLOURS)
    fake_seeds(tmp_path, "Q1_1", "grey", per_class={name: 100 - value for name, value in COLOURS.items()})
    fake_baselines(
        tmp_path / "cifar10", 35, per_class={name: 50 + sign * (value - 25) for name, value in COLOURS.items()}
    )
    page = gallery_of(tmp_path)
    opposite = "+1.00" if sign < 0 else "-1.00"
    assert re.search(rf"Trained and tested on grey values .* correlation \{opposite}", page)
    assert f"With a per-image shuffle the network's accuracy by class goes with the colour histogram's: {told}" in page
    ends = [["plane, deer, frog", "bird, horse, cat"], ["cat, horse, bird", "frog, deer, plane"]][sign < 0]
    assert f"knows {ends[0]} best and {ends[1]} worst" in page
    table, _ = rows(page, "class")
    assert list(table) == list(CLASSES)
    assert "“planes and deer best”: holds" in page


def test_baselines_that_cannot_be_read_are_told(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "per-image")
    (tmp_path / "cifar10/baselines.json").write_text("{", encoding="utf-8")
    assert gallery_of(tmp_path, notes=["baselines.json can't be read"]) == ""


def test_baselines_on_other_images_are_not_compared(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "per-image")
    fake_baselines(tmp_path / "cifar10")
    path = tmp_path / "cifar10/baselines.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["data"]["sha256"] = "another"
    path.write_text(json.dumps(content), encoding="utf-8")
    assert gallery_of(tmp_path) == ""


def test_strengths_and_seeds_of_cues_are_kept_apart(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "texture", none=99, fixed=60)
    about = dict(data="SYNTHETIC", classes=[f"syn{i}" for i in range(10)], dataset="synthetic")
    fake_run(tmp_path, "Q1_1", accuracy=60, slug="synthetic-texture-0.5", cues="texture:0.5", lr=0.02, **about)
    fake_run(tmp_path, "Q1_1", accuracy=97, slug="synthetic-texture-1-seed-3", cues="texture", data_seed=3, **about)
    page = gallery_of(tmp_path)
    table, _ = rows(page, "cues")
    assert list(table) == ["texture", "texture 0.5", "texture + data seed 3"]
    assert float(table["texture"][3].split()[0]) > 90
    assert 50 < float(table["texture 0.5"][3]) < 70
    assert list(verdicts(page)) == [("texture falls in a fixed shuffle", "Q1_1")]
    assert "lr 0.02 (texture 0.5)" in page


def test_shuffles_between_the_extremes_on_known_cues(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "position", none=95, fixed=80, **{"block:4": 90})
    synthetic(tmp_path, "texture", "Q1_19", **{"within:2": 70})
    table, columns = rows(gallery_of(tmp_path), "cues | model | shuffle | runs | accuracy (%)")
    assert columns[2:] == ["shuffle", "runs", "accuracy (%)", "less none"]
    assert [cell.strip() for cell in table["position"][1:4]] == ["Q1_1", "block:4", "3"]
    assert abs(float(table["position"][5].split("<br>")[0]) + 5) < 1.5
    assert table["texture"][5].strip() == ""


@pytest.mark.parametrize("value", [None, "much", float("nan"), float("inf")])
def test_templates_of_known_cues_are_means_over_seeds(tmp_path, value):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "texture", "Q2_1", none=31, fixed=34)
    folders = sorted((tmp_path / "synthetic-texture-1/Q2_1").glob("*none*"))
    for share, folder in zip((0.1, 0.3), folders):
        scores = dict(own_mean=0.01, own_sd=0.7, others_sd=0.3, own_highest=0.31, own_lowest=0.3)
        files.write_json(folder / "matrix.json", {"uniform_share": share, "scores": scores})
    scores["own_sd"] = value
    (folders[2] / "matrix.json").write_text(json.dumps({"uniform_share": 0.2, "scores": scores}), encoding="utf-8")
    page = gallery_of(tmp_path, notes=[f"{folders[2] / 'matrix.json'} is left out"])
    table, _ = rows(page, "cues | model | shuffle | runs | the same in all places (%)")
    cells = [cell.strip() for cell in table["texture"]]
    assert cells[1:] == ["Q2_1", "none", "2", "20.0", "0.0", "0.7", "0.3", "31.0", "30.0"]


# ---- affine networks ------------------------------------------------------------------------------------------------


@pytest.mark.figures
def test_collapsed_networks_stand_beside_a_logistic_regression(tmp_path):
    (folder, *_) = fake_seeds(tmp_path, "Q2_1", accuracy=37)
    facts = {"network_parameters": 1_119_926, "largest_difference": 2e-6, "effective_rank": 7.4}
    files.write_json(folder / "matrix.json", facts)
    Image.new("RGB", (40, 20), "red").save(folder / "templates.png")
    fake_baselines(tmp_path / "cifar10", pixels=39.5)
    page = gallery_of(tmp_path)
    table, _ = rows(page, "run")
    row = next(row for name, row in table.items() if name.startswith("Q2_1"))
    assert [cell.strip() for cell in row[1:4]] == ["1,119,926", "2.0e-06", "7.4"]
    assert table["logistic regression, trained directly"][4].strip() == "39.5"
    assert "templates.png)" in page
