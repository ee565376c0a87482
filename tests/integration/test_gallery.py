"""The gallery: what it makes of runs with known figures."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from report import gallery, overview, results
from report.page import to_markdown
from runner import files, records
from runner.config import FIELDS, SHUFFLES
from tests.helpers.fake_runs import COLOURS, fake_baselines, fake_run, fake_seeds
from tests.helpers.images import CLASSES
from tests.helpers.markdown import rows

EPOCHS = FIELDS["epochs"].default


def gallery_of(root, notes=()):
    """The gallery on CIFAR-10 in ``root``; empty where there is none."""
    study = results.read_study(root / "cifar10")
    files.make_folder(study.folder / "report")
    blocks = gallery.compose(study, study.folder / "report")
    assert all(any(note in told for told in study.notes) for note in notes)
    return to_markdown(blocks, study.folder) if blocks else ""


def verdict_of(page, statement):
    """What follows a statement in the page: its verdict and figures."""
    (line, *others) = dict.fromkeys(line for line in page.splitlines() if statement in line)
    assert not others
    return line.partition(statement)[2].removeprefix(": ")


def fake_orders(root, model, shuffle, accuracies, **options):
    """Writes three seeds of each of several permutations, with these accuracies."""
    for order, accuracy in enumerate(accuracies):
        fake_seeds(root, model, shuffle, accuracy=accuracy, shuffle_seed=order, **options)


def test_no_page_where_nothing_is_to_show(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    assert gallery_of(tmp_path) == ""
    overview.write(tmp_path, overview.Options(study=True))
    assert not (tmp_path / "cifar10/gallery.md").exists()
    report = (tmp_path / "cifar10/report.md").read_text(encoding="utf-8").replace(str(tmp_path), "")
    assert "gallery" not in report


def test_gallery_is_linked_in_report(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    fake_run(tmp_path, "Q1_1", shuffle="block:4", accuracy=50)
    overview.write(tmp_path, overview.Options(study=True))
    assert (tmp_path / "cifar10/gallery.md").read_text(encoding="utf-8") == gallery_of(tmp_path)
    assert "](gallery.md)" in (tmp_path / "cifar10/report.md").read_text(encoding="utf-8")
    assert 'href="gallery.html"' in (tmp_path / "cifar10/report.html").read_text(encoding="utf-8")
    page = (tmp_path / "cifar10/gallery.html").read_text(encoding="utf-8")
    assert 'src="data:image/png;base64,' in page
    assert "neighbourhoods.png" not in page


@pytest.mark.figures
def test_page_opens_with_what_is_found_and_one_picture(tmp_path):
    accuracies = {"none": 60, "fixed": 44, "block:8": 54, "grey": 58, "per-image": 30, "grey+per-image": 23}
    for shuffle, accuracy in accuracies.items():
        folders = fake_seeds(tmp_path, "Q1_1", shuffle, accuracy=accuracy)
        if shuffle == "none":
            for folder in folders:
                files.write_json(folder / "transfer.json", transfer_of({"grey": 50}))
    for shuffle, accuracy in {"none": 70, "fixed": 50}.items():
        fake_seeds(tmp_path, "Q1_1", shuffle, accuracy=accuracy, epochs=20)
    for epochs, fixed in ((EPOCHS, 40), (20, 80)):
        synthetic(tmp_path, "texture", none=99, fixed=fixed, epochs=epochs)
    page = gallery_of(tmp_path)
    title, found, picture, heading, *_ = page.split("\n\n")
    assert page.count(picture) == 1
    assert title.startswith("# ")
    assert heading.startswith("## ")
    assert picture.startswith("![")
    beginnings = ["Q1_1, 10 epochs: blocks of 8×8", "What a fixed shuffle costs", "Q1_1 loses more by “grey”"]
    beginnings += ["Trained and tested on grey images, Q1_1", "Q1_1 finds more of texture"]
    sentences = found.splitlines()
    assert [line.startswith(f"- {start}") for line, start in zip(sentences, beginnings)] == [True] * len(sentences)
    assert len(sentences) == 5


# ---- shuffles between the extremes ----------------------------------------------------------------------------------


@pytest.mark.figures
def test_dials_are_compared_with_no_shuffle(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "none", accuracy=60)
    fake_orders(tmp_path, "Q1_1", "fixed", [43, 44, 45])
    fake_seeds(tmp_path, "Q1_1", "block:4", accuracy=50)
    fake_run(tmp_path, "Q1_19", 0, "within:8", accuracy=70)
    page = gallery_of(tmp_path)
    assert "report/neighbours_kept.png" in page
    assert "report/neighbourhoods.png" in page
    first, second = page.index("Q1_1, 10 epochs: all shuffles"), page.index("Q1_19, 10 epochs: all shuffles")
    table, columns = rows(page[first:second], "shuffle")
    assert list(table) == ["none", "fixed", "block:4"]
    assert columns[1:] == ["runs", "neighbour pairs kept (%)", "need: trained with it (%)", "need − none"]
    assert table["fixed"][1:3] == ["9 runs, 3 permutations", "0.4"]
    assert abs(float(table["block:4"][3].split()[0]) - 50) < 1
    assert abs(float(table["block:4"][4].split("<br>")[0]) + 10) < 1.5
    table, _ = rows(page[second:], "shuffle")
    assert abs(float(table["within:8"][3]) - 70) < 2
    assert table["within:8"][4] == ""  # there is no run of Q1_19 without a shuffle


@pytest.mark.figures
def test_runs_that_do_not_tell_what_their_shuffle_keeps_are_shown_without(tmp_path):
    folders = fake_seeds(tmp_path, "Q1_1", "block:4", accuracy=50)
    for folder in folders:
        description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        description["data"]["neighbours_kept"] = None
        files.write_json(folder / "config.json", description)
    table, _ = rows(gallery_of(tmp_path), "shuffle")
    assert table["block:4"][2] == ""


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
    assert f"Q1_1, 10 epochs: {told}" in gallery_of(tmp_path)


@pytest.mark.parametrize(("orders", "told"), [([54, 54.3, 53.7], "blocks of 8×8"), ([54, 58, 50], "of no size up to")])
def test_neighbourhood_is_decided_over_permutations(tmp_path, orders, told):
    fake_seeds(tmp_path, "Q1_1", "none", accuracy=60)
    fake_seeds(tmp_path, "Q1_1", "fixed", accuracy=44)
    fake_orders(tmp_path, "Q1_1", "block:8", orders)
    assert f"Q1_1, 10 epochs: {told}" in gallery_of(tmp_path)


@pytest.mark.figures
def test_neighbourhood_is_undecided_where_fixed_takes_nothing(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "none", accuracy=51)
    fake_seeds(tmp_path, "Q1_1", "fixed", accuracy=51)
    fake_orders(tmp_path, "Q1_1", "block:4", [52, 51.5])
    told = verdict_of(gallery_of(tmp_path), "Q1_1, 10 epochs: that a fixed shuffle takes anything")
    assert told.startswith("not decided, ")
    assert re.search(r"Over all 3 permutations .* it makes \+0\.\d+ \(.*\) points; within 2 points.*: holds", told)


@pytest.mark.figures
@pytest.mark.parametrize(("late", "verdict"), [(46, "holds"), (54, "does not hold"), (50, "not decided")])
def test_costs_are_compared_between_budgets(tmp_path, late, verdict):
    for epochs, accuracies in ((10, {"none": 60, "fixed": 45, "block:4": 50}), (20, {"none": 65, "fixed": late})):
        for shuffle, accuracy in accuracies.items():
            fake_seeds(tmp_path, "Q1_1", shuffle, accuracy=accuracy, epochs=epochs)
    fake_seeds(tmp_path, "Q1_1", "block:4", accuracy=53, epochs=20)
    fake_seeds(tmp_path, "Q1_1", "fixed", accuracy=10, epochs=20, lr=0.1)  # another setting differs, too
    page = gallery_of(tmp_path)
    told = re.findall(r"What a fixed shuffle costs Q1_1 grows .* after 10 epochs to .* after 20: ([a-z ]+), ", page)
    assert set(told) == {verdict}
    assert "Q1_1, 20 epochs: all shuffles" in page


@pytest.mark.parametrize(
    ("moved", "verdict"), [(55.5, "holds"), (57, "not decided"), (53, "not decided"), (59.5, "does not hold")]
)
def test_shuffles_of_as_many_pieces_are_compared(tmp_path, moved, verdict):
    fake_seeds(tmp_path, "Q1_1", "none", accuracy=70)
    fake_seeds(tmp_path, "Q1_1", "within:2", accuracy=55)
    fake_seeds(tmp_path, "Q1_1", "block:16", accuracy=moved)
    fake_seeds(tmp_path, "Q1_1", "block:8", accuracy=55)  # of more pieces
    page = gallery_of(tmp_path)
    told = verdict_of(page, "Q1_1, 10 epochs: within:2 and block:16, which both permute 4 pieces, come out alike: ")
    assert told.startswith(f"{verdict}, ")
    assert told.endswith("They keep 50 and 94 % of the pairs of neighbours.")
    assert page.count("come out alike:") == 1


def test_shuffles_that_all_come_out_like_none_are_not_remarked_on(tmp_path):
    for shuffle in ("none", "within:2", "block:16"):
        fake_seeds(tmp_path, "Q1_1", shuffle, accuracy=55)
    assert "come out alike:" not in gallery_of(tmp_path)


@pytest.mark.parametrize(("edges", "verdicts"), [(57, ("holds", "holds")), (60, ("not decided", "holds")),
                                                 (50, ("holds", "not decided"))])  # fmt: skip
def test_edges_of_blocks_are_told_from_moving_them(tmp_path, edges, verdicts):
    for shuffle, accuracy in {"none": 60, "edges:8": edges, "block:8": 50}.items():
        fake_seeds(tmp_path, "Q1_1", shuffle, accuracy=accuracy)
    found = re.search(r"alone cost accuracy: ([a-z ]+), .* costs more than they do: ([a-z ]+), ", gallery_of(tmp_path))
    assert found.groups() == verdicts


@pytest.mark.parametrize(("shared", "verdict"), [(57, "holds"), (55, "not decided"), (53, "does not hold")])
def test_one_order_for_all_blocks_is_told_from_an_own_one_for_each(tmp_path, shared, verdict):
    fake_seeds(tmp_path, "Q1_1", "within:4", accuracy=55)
    fake_seeds(tmp_path, "Q1_1", "within-shared:4", accuracy=shared)
    assert verdict_of(gallery_of(tmp_path), "pixels costs less than an own one for each").startswith(f"{verdict}, ")


# ---- need and use ----------------------------------------------------------------------------------------------------


def transfer_of(accuracies, **changes):
    shares = dict.fromkeys(SHUFFLES, 0.5) | {name: value / 100 for name, value in accuracies.items()}
    return {"trained_with": "none", "epoch": EPOCHS, "weights": "last", "test_accuracy": shares} | changes


@pytest.mark.figures
@pytest.mark.parametrize(("tested", "verdict"), [(52, "holds"), (58, "not decided"), (59.5, "does not hold")])
def test_need_stands_beside_use(tmp_path, tested, verdict):
    for seed, folder in enumerate(fake_seeds(tmp_path, "Q1_1", accuracy=60)):
        files.write_json(folder / "transfer.json", transfer_of({"none": 60, "grey": tested + 0.1 * seed}))
    fake_seeds(tmp_path, "Q1_1", "grey", accuracy=58)
    page = gallery_of(tmp_path)
    table, columns = rows(page, "shuffle")
    assert columns[5:] == ["use: only tested with it (%)", "use − none", "use − need"]
    assert table["none"][5:] == ["", "", ""]
    assert abs(float(table["grey"][6].split("<br>")[0]) - (tested - 60)) < 0.3
    assert abs(float(table["grey"][7].split("<br>")[0]) - (tested - 58)) < 0.7
    assert verdict_of(page, "than when it was (what it needs)").startswith(f"{verdict}, ")
    assert "report/use.png" in page


@pytest.mark.figures
def test_transfers_are_shown_and_unreadable_ones_told(tmp_path):
    for folder in fake_seeds(tmp_path, "Q1_1"):
        files.write_json(folder / "transfer.json", transfer_of({}))
    assert "report/transfer_Q1_1.png" in gallery_of(tmp_path)
    # One shuffle alone, and what is not the result of the run.
    odd = {"test_accuracy": {"none": 0.5}}, {"weights": "best"}, {"epoch": EPOCHS - 1}, {"trained_with": "fixed"}
    for change in odd:
        files.write_json(folder / "transfer.json", transfer_of({}, **change))
        assert "report/transfer_Q1_1.png" in gallery_of(tmp_path, notes=["transfer.json is left out"])


# ---- cues that are known --------------------------------------------------------------------------------------------


def synthetic(root, cues, model="Q1_1", epochs=EPOCHS, **accuracies):
    """Runs on synthetic images with these cues, by shuffle, ``per_image`` for ``per-image``."""
    slug = "synthetic" + "".join(f"-{cue}-1" for cue in cues.split(","))
    about = dict(data="SYNTHETIC", slug=slug, classes=[f"syn{i}" for i in range(10)], dataset="synthetic", cues=cues)
    for shuffle, accuracy in accuracies.items():
        fake_seeds(root, model, shuffle.replace("_", "-"), accuracy=accuracy, epochs=epochs, **about)


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
    table, _ = rows(page, "cues")
    assert list(table) == ["colour", "position", "texture", "colour + texture"]


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


def test_network_that_is_low_while_it_learns_is_not_decided(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "position", none=95, fixed=70)
    synthetic(tmp_path, "texture", none=99, fixed=60)
    for folder in tmp_path.glob("synthetic-*/Q1_1/*fixed*"):
        history = records.read_history(folder)
        history[-2]["train_accuracy"] = history[-1]["train_accuracy"] - 0.03
        files.write_history(folder, "SYNTHETIC", history)
    page = gallery_of(tmp_path)
    assert set(verdicts(page).values()) == {"not decided"}
    assert page.count("points from no shuffle; still learning after 10 epochs") == 2
    table, _ = rows(page, "cues")
    assert "still learning" in table["position"][5]
    assert "still learning" not in table["position"][4]


def test_expectations_are_judged_after_the_most_epochs(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "position", none=93, fixed=70, per_image=10)
    synthetic(tmp_path, "position", none=93, fixed=92, epochs=20)
    page = gallery_of(tmp_path)
    assert verdicts(page)["position survives a fixed shuffle", "Q1_1"] == "holds"
    told = verdict_of(page, "Q1_1 finds more of position behind a fixed shuffle when it is trained for longer, ")
    assert re.match(r"[67]\d\.\d % after 10 epochs and 9\d\.\d % after 20: holds, ", told)
    assert "report/budgets.png" in page
    table, _ = rows(page, "cue")
    assert len([line for line in page.splitlines() if line.startswith("| position | Q1_1 | ")]) >= 2


@pytest.mark.parametrize(("late", "verdict"), [(50, "holds"), (40, "not decided"), (30, "does not hold")])
def test_what_more_epochs_bring_is_decided(tmp_path, late, verdict):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "texture", none=99, fixed=40)
    synthetic(tmp_path, "texture", none=99, fixed=late, epochs=20)
    assert re.search(rf"behind a fixed shuffle .* after 20: {verdict}, ", gallery_of(tmp_path))


def test_accuracies_are_told_as_shares_of_the_ceiling(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "position", none=93.6, fixed=51.8, per_image=10)
    synthetic(tmp_path, "colour,position", none=99)
    table, columns = rows(gallery_of(tmp_path), "cues")
    assert columns[3:5] == ["ceiling (%)", "none (%)"]
    assert table["position"][3] == "93.6"
    shares = [int(re.search(r"<br>(-?\d+) % of what is there", cell)[1]) for cell in table["position"][4:]]
    assert [abs(share - wanted) <= 1 for share, wanted in zip(shares, (100, 50, 0))] == [True] * 3
    assert "of what is there" not in "".join(table["colour + position"])


@pytest.mark.parametrize(
    ("both", "gains", "survives"),
    [(91, "holds", "holds"), (80, "not decided", "does not hold"), (87, "holds", "not decided")],
)
def test_blur_before_a_fixed_shuffle_is_decided(tmp_path, both, gains, survives):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "position", none=93, fixed=80, **{"blur:5": 92, "blur:5+fixed": both})
    page = gallery_of(tmp_path)
    found = re.search(r"gives Q1_1 more than without the blur: ([a-z ]+), .* the shuffle then: ([a-z ]+), ", page)
    assert found.groups() == (gains, survives)
    assert len(re.findall("more than without the blur", page)) == 1


@pytest.mark.parametrize(("accuracy", "verdict"), [(11, "holds"), (15, "not decided"), (30, "does not hold")])
def test_histogram_finds_nothing_where_nothing_is_in_pixel_values(tmp_path, accuracy, verdict):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "texture", none=99)
    fake_baselines(tmp_path / "synthetic-texture-1", accuracy)
    told = verdict_of(gallery_of(tmp_path), "The colour histogram finds nothing of texture")
    assert told.startswith(f"{verdict}, {accuracy}.0 (")


@pytest.mark.parametrize(
    ("colour", "answer"),
    [(0.8, "colour, bias to colour 8"), (0.1, "position, bias to colour 1"), (0.46, "not decided, ")],
)
def test_cues_that_disagree_tell_which_is_preferred(tmp_path, colour, answer):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "colour,position", none=99)
    folders = sorted((tmp_path / "synthetic-colour-1-position-1/Q1_1").iterdir())
    for seed, folder in enumerate(folders):
        by_colour = colour + 0.02 * (seed - 1)
        answers = {"colour": by_colour, "position": 0.9 - by_colour, "neither": 0.1}
        pairs = [{"cues": ["colour", "position"], "images": 2000, "answers": answers}]
        files.write_json(folder / "conflict.json", {"epoch": EPOCHS, "weights": "last", "pairs": pairs})
    page = gallery_of(tmp_path)
    assert verdict_of(page, "Q1_1, none: of colour and position it answers by ").startswith(answer)
    assert "| colour / position | 3 |" in page
    files.write_json(folders[0] / "conflict.json", {"epoch": 1, "weights": "last", "pairs": pairs})
    assert "| colour / position | 2 |" in gallery_of(tmp_path, notes=[f"{folders[0] / 'conflict.json'} is left out"])


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
    assert table["chance: what chance is"][2] == "10.0"


@pytest.mark.parametrize(("network", "verdict"), [(36, "holds"), (34, "not decided"), (30, "does not hold")])
def test_network_that_is_made_for_pixel_values_is_asked_whether_it_reaches_the_histogram(
    tmp_path, monkeypatch, network, verdict
):
    monkeypatch.setattr(gallery, "BAG", "Q1_1")
    fake_seeds(tmp_path, "Q1_1", "per-image", accuracy=network)
    fake_baselines(tmp_path / "cifar10", 35)
    told = verdict_of(
        gallery_of(tmp_path), "Q1_1, 10 epochs: it sees each pixel alone, and reaches the colour histogram"
    )
    assert told.startswith(f"{verdict}, ")


def test_every_baseline_is_shown(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "per-image")
    fake_baselines(tmp_path / "cifar10", 44)
    path = tmp_path / "cifar10/baselines.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["baselines"]["grey histogram"] = content["baselines"]["colour histogram"] | {"accuracy": 0.26}
    files.write_json(path, content)
    table, _ = rows(gallery_of(tmp_path), "classifier")
    cells = next(row for name, row in table.items() if name.startswith("grey histogram: "))
    assert cells[2] == "26.0"
    assert cells[3].startswith("-18.0")


@pytest.mark.parametrize(("grey", "verdict"), [(23, "holds"), (20, "not decided"), (17, "does not hold")])
def test_share_found_without_colour_is_decided_at_half(tmp_path, grey, verdict):
    fake_seeds(tmp_path, "Q1_1", "per-image", accuracy=30)
    fake_seeds(tmp_path, "Q1_1", "grey+per-image", accuracy=grey)
    page = gallery_of(tmp_path)
    told = verdict_of(page, "Trained and tested on grey images, Q1_1 reaches ")
    assert abs(float(told.split()[0]) - 100 * (grey - 10) / 20) < 4
    assert told.endswith(f"both with shuffle “per-image”; more than half: {verdict}.")
    table, _ = rows(page, "model")
    assert table["Q1_1"][1] == "per-image"
    assert "only the colours" not in page


def test_nothing_is_said_of_the_colours_of_a_network_at_chance(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "per-image", accuracy=10)
    fake_seeds(tmp_path, "Q1_1", "grey+per-image", accuracy=10)
    assert "Trained and tested on grey" not in gallery_of(tmp_path)


UNRELATED = dict(zip(CLASSES, (60, 50, 55, 70, 45, 65, 52, 68, 48, 58)))


@pytest.mark.figures
@pytest.mark.parametrize(("sign", "verdict"), [(1, "holds"), (-1, "does not hold")])
def test_classes_are_compared_with_the_histogram_given_those_without_a_shuffle(tmp_path, sign, verdict):
    fake_seeds(tmp_path, "Q1_1", per_class=UNRELATED)
    fake_seeds(tmp_path, "Q1_1", "per-image", per_class=COLOURS)
    fake_seeds(
        tmp_path, "Q1_1", "grey", per_class=UNRELATED | {"plane": 62, "car": 49, "cat": 71, "deer": 44, "dog": 64}
    )
    by_class = {name: 50 + sign * (value - 25) for name, value in COLOURS.items()}
    fake_baselines(tmp_path / "cifar10", 35, per_class=by_class)
    page = gallery_of(tmp_path)
    told = verdict_of(
        page, "With a per-image shuffle the network's accuracy by class goes with the colour histogram's, given "
    )
    assert told.startswith(f"that without a shuffle: {verdict}, partial correlation {sign:+.2f} (")
    assert re.search(r"Trained and tested on grey values .* without a shuffle: not decided, partial correlation", page)
    table, _ = rows(page, "class")
    assert list(table) == list(CLASSES)


def test_classes_go_with_nothing_where_no_run_is_without_a_shuffle(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "per-image", per_class=COLOURS)
    fake_baselines(tmp_path / "cifar10", 35, per_class=COLOURS)
    assert "given that without a shuffle: not decided, there are no runs without a shuffle." in gallery_of(tmp_path)


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
    assert float(table["texture"][4].split()[0]) > 90
    assert 50 < float(table["texture 0.5"][4]) < 70
    assert list(verdicts(page)) == [("texture falls in a fixed shuffle", "Q1_1")]
    assert "lr 0.02 (texture 0.5)" in page


def test_shuffles_between_the_extremes_on_known_cues(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "position", none=95, fixed=80, **{"block:4": 90})
    synthetic(tmp_path, "texture", "Q1_19", **{"within:2": 70})
    table, columns = rows(gallery_of(tmp_path), "cues | model | shuffle | runs | accuracy (%)")
    assert columns[2:] == ["shuffle", "runs", "accuracy (%)", "− none (points)"]
    assert table["position"][1:4] == ["Q1_1", "block:4", "3 runs"]
    assert abs(float(table["position"][5].split("<br>")[0]) + 5) < 1.5
    assert table["texture"][5].strip() == ""


@pytest.mark.parametrize("value", [None, "much", float("nan"), float("inf")])
def test_templates_of_known_cues_are_means_over_seeds(tmp_path, value):
    fake_seeds(tmp_path, "Q1_1")
    synthetic(tmp_path, "texture", "Q2_1", none=31, fixed=34)
    folders = sorted((tmp_path / "synthetic-texture-1/Q2_1").glob("*none*"))
    for share, folder in zip((0.1, 0.3), folders):
        scores = dict(own_mean=0.01, own_sd=0.7, others_sd=0.3, own_highest=0.31, own_lowest=0.3)
        untrained = scores | {"uniform_share": share / 10, "own_highest": 0.1}
        files.write_json(folder / "matrix.json", {"uniform_share": share, "scores": scores, "untrained": untrained})
    scores["own_sd"] = value
    (folders[2] / "matrix.json").write_text(json.dumps({"uniform_share": 0.2, "scores": scores}), encoding="utf-8")
    page = gallery_of(tmp_path, notes=[f"{folders[2] / 'matrix.json'} is left out"])
    told = [line for line in page.splitlines() if line.startswith("| texture | Q2_1 | none | ") and "trained" in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")][3:] for line in told]
    assert cells == [
        ["trained", "2", "20.0", "0.0", "0.7", "0.3", "31.0", "30.0"],
        ["untrained", "2", "2.0", "0.0", "0.7", "0.3", "10.0", "30.0"],
    ]


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


def tell_correct(folder, rng=None):
    """Adds to a run which images it got right: the easiest, or with ``rng`` any."""
    metrics = records.read_metrics(folder)
    right = np.arange(10_000) < round(10_000 * metrics["test"]["accuracy"])
    bits = np.packbits(rng.permutation(right) if rng else right)
    metrics["test"] |= {"correct_images": bits.tobytes().hex(), "accuracy": right.mean()}
    files.write_json(folder / "metrics.json", metrics)


@pytest.mark.parametrize(("by_chance", "verdict"), [(False, "holds"), (True, "does not hold")])
def test_spread_over_many_seeds_is_told_from_that_of_images(tmp_path, by_chance, verdict):
    rng = np.random.default_rng(0)
    for seed in range(25):
        tell_correct(fake_run(tmp_path, seed=seed), rng if by_chance else None)
    assert f"that it is more: {verdict}." in gallery_of(tmp_path)
    fewer = tmp_path / "fewer"
    for seed in range(10):
        tell_correct(fake_run(fewer, seed=seed))
    assert "standard deviation" not in gallery_of(fewer)


@pytest.mark.parametrize(("orders", "verdict"), [([54, 55, 53], "with block:8 (1.0 points): holds"), ([54] * 3, "not")])
def test_permutations_are_told_from_their_seeds(tmp_path, orders, verdict):
    fake_seeds(tmp_path, "Q1_1", "none", accuracy=60)
    fake_orders(tmp_path, "Q1_1", "block:8", orders)
    page = gallery_of(tmp_path)
    assert f"that permutations differ beyond their seeds {verdict}" in page.replace("with any shuffle: not", "not")
    assert "| 9 runs, 3 permutations |" in page


def test_shuffle_of_each_image_is_no_permutation_among_others(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "none", accuracy=60)
    fake_orders(tmp_path, "Q1_1", "per-image", [30, 31, 32])
    assert "differ beyond their seeds" not in gallery_of(tmp_path)


def test_small_differences_take_in_the_test_images(tmp_path):
    """Networks that lose nothing: their runs agree to a tenth of a point, on images that are right by chance."""

    def told(root, **correct):
        for shuffle in ("none", "fixed", "block:4"):
            folders = [fake_run(root, "Q1_1", seed, shuffle, accuracy=60) for seed in range(3)]
            for folder in folders:
                tell_correct(folder, **correct)
        [text] = re.findall(r"Over all .* it makes (.*?) points; within", gallery_of(root))[:1]
        low, high = re.search(r"\((\S+) … (\S+)\)", text).groups()
        return (float(high) - float(low)) / 2

    by_runs, by_images = told(tmp_path / "same"), told(tmp_path / "chance", rng=np.random.default_rng(0))
    assert by_images > by_runs + 0.2


def test_gallery_says_what_its_runs_were_computed_with(tmp_path):
    fake_seeds(tmp_path, "Q1_1", "none", recipe="fast")
    fake_seeds(tmp_path, "Q1_1", "block:8", recipe="fast")
    fake_seeds(tmp_path, "Q1_1", "block:8", recipe="fast", epochs=8)
    page = gallery_of(tmp_path)
    assert "learning rate and weight decay of the fast recipe were chosen so" in page
    table, columns = rows(page[page.index("## How it was measured") :], "images")
    assert columns[1:4] == ["settings", "runs", "processor"]
    told = re.findall(r"^\| CIFAR-10 \| recipe fast.*? \| (\d+) \| a CPU \| 1 \| fp32 \| 2.0 \|", page, re.M)
    assert sorted(told) == ["3", "6"]
