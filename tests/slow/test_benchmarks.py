"""The benchmark's contenders train what they say they do."""

import csv
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

import data
import models
from experiments.benchmarks import contenders, gpu, sections
from experiments.benchmarks.contenders import NoDataLoop, Textbook, ThisRepo
from native.step import NativeStep
from runner import files
from runner.errors import RunnerError
from tests.helpers.fake_runs import fake_run
from tests.helpers.native import needs_compiler


@pytest.fixture
def dataset():
    draws = torch.Generator().manual_seed(0)
    images = [
        data.Images(
            torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8, generator=draws),
            torch.randint(0, 10, (n,), generator=draws),
        )
        for n in (400, 40)
    ]
    return data.Dataset("X", "x", "made", tuple("0123456789"), *images, "")


@pytest.fixture
def batches(dataset, tmp_path):
    contenders.write_batches(dataset, tmp_path)
    return tmp_path


def test_textbook_loop_and_ours_train_alike(dataset, batches):
    ours = ThisRepo("Q1_1", dataset, threads=1, step="torch")
    textbook = Textbook("Q1_1", batches, 0)
    shown = [textbook.trainloader.dataset[int(index)] for index in data.epoch_order(400, 0, 1)]
    images, labels = torch.stack([image for image, _ in shown]), torch.tensor([label for _, label in shown])
    theirs = list(textbook.losses(zip(images.split(4), labels.split(4))))
    logits = []
    ours.model.register_forward_hook(lambda module, inputs, output: logits.append(output.detach()))
    ours(100)
    losses = [F.cross_entropy(output, label).item() for output, label in zip(logits, labels.split(4), strict=True)]
    assert losses == pytest.approx(theirs, abs=1e-5)


def test_every_contender_takes_the_steps_it_is_asked_for(dataset, batches):
    ours = ThisRepo("Q1_1", dataset, threads=1, batch_size=4, shuffle="per-image", step="torch")
    entries = {ours.model: ours, (limit := NoDataLoop(ours)).model: limit}
    textbook = Textbook("Q1_1", batches, 0)
    entries[textbook.net] = textbook
    for model, entry in entries.items():
        seen = []
        model.register_forward_hook(lambda module, inputs, output, seen=seen: seen.append(inputs[0].shape))
        assert entry(30) > 0
        untimed = contenders.UNTIMED if entry is textbook else 0
        assert seen == [(4, 3, 32, 32)] * (30 + untimed)


def test_contenders_take_turns_and_first_does_not_count():
    turns = []

    def contender(name):
        return lambda steps: (turns.append((name, steps)), float(len(turns)))[1]

    times = sections.alternate([contender("a"), contender("b")], 100, 2)
    assert turns == [("a", 20), ("b", 20), ("a", 100), ("b", 100), ("a", 100), ("b", 100)]
    assert times == [[3, 5], [4, 6]]
    assert sections.ratios([2.0, 3.0, 8.0], [1.0, 2.0, 2.0]) == "2.000 (1.500 … 4.000)"


def test_time_to_accuracy_ends_at_classic_best(dataset, tmp_path, monkeypatch):
    def write(results, model, accuracies, seconds, **settings):
        folder = fake_run(results, model, slug="x", epochs=len(accuracies), **settings)
        with open(folder / files.HISTORY, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        for row, accuracy in zip(rows, accuracies, strict=True):
            row |= {"val_accuracy": accuracy, "seconds": seconds}
        files.write_history(folder, "X", rows)
        metrics = files.read_json(folder / files.METRICS)
        metrics["test"]["accuracy"] = accuracies[-1]
        files.write_json(folder / files.METRICS, metrics)

    def run(bench, results, *options):
        accuracies = (0.3, 0.6, 0.7) if options[1] == "Q1_19" else (0.1, 0.2, 0.3)
        write(Path(results), options[1], accuracies, 5, recipe="fast")
        return 20.0

    for model in ("Q1_1", "Q1_11", "Q1_19"):
        for seed in range(2):
            write(tmp_path / "classic", model, (0.5, 0.4 + 0.2 * seed), 100, seed=seed)
        write(tmp_path / "classic", model, (0.9, 0.9), 1, recipe="fast")
    monkeypatch.setattr(sections, "run", run)
    monkeypatch.setattr(sections, "textbook_epoch", lambda bench, model, workers: 40.0)
    bench = sections.Bench(dataset, tmp_path, tmp_path, 1, tmp_path, tmp_path / "classic")
    *_, table = sections.fast(bench)
    shown = {row[0]: row[1:] for row in table.rows if row[5].startswith("num_workers=2")}
    best, last, reached, computed_by, loop, seconds, command, ratio = shown["Q1_19"]
    assert (best, last) == ("55.0 % after 1.5 of 2 (n = 2)", "70.0 % (70.0 … 70.0)")
    assert (reached, loop) == ("3 of 3", "num_workers=2: 60")
    assert (seconds.value, command.value, ratio) == (10, 20, "6.000 (6.000 … 6.000)")
    assert computed_by == "PyTorch's step, fp32, threads: 1"
    assert shown["Q1_1"][2] == "0 of 3"
    assert shown["Q1_1"][5].value == 15


@needs_compiler
def test_section_of_the_rule_has_the_native_step_on_one_thread_against_pytorchs(dataset, tmp_path, monkeypatch):
    seen = []

    def alternate(entries, steps, rounds):
        assert isinstance(entries[0].step, NativeStep)
        seen.append([(entry.threads, entry.step.precision) for entry in entries])
        return [[1e-3], [2e-3], [1.5e-3], [3e-3], [0.5e-3]]

    monkeypatch.setattr(sections, "alternate", alternate)
    monkeypatch.setattr(sections, "MODELS_OF_RULE", ["Q1_1"])
    *_, table = sections.rule(sections.Bench(dataset, tmp_path, tmp_path, 1, tmp_path, tmp_path))
    assert seen == [[(1, "fp32"), (1, "fp32"), (2, "fp32"), (1, "bf16"), (2, "bf16")]] * len(table.rows)
    model, batch, work, own, *versus = table.rows[0]
    assert (model, batch, round(work.value), own.value) == ("Q1_1", "4", 3, 1)
    assert [each.split()[0] for each in versus] == ["2.000", "1.500", "3.000", "0.500"]


@needs_compiler
def test_section_of_the_step_has_both_steps_against_a_matrix_product(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "TABLE", [models.find("Q1_18")])
    plotted = []
    monkeypatch.setattr(sections, "plot_shares", lambda path, shares: plotted.append(shares))

    def alternate(entries, steps, rounds):
        assert [entry.threads for entry in entries] == [1, 1, 1]
        assert all(entry(2) > 0 for entry in entries)
        assert isinstance(entries[2].step, NativeStep)
        return [[1e-11], [1e-3], [2e-4]]

    monkeypatch.setattr(sections, "alternate", alternate)
    bench = sections.Bench(dataset, tmp_path, tmp_path, 1, tmp_path, tmp_path)
    _, text, table, _ = sections.step(bench)
    operations = 6 * 4 * sum(layer.macs for layer in models.find("Q1_18").layers())
    name, plain, own, ratio, *shares = table.rows[0]
    assert (name, plain.value, own.value, ratio) == ("Q1_18", 1, pytest.approx(0.2), "5.000 (5.000 … 5.000)")
    assert plotted == [{"Q1_18": pytest.approx((operations * 1e-8, operations * 5e-8))}]
    assert shares[0] == f"{100 * operations * 1e-8:.0f} %"
    assert "100 billion a second" in text.text


def test_step_of_pytorch_is_not_timed_as_the_native_one(dataset, monkeypatch):
    monkeypatch.setenv("CC", "/no/such/cc")
    with pytest.raises(RunnerError, match="native step of Q1_1 can't be timed here"):
        ThisRepo("Q1_1", dataset, threads=1, step="native")


def test_shares_are_plotted(tmp_path):
    figure = sections.plot_shares(tmp_path / "shares.png", {"Q1_1": (0.1, 0.7), "Q1_2": (0.1, 0.6)})
    assert (tmp_path / "shares.png").read_bytes() == figure.content


def test_growth_times_every_model_beside_its_limit(dataset, tmp_path, monkeypatch):
    plotted = []
    monkeypatch.setattr(sections, "alternate", lambda entries, steps, rounds: [[2.0] for _ in entries])
    monkeypatch.setattr(sections, "plot_growth", lambda path, entries, size: plotted.append((size, entries)))
    bench = sections.Bench(dataset, tmp_path, tmp_path, 1, tmp_path, tmp_path)
    tables = [block for block in sections.growth(bench) if isinstance(block, sections.Table)]
    assert [len(table.rows) for table in tables] == [4, 27, 27]
    assert [(size, len(entries)) for size, entries in plotted] == [(4, 27), (128, 27)]
    names = [model.name for model in models.TABLE]
    assert {name: entry[0] for name, entry in zip(names, plotted[0][1])}["Q1_1"] == 651_720


def test_runs_of_another_recipe_are_not_taken_for_classic_ones(dataset, tmp_path):
    fake_run(tmp_path, slug="x", recipe="fast")
    bench = sections.Bench(dataset, tmp_path, tmp_path, 1, tmp_path, tmp_path)
    with pytest.raises(RunnerError, match="not of the classic recipe"):
        sections.fast(bench)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_recorded_step_trains_as_the_one_that_is_not(dataset):
    accuracies = {way: gpu.measure(dataset, "Q1_1", 4, way)[1] for way in gpu.WAYS}
    assert len(set(accuracies.values())) == 1


def test_section_of_gpus_says_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    [_, text] = sections.gpu(None)
    assert text.text == "There is no CUDA device here."
