"""The report on many runs: what it reads, and what it says."""

import base64
import itertools
import json
import re
import shutil
import sys
import time
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from PIL import Image

import models
from report import __main__ as report_main
from report import calibration, chapter, claims, overview, results
from report.text import FAILS, HOLDS, UNDECIDED
from runner import files
from tests.helpers import internals, processes
from tests.helpers.fake_runs import fake_run, fake_seeds
from tests.helpers.markdown import rows
from tests.helpers.paths import PROJECT

# ---- what is read ---------------------------------------------------------------------------------------------------


def test_report_names_unfinished_run_and_does_not_count_it(tmp_path):
    fake_run(tmp_path, "Q1_1")
    fake_run(tmp_path, "Q1_2", finished=False)
    study = results.read_study(tmp_path)
    assert [group.model for group in study.models] == ["Q1_1"]
    text = overview.write(tmp_path).path.with_suffix(".md").read_text(encoding="utf-8")
    assert "1 run finished, 1 stopped." in text
    table, columns = rows(text, "run")
    assert table["Q1_2__shuffle-none__seed-0"][columns.index("epochs")] == "9 of 10"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("config.json", "[]"),
        ("config.json", '{"settings": {"model_name": "Q1_1", "unknown": 1}}'),
        ("history.csv", "epoch,val_loss\n1,much\n"),
        ("history.csv", ""),
        ("history.csv", "epoch,val_loss\n2,1\n"),
        ("history.csv", (",".join(sorted(files.HISTORY_COLUMNS)) + "\n" + "nan," * 7).rstrip(",")),
        ("metrics.json", "null"),
        ("metrics.json", '{"epochs": 3, "test": {"accuracy": 0.5}}'),
    ],
)
def test_report_names_and_leaves_out_unreadable_runs(tmp_path, name, content, capsys):
    fake_run(tmp_path, "Q1_1")
    (fake_run(tmp_path, "Q1_2") / name).write_text(content, encoding="utf-8")
    assert report_main.main([str(tmp_path)]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if "can't be read" in line]
    assert len(said) == 1
    assert "Q1_2" in said[0]
    assert list(results.read_study(tmp_path).groups) == [("Q1_1", "none")]


@pytest.mark.figures
@pytest.mark.parametrize("options", [{"epochs": 1}, {"shuffle": "fixed"}, {"epochs": 2, "val": "holdout"}])
def test_report_copes_with_any_kind_of_run_alone(tmp_path, options):
    fake_run(tmp_path, "Q1_1", **options)
    assert report_main.main([str(tmp_path)]) == 0


def test_report_shows_test_accuracy_beside_holdout(tmp_path):
    path = fake_run(tmp_path, "Q1_1", val="holdout") / "metrics.json"
    metrics = files.read_json(path)
    metrics["test"]["accuracy"] = 0.123
    files.write_json(path, metrics)
    text = overview.write(tmp_path).path.with_suffix(".md").read_text(encoding="utf-8")
    table, columns = rows(text, "model")
    assert table["Q1_1"][columns.index("test accuracy (%)")] == "12.3"


def test_samples_that_are_no_picture_are_noted(tmp_path):
    for shuffle in ("none", "fixed"):
        (fake_run(tmp_path, "Q1_1", shuffle=shuffle) / "samples.png").write_text("no picture", encoding="utf-8")
    assert "samples.png can't be shown" in overview.write(tmp_path).path.with_suffix(".md").read_text(encoding="utf-8")


@pytest.mark.figures
def test_report_copes_with_class_without_images(tmp_path):
    for seed, shuffle in ((0, "none"), (1, "none"), (0, "fixed"), (1, "fixed")):
        folder = fake_run(tmp_path, "Q1_1", seed, shuffle)
        text = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
        (folder / "history.csv").write_text(
            "\n".join([text[0], *(re.sub(r"[^,]*$", "", line) for line in text[1:])]), encoding="utf-8"
        )
    assert report_main.main([str(tmp_path)]) == 0


@pytest.mark.parametrize("arguments", [[], ["--compare", "Q1_2"], ["--compare", "Q9_9"]])
def test_report_without_runs_is_refused_in_one_line(tmp_path, arguments, capsys):
    if arguments:
        fake_run(tmp_path, "Q1_1")
    code = report_main.main([str(tmp_path), *arguments])
    assert code == (2 if arguments else 1)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("python -m report: error: ")
    assert "Traceback" not in line


# ---- what is said ---------------------------------------------------------------------------------------------------


def test_report_from_inside_its_folder_finds_generated_images_beside_it(tmp_path, monkeypatch):
    fake_run(tmp_path, "Q1_1")
    fake_run(tmp_path, "Q1_1", slug="synthetic-colour-1", data="SYNTHETIC", dataset="synthetic", cues="colour")
    monkeypatch.chdir(tmp_path / "cifar10")
    assert report_main.main([".", "--study"]) == 0
    assert "colour" in (tmp_path / "cifar10" / "gallery.md").read_text(encoding="utf-8")


def test_table_holds_the_last_epoch_of_every_model(studied):
    table, columns = rows((studied / "report.md").read_text(encoding="utf-8"), "model")
    assert list(table) == [model.name for model in models.TABLE]
    group = results.read_study(studied).group("Q1_1")
    values = [
        100 * json.loads((run.folder / "metrics.json").read_text(encoding="utf-8"))["test"]["accuracy"]
        for run in group.runs.values()
    ]
    shown = table["Q1_1"][columns.index("validation accuracy (%)")]
    assert shown.startswith(f"{sum(values) / 3:.1f} ± ")
    assert " … " in shown
    assert table["Q1_19"][columns.index("parameters")] == "550,570"
    assert table["Q1_19"][columns.index("multiply–accumulates")] == "38,896,896"
    assert "±" not in table["Q1_2"][columns.index("validation accuracy (%)")]


def test_every_claim_is_there_with_its_verdict(studied):
    table, _ = rows((studied / "report.md").read_text(encoding="utf-8"), "claim")
    assert list(table) == [*(f"C{n}" for n in range(1, 9)), "C9a", "C9b", "C10"]
    assert {row[3] for row in table.values()} <= {"holds", "does not hold", "not decided"}
    assert table["C4"][3] == "holds"
    why, _ = rows((studied / "report.md").read_text(encoding="utf-8"), "statement")
    assert {"C4: planes and deer best", "C4: cats worst", "C9b: the loss does not go down"} <= why.keys()


def test_page_opens_with_what_holds_and_one_picture(studied):
    opening, claimed, *rest = (studied / "report.md").read_text(encoding="utf-8").split("\n## ")
    assert re.search(r"Of 11 published claims \d hold \(.*C7.*\)", opening)
    assert "\n- C7 holds: Q1_19 is the best of the early set" in opening
    assert re.findall(r"!\[(.*?)\]", opening) == ["Validation accuracy of each model against its parameters"]
    assert claimed.startswith("Which published claims hold?")
    shown, *folded = claimed.split("<details>")
    assert "C5, C8 and C10 judge networks that are rebuilt" in shown
    summaries = [part.split("</summary>")[0].removeprefix("<summary>") for part in folded]
    assert summaries == [
        "All claims in a table", "Why: each statement with its figures and 95 % intervals", "The rules",
    ]  # fmt: skip
    assert rest[0].startswith("The models\n")
    assert "\n| model |" not in rest[0].split("<details>")[0]


def test_report_says_what_a_study_of_its_size_can_decide(studied):
    text = (studied / "report.md").read_text(encoding="utf-8")
    assert "no epoch was picked using the test images." in text
    points, sd = re.search(
        r"two networks with 3 runs each are told apart with a power of 80 % from ([\d.]+) points of accuracy \(3.1 "
        r"standard deviations of ([\d.]+) points between seeds\)",
        text,
    ).groups()
    pooled = results.read_study(studied).pooled_sd("val_accuracy").sd
    assert [points, sd] == [f"{3.07 * pooled:.1f}", f"{pooled:.1f}"]


def test_report_on_the_fast_recipe_says_what_was_chosen_by_the_test_images(tmp_path):
    fake_run(tmp_path, recipe="fast", epochs=2)
    text = overview.write(tmp_path).path.with_suffix(".md").read_text(encoding="utf-8")
    assert "but learning rate and weight decay of the fast recipe were chosen so." in text
    assert "told apart" not in text  # with one run nothing tells how far seeds differ


@pytest.fixture(scope="module")
def reproduced():
    """The committed runs of the published recipe."""
    return results.read_study(PROJECT / "results/reproduction")


def accuracy_text(group, epoch=-1):
    mean = group.mean("val_accuracy", epoch)
    return f"{mean.mean:.1f} ({mean.low:.1f} … {mean.high:.1f})"


def test_findings_and_committed_report_say_what_runs_decide(reproduced):
    verdicts = {claim.key: claim.verdict for claim in claims.check_claims(reproduced)}
    reported, _ = rows((reproduced.folder / "report.md").read_text(encoding="utf-8"), "claim")
    assert {key: row[3] for key, row in reported.items()} == verdicts
    findings = (PROJECT / "docs/findings.md").read_text(encoding="utf-8")
    stated, columns = rows(findings.replace("| | published |", "| claim | published |"), "claim")
    assert columns == ["claim", "published", "measured", "verdict"]
    assert {key: row[3].split(",")[0] for key, row in stated.items()} == verdicts
    assert calibration.climbing_text(reproduced.models) in " ".join(findings.split())
    table, _ = rows(findings, "shuffle")
    assert list(table) == ["none", "fixed", "per-image"]
    for shuffle, row in table.items():
        assert row[2:] == [accuracy_text(reproduced.group("Q1_1", shuffle), epoch) for epoch in (1, 2, 10)]


def test_readmes_results_are_those_of_committed_runs(reproduced):
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    table, columns = rows(readme, "network")
    assert columns == ["network", "parameters", "test accuracy (%)"]
    *networks, colours, pixels = table.values()
    assert len(networks) == 6
    for name, parameters, accuracy in networks:
        shuffled = re.search("--shuffle ([a-z-]+)", name)
        group = reproduced.group(name.split(",")[0], shuffled[1] if shuffled else "none")
        assert [parameters, accuracy] == [f"{group.example.parameters:,}", accuracy_text(group)]
    baselines = results.read_baselines(reproduced.folder)["baselines"]
    for row, baseline in ((colours, results.COLOUR), (pixels, results.PIXELS)):
        assert row[2] == f"{100 * baselines[baseline]['accuracy']:.1f}"
    counts = Counter(claim.verdict for claim in claims.check_claims(reproduced))
    words = dict(zip(range(1, 12), "one two three four five six seven eight nine ten eleven".split()))
    held, failed, undecided = (
        f"{words[counts[verdict]]} {chapter.VERBS[verdict][counts[verdict] != 1]}"
        for verdict in (HOLDS, FAILS, UNDECIDED)
    )
    stated = f"Of {words[counts.total()]} published claims about these networks, {held}, {failed}, and {undecided};"
    assert stated in " ".join(readme.split())


def intervals_in(text):
    """The means with their intervals in a text, or in a table with standard deviations, as numbers."""
    number = r"([-+]?\d+\.?\d*)"
    found = re.findall(
        rf"{number}(?: ± [\d.]+)?(?: %| points| nats)?\s?\({number} … {number}\)",
        text.replace("−", "-").replace("<br>", " "),
    )
    return {tuple(map(float, each)) for each in found}


@pytest.mark.parametrize("page", ["README.md", "docs/findings.md"])
def test_every_interval_in_the_docs_is_one_of_a_committed_report(page):
    pages = [*(PROJECT / "results").glob("*/cifar10*/report.md"), *(PROJECT / "results").glob("*/cifar10*/gallery.md")]
    reported = set().union(*(intervals_in(path.read_text(encoding="utf-8")) for path in pages))
    stated = intervals_in((PROJECT / page).read_text(encoding="utf-8"))
    assert len(stated) > 5
    assert sorted(stated - reported) == []


def test_report_names_every_setting_that_differs(tmp_path):
    fake_run(tmp_path, "Q1_1", lr=0.01, weight_decay=0.5, limit=400)
    text = overview.write(tmp_path).path.with_name("report.md").read_text(encoding="utf-8")
    assert "learning rate 0.01, momentum 0.9, 10 epochs, weight-decay 0.5, limit 400; validation on" in text


def test_report_names_the_optimizer(tmp_path):
    fake_run(tmp_path, "Q1_1", optimizer="adam")
    text = overview.write(tmp_path).path.with_name("report.md").read_text(encoding="utf-8")
    assert "classic: Adam, batches of 4, learning rate 0.001, first beta 0.9, 10 epochs; validation on" in text


def test_shuffles_are_compared_by_class_with_intervals(studied):
    table, columns = rows((studied / "report.md").read_text(encoding="utf-8"), "accuracy (%)")
    assert list(table) == ["all classes", *"plane car bird cat deer dog frog horse ship truck".split()]
    less = table["plane"][columns.index("per-image − none")]
    assert re.fullmatch(r"-\d+\.\d<br>\(-\d+\.\d … -\d+\.\d\)", less)


def test_figures_are_those_that_the_markdown_shows(studied):
    shown = re.findall(r"!\[.*?\]\((.*?)\)", (studied / "report.md").read_text(encoding="utf-8"))
    assert len([path for path in shown if "/claim_" not in path]) == 7
    assert {path.relative_to(studied).as_posix() for path in (studied / "report").iterdir()} == set(shown)


def test_chosen_models_are_overlaid(studied, tmp_path):
    shutil.copytree(studied, tmp_path / "cifar10")
    assert report_main.main([str(tmp_path), "--compare", "q1-4", "Q2_?"]) == 0
    text = (tmp_path / "cifar10" / "report.md").read_text(encoding="utf-8")
    assert "Side by side: Q1_4, Q2_1, Q2_2" in text
    assert "--compare Q1_4 Q2_1 Q2_2" in text


@pytest.mark.figures
def test_samples_of_the_runs_are_shown(tmp_path):
    for shuffle in ("none", "fixed", "per-image"):
        folder = fake_run(tmp_path, "Q1_1", shuffle=shuffle)
        shutil.copy(PROJECT / "docs" / "samples.png", folder / "samples.png")
    folder = overview.write(tmp_path).path.parent
    assert "report/samples.png" in (folder / "report.md").read_text(encoding="utf-8")
    assert (folder / "report" / "samples.png").stat().st_size > 10_000


@pytest.mark.figures
def test_names_from_files_are_only_text(tmp_path):
    classes = ["<script>alert(1)</script>", "a|b", *"cdefghij"]
    for shuffle in ("none", "fixed"):
        fake_run(tmp_path, "Q1_1", shuffle=shuffle, data='<b id="x">&', classes=classes)
    page = overview.write(tmp_path).path
    page, text = page.read_text(encoding="utf-8"), page.with_suffix(".md").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert '<b id="x">' not in page
    assert "<script>alert" not in text.replace("\\<", "")
    assert "a\\|b" in text


def test_report_of_same_runs_is_the_same(studied, tmp_path, monkeypatch):
    shutil.copytree(studied, tmp_path / "results" / "cifar10")
    monkeypatch.chdir(tmp_path)
    report_main.main([])
    page = tmp_path / "results" / "cifar10" / "report.html"
    first = page.read_bytes()
    assert report_main.main(["results/cifar10"]) == 0
    assert page.read_bytes() == first


def write_reports(results, number):
    internals.render_no_figures()
    for _ in range(number):
        overview.write(results)


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
def test_reports_at_the_same_time_do_not_disturb_each_other(tmp_path):
    for shuffle in ("none", "fixed"):
        fake_run(tmp_path, "Q1_1", shuffle=shuffle)
    overview.write(tmp_path)
    page = tmp_path / "cifar10" / "report.html"
    first = page.read_bytes()
    writers = [processes.PROCESSES.Process(target=write_reports, args=(tmp_path, 5)) for _ in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert page.read_bytes() == first
        time.sleep(0.01)
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    assert not list(tmp_path.rglob("*.part"))


def test_page_holds_the_pictures_that_were_just_made(tmp_path, monkeypatch):
    for model in ("Q1_1", "Q1_2"):
        fake_run(tmp_path, model)
    write_file = files.write_file

    def write_and_lose(path, content, previous=None):
        write_file(path, content, previous)
        if path.suffix == ".png":
            path.write_bytes(b"another report's")

    internals.write_files_with(write_and_lose, monkeypatch.setattr)
    page = overview.write(tmp_path).path.read_text(encoding="utf-8")
    pictures = re.findall('base64,([^"]*)"', page)
    assert len(pictures) == 3
    assert all(base64.b64decode(picture).startswith(b"\x89PNG") for picture in pictures)


@pytest.mark.figures
@pytest.mark.parametrize("kind", ["pdf", "svg"])
def test_figures_for_a_paper_have_the_width_asked_for(tmp_path, kind):
    for model in ("Q1_1", "Q1_2", "Q1_4"):
        fake_run(tmp_path, model, epochs=2)
    assert report_main.main([str(tmp_path), "--format", kind, "--width", "3.5", "--no-titles"]) == 0
    folder = tmp_path / "cifar10" / "report"
    assert {path.stem for path in folder.glob(f"*.{kind}")} == {path.stem for path in folder.glob("*.png")}
    content = (folder / f"compared_1.{kind}").read_bytes()
    width = re.search(rb"MediaBox \[ 0 0 ([\d.]+)|width=\"([\d.]+)pt\"", content)
    assert float(width[1] or width[2]) == pytest.approx(3.5 * 72)
    with Image.open(folder / "compared_1.png") as picture:
        assert picture.width == pytest.approx(3.5 * 300, abs=1)
    if kind == "svg":
        sizes = set(re.findall(rb'transform="[^"]*scale\(([\d.]+)', content))
        assert set(map(float, sizes)) - {1 / 64} == {0.08}  # of letters 100 high; that of their outlines is 1 / 64
        assert b"models on CIFAR-10" not in content


@pytest.mark.figures
def test_figures_of_one_run_are_drawn_anew(ex1_main, tmp_path, capsys):
    assert ex1_main("--model-name", "Q2_1", "--epochs", "2") == 0
    [run] = tmp_path.glob("results/*/*/*/")
    figures = {name: (run / f"{name}.png").read_bytes() for name in ("curves", "per_class", "confusion")}
    capsys.readouterr()
    assert report_main.main([str(run)]) == 0
    assert "curves.png, per_class.png, confusion.png\n" in capsys.readouterr().out
    assert {name: (run / f"{name}.png").read_bytes() for name in figures} == figures
    assert report_main.main([str(run), "--format", "pdf", "--width", "3.3", "--no-titles"]) == 0
    both = [f"{name}.{kind}" for name in figures for kind in ("png", "pdf")]
    assert capsys.readouterr().out.endswith(f": {', '.join(both)}\n")
    for name in figures:
        [width] = re.findall(rb"MediaBox \[ 0 0 ([\d.]+)", (run / f"{name}.pdf").read_bytes())
        assert float(width) == pytest.approx(3.3 * 72)

    # Of one without a result there are its curves.
    (run / "metrics.json").unlink()
    assert report_main.main([str(run)]) == 0
    assert capsys.readouterr().out.endswith(": curves.png\n")


def test_width_that_no_page_has_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        report_main.main([str(tmp_path), "--width", "0"])
    assert "--width 0: must be from 1 to 40 inches" in capsys.readouterr().err


def report_text(folder, **options):
    """The report on the runs in a folder, as Markdown."""
    return overview.write(folder, overview.Options(**options)).path.with_suffix(".md").read_text(encoding="utf-8")


def study_text(folder):
    return report_text(folder, study=True)


def test_study_is_a_chapter_where_it_is_asked_for_or_whole(studied, tmp_path):
    shutil.copytree(studied, tmp_path / "cifar10")
    overview.write(tmp_path)
    text = (tmp_path / "cifar10" / "report.md").read_text(encoding="utf-8")
    assert text.startswith("# Compared: models, on CIFAR-10\n")
    assert "\n# Small networks on CIFAR-10\n" in text
    shutil.rmtree(tmp_path / "cifar10" / "Q1_20")
    text = overview.write(tmp_path).path.with_suffix(".md").read_text(encoding="utf-8")
    assert "claim" not in text
    text = study_text(tmp_path)
    assert text.startswith("# Small networks on CIFAR-10\n")
    assert rows(text, "claim")[0]["C8"][3] == "no runs"


def test_data_sets_have_a_page_each_that_leads_to_the_others(tmp_path, capsys):
    for seed in range(2):
        fake_run(tmp_path, "Q1_1", seed)
    fake_run(tmp_path, "Q1_1", data="SYNTHETIC (not CIFAR-10)", slug="synthetic", dataset="synthetic")
    assert report_main.main([str(tmp_path)]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == [
        "report on 2 runs",
        "report on 1 run",
    ]
    text = (tmp_path / "cifar10" / "report.md").read_text(encoding="utf-8")
    assert "not compared with these: SYNTHETIC (not CIFAR-10), 1 run](../synthetic/report.md)" in text
    assert "](../cifar10/report.md)" in (tmp_path / "synthetic" / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("varied", "alt"),
    [
        ({"lr": [0.001, 0.01, 0.1]}, "Accuracy against lr"),
        ({"lr": [0.001, 0.01], "batch_size": [4, 32]}, "Mean accuracy by batch-size and lr"),
        ({"model": ["Q1_1", "Q1_4"], "lr": [0.001, 0.01]}, "Accuracy against lr"),
        ({"shuffle": ["none", "fixed"]}, "Accuracies after the last epoch"),
        ({"model": ["Q1_1", "Q1_4", "Q1_19"]}, "Validation accuracy of each model against its parameters"),
    ],
)
def test_first_picture_is_that_of_what_varies(tmp_path, varied, alt):
    for values in itertools.product(*varied.values()):
        fake_run(tmp_path, **dict(zip(varied, values)))
    text = overview.write(tmp_path).path.with_suffix(".md").read_text(encoding="utf-8")
    opening = text.split("\n## ")[0]
    assert re.findall(r"!\[(.*?)\]", opening) == [alt]
    assert "Best: " in opening


def test_table_has_a_column_for_each_setting_and_the_accuracy_second(tmp_path):
    for lr, batch_size in itertools.product((0.001, 0.01), (4, 32)):
        fake_run(tmp_path, lr=lr, batch_size=batch_size)
    text = overview.write(tmp_path).path.with_suffix(".md").read_text(encoding="utf-8")
    table, columns = rows(text, "settings")
    assert columns[:3] == ["settings", "validation accuracy (%)", "difference from the best (points)"]
    row = table["batch-size 32, lr 0.001"]
    assert [row[columns.index(name)] for name in ("batch-size", "lr")] == ["32", "0.001"]


def test_what_is_said_of_seeds_is_so(tmp_path):
    for model in ("Q1_1", "Q1_4"):
        fake_run(tmp_path / "one", model)
        fake_seeds(tmp_path / "three", model)
    fake_run(tmp_path / "alone", "Q1_1")
    of_seeds = "over the seeds", "averaged over its seeds", "95 % intervals"
    three, one = report_text(tmp_path / "three"), report_text(tmp_path / "one")
    assert all(words in three for words in of_seeds)
    one = one.replace("With several seeds: mean ± standard deviation (95 % confidence interval", "")
    assert not any(words in one for words in of_seeds)
    assert "With one run each, nothing tells how far seeds differ: a difference has no interval" in one
    assert "Welch" not in one
    alone = report_text(tmp_path / "alone")
    assert "How to read the table" not in alone
    assert "Differences" not in alone


def test_study_of_one_seed_says_nothing_of_intervals(tmp_path):
    for shuffle in ("none", "fixed"):
        fake_run(tmp_path, "Q1_1", shuffle=shuffle)
    fake_run(tmp_path, "Q1_4")
    text = study_text(tmp_path).split("# All runs, compared")[0]
    assert "over the seeds; bands" not in text
    assert "A bar is the mean's" not in text
    assert "Differences from the run without a shuffle are in points.\n" in text


def test_no_interval_of_a_loss_or_an_accuracy_leaves_what_it_can_be(tmp_path):
    for seed, (accuracy, loss) in enumerate(((20, 0.1), (70, 2.0))):
        fake_run(tmp_path, "Q1_1", seed, accuracy=accuracy, losses=[(loss, loss)] * 10)
        fake_run(tmp_path, "Q1_4", seed, accuracy=30 + accuracy / 10)
    text = report_text(tmp_path)
    assert re.search(r"Q1_1: \d+\.\d \(0\.0 … 100\.0\) %", text)
    table, columns = rows(text, "model")
    for name in ("validation accuracy (%)", "validation loss", "training loss"):
        assert re.search(r"\(0\.0+ … \d", table["Q1_1"][columns.index(name)])


def test_classes_are_compared_with_the_best_or_the_baseline(tmp_path):
    for model, accuracy in (("Q1_1", 50), ("Q1_4", 60), ("Q1_13", 55)):
        fake_seeds(tmp_path, model, accuracy=accuracy)
    for options, reference in (({}, "Q1_4"), ({"baseline": "Q1_13"}, "Q1_13")):
        _, columns = rows(report_text(tmp_path, **options), "accuracy (%)")
        differences = [name for name in columns if " − " in name]
        assert len(differences) == 2
        assert all(name.endswith(f" − {reference}") for name in differences)


@pytest.mark.parametrize(("seconds", "shown"), [(21.4, "21"), (4.26, "4.3"), (0.044, "0.04")])
def test_seconds_of_fast_epochs_are_not_rounded_away(tmp_path, seconds, shown):
    folder = fake_run(tmp_path, "Q1_1")
    history = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
    column = history[0].split(",").index("seconds")
    timed = [row.split(",") for row in history]
    for row in timed[1:]:
        row[column] = str(seconds)
    (folder / "history.csv").write_text("\n".join(map(",".join, timed)) + "\n", encoding="utf-8")
    table, columns = rows(report_text(tmp_path), "model")
    assert table["Q1_1"][columns.index("s/epoch")] == shown


def test_study_says_why_runs_tell_nothing_of_the_claims(tmp_path):
    fake_run(tmp_path / "limited", "Q1_1", limit=2000, epochs=2)
    assert "These runs are of other settings (limit 2000), and say nothing" in study_text(tmp_path / "limited")
    fake_run(tmp_path / "fast", "Q1_1", recipe="fast")
    assert "These runs are of other settings (recipe fast" in study_text(tmp_path / "fast")
    fake_run(tmp_path / "others", "Q1_1", data="SYNTHETIC", slug="synthetic", dataset="synthetic")
    assert "These runs are on other images, and say nothing" in study_text(tmp_path / "others")


def test_study_of_one_model_has_no_pictures_of_many(tmp_path):
    fake_seeds(tmp_path, "Q1_1")
    text = study_text(tmp_path)
    assert "Pareto" not in text
    assert "accuracy_parameters.png" not in text
    assert "report/parameters.png" not in text
    assert "Side by side" not in text


# ---- own models -----------------------------------------------------------------------------------------------------


@pytest.mark.figures
@pytest.mark.parametrize("is_counted", [True, False])
def test_readmes_row_of_an_own_model_is_reported(tmp_path, monkeypatch, registry, is_counted):
    row = re.search(r'ModelSpec\("Tiny".*\)', (PROJECT / "README.md").read_text(encoding="utf-8"))[0]
    spec = eval(row, vars(models))
    counted = replace(spec, parameters=sum(layer.parameters for layer in spec.layers()))
    registry["tiny"] = counted
    monkeypatch.setattr(models, "TABLE", [*models.TABLE, counted if is_counted else spec])
    for seed in (0, 1):
        fake_run(tmp_path, "Tiny", seed)
    assert report_main.main([str(tmp_path)]) == 0
    table, columns = rows((tmp_path / "cifar10" / "report.md").read_text(encoding="utf-8"), "model")
    assert table["Tiny"][columns.index("parameters")] == f"{counted.parameters:,}"


def test_own_models_are_compared_whether_they_are_known_or_not(tmp_path, monkeypatch):
    for model in ("Q1_1", "Q1_4"):
        for seed in range(2):
            path = fake_run(tmp_path, model, seed) / "config.json"
            if model == "Q1_4":
                path.write_text(path.read_text(encoding="utf-8").replace("Q1_4", "Mine"), encoding="utf-8")
    assert report_main.main([str(tmp_path), "--compare", "mine", "--baseline", "MINE"]) == 0
    text = (tmp_path / "cifar10" / "report.md").read_text(encoding="utf-8")
    assert "Against Mine: " in text
    assert "### Loss and accuracy over the epochs: Mine" in text
    table, _ = rows(text, "model")
    assert {"Mine", "Q1_1"} <= table.keys()


# ---- TensorBoard ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        (["Q1_1", "Q1_2", "NoConv"], ["Q1_1", "NoConv"]),
        (["Q1_4", "Q1_13"], ["Q1_4", "Q1_13"]),
        (["NoConv", "Q1_2"], ["Q1_2", "NoConv"]),
    ],
)
def test_study_shows_the_networks_that_there_are_side_by_side(tmp_path, monkeypatch, registry, names, shown):
    own = [
        replace(models.find("Q1_1"), name=name, known_from=models.OWN) for name in names if not name.startswith("Q1_")
    ]
    registry.update({spec.name.lower(): spec for spec in own})
    monkeypatch.setattr(models, "TABLE", [*models.TABLE, *own])
    for name in names:
        fake_run(tmp_path, name)
    [told] = re.findall("### Side by side: (.*)", study_text(tmp_path))
    assert sorted(told.split(", ")) == sorted(shown)


def test_event_files_hold_the_history_once(tmp_path, capsys):
    pytest.importorskip("tensorboard", reason="needs TensorBoard: pip install -r requirements-optional.txt")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = fake_run(tmp_path, "Q1_1")
    for _ in range(2):
        assert report_main.main([str(tmp_path), "--tensorboard"]) == 0
    events = EventAccumulator(str(tmp_path / "cifar10" / "tensorboard" / "Q1_1" / folder.name))
    events.Reload()
    run = results.read_run(folder)
    assert [point.step for point in events.Scalars("loss/val")] == [*range(1, 11)]
    assert [point.value for point in events.Scalars("accuracy/train")] == pytest.approx(
        [row["train_accuracy"] for row in run.history]
    )
    assert "confidence/val" in events.Tags()["scalars"]


def test_report_without_tensorboard_says_how_to_install_it(tmp_path, capsys, monkeypatch):
    fake_run(tmp_path, "Q1_1")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert report_main.main([str(tmp_path), "--tensorboard"]) == 2
    assert "pip install tensorboard" in capsys.readouterr().err


def test_page_asks_for_nothing_else(studied):
    wanted = []

    class Links(HTMLParser):
        def handle_starttag(self, tag, attributes):
            wanted.extend(value for name, value in attributes if name in ("src", "href", "srcset", "data", "action"))

    page = (studied / "report.html").read_text(encoding="utf-8")
    Links().feed(page)
    assert wanted
    assert all(value.startswith(("data:", "#")) for value in wanted)
    assert not re.search(r"url\(|@import", re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1])
