"""What is read of finished runs."""

import json
import shutil
from dataclasses import replace

import pytest

import models
from report import overview, results
from runner import files, records
from tests.helpers.fake_runs import fake_run


def seeds(group):
    """The seeds of a group's runs."""
    return {seed for _, seed in group.runs}


def test_read_groups_runs_that_differ_in_seed(tmp_path):
    for seed in (0, 3):
        fake_run(tmp_path, "Q1_1", seed)
    fake_run(tmp_path, "Q1_1", shuffle="fixed")
    fake_run(tmp_path, "Q1_10")
    fake_run(tmp_path, "Q1_2")
    study = results.read_study(tmp_path)
    assert list(study.groups) == [("Q1_1", "none"), ("Q1_1", "fixed"), ("Q1_2", "none"), ("Q1_10", "none")]
    assert seeds(study.group("Q1_1")) == {0, 3}


def confusion_of(right, *others):
    """A confusion matrix with so many images of each class right, and others beside these."""
    row = [right, *others, *([0] * (9 - len(others)))]
    return [row[-i:] + row[:-i] for i in range(10)]


@pytest.mark.parametrize(
    "confusion",
    [
        confusion_of(100, 901),  # one image too many for each class
        confusion_of(100, -100, 1000),
        confusion_of(100, 900.0),
        confusion_of(900, 100),  # of another accuracy
        [[100, 900]] * 10, ["0123456789"] * 10, [[1000, 9000]], 7, {"a": 1},
    ],
)  # fmt: skip
def test_confusion_matrix_that_is_not_the_runs_own_is_refused(tmp_path, confusion):
    fake_run(tmp_path, "Q1_2", confusion=confusion_of(100, 900))
    path = fake_run(tmp_path, "Q1_1", confusion=confusion_of(100, 900)) / "metrics.json"
    files.write_json(path, (metrics := files.read_json(path)) | {"test": metrics["test"] | {"confusion": confusion}})
    study = results.read_study(tmp_path)
    assert [group.model for group in study.models] == ["Q1_2"]
    assert "Q1_1" in study.notes[0]
    assert study.group("Q1_2").by_confusion(lambda counts: counts[0, 1]).mean == 900


def test_read_keeps_other_settings_and_data_apart(tmp_path):
    for seed in range(3):
        fake_run(tmp_path, "Q1_1", seed)
    fake_run(tmp_path, "Q1_1", 0, accuracy=90, lr=0.01)
    fake_run(tmp_path, "Q1_1", 7, accuracy=99, data="SYNTHETIC (not CIFAR-10)", slug="synthetic")
    study = results.read_study(tmp_path)
    assert len(study.group("Q1_1").runs) == 3
    assert [group.settings for group in study.others] == [(("lr", 0.01),)]
    assert any("1 run on SYNTHETIC" in note for note in study.notes)
    assert results.read_study(tmp_path / "synthetic").data["slug"] == "synthetic"


def test_read_counts_same_run_once(tmp_path):
    fake_run(tmp_path, "Q1_1", accuracy=60)
    fake_run(tmp_path, "Q1_1", accuracy=90, name="Q1_1__shuffle-none__seed-0__run-2")
    study = results.read_study(tmp_path)
    assert study.group("Q1_1").mean("val_accuracy").mean < 70
    assert "run-2 is left out" in study.notes[0]


def test_read_leaves_out_other_network_of_same_name(tmp_path):
    fake_run(tmp_path, "Q1_1", 0)
    path = fake_run(tmp_path, "Q1_1", 1) / "config.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"parameters": 62006', '"parameters": 62007'), encoding="utf-8"
    )
    study = results.read_study(tmp_path)
    assert seeds(study.group("Q1_1")) == {0}
    assert "is another network" in study.notes[0]


def test_read_names_runs_of_earlier_version(tmp_path):
    fake_run(tmp_path, "Q1_1", 0)
    path = fake_run(tmp_path, "Q1_1", 1) / "history.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("val_confidence", "confidence"), encoding="utf-8")
    assert "of an earlier version" in results.read_study(tmp_path).notes[0]


def set_machine(folder, **facts):
    """Writes into a run's description what its machine was."""
    content = files.read_json(folder / "config.json")
    content["machine"] |= facts
    files.write_json(folder / "config.json", content)


def test_precisions_that_auto_chose_are_not_pooled(tmp_path):
    for seed, precision in enumerate(["bf16", "bf16", "bf16", "fp32", None]):  # None: before there were others
        folder = fake_run(tmp_path, "Q1_1", seed, precision="auto")
        set_machine(folder, **{"precision": precision} if precision else {}, started=f"2026-0{seed + 1}")
    # A small network may compute in fp32 what a large one computes in bf16.
    set_machine(fake_run(tmp_path, "Q1_2", 0, precision="auto"), precision="fp32", started="2026-01")
    study = results.read_study(tmp_path)
    assert {name: seeds(group) for (name, _), group in study.groups.items()} == {"Q1_1": {0, 1, 2}, "Q1_2": {0}}
    [other] = study.others
    assert seeds(other) == {3, 4}
    assert results.settings_text(other.settings) == "precision fp32"
    assert study.notes == ["2 runs of Q1_1 kept apart: precision fp32, most have bf16"]


def test_precision_that_was_asked_for_is_the_same_as_one_that_auto_chose(tmp_path):
    for seed, precision in enumerate(["auto", "bf16", "auto"]):
        set_machine(fake_run(tmp_path, "Q1_1", seed, precision=precision), precision="bf16")
    study = results.read_study(tmp_path)
    assert seeds(study.group("Q1_1")) == {0, 1, 2}
    assert not study.is_classic


def test_shuffle_seeds_of_the_same_permutation_are_one(tmp_path):
    for shuffle_seed in range(3):
        for seed in range(2):
            folder = fake_run(tmp_path, "Q1_1", seed, "block:16", shuffle_seed=shuffle_seed)
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            config["data"]["permutation_sha256"] = "ab"[shuffle_seed == 1] * 64
            (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    study = results.read_study(tmp_path)
    assert study.group("Q1_1", "block:16").size == "4 runs, 2 permutations"
    assert len(study.notes) == 2
    assert "is left out" in study.notes[0]


def test_run_that_does_not_tell_its_permutation_has_that_of_its_shuffle_seed(tmp_path):
    for seed in range(3):
        folder = fake_run(tmp_path, "Q1_1", seed, "fixed")
        if seed:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            del config["data"]["permutation_sha256"]
            (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    fake_run(tmp_path, "Q1_1", 0, "fixed", shuffle_seed=1)
    assert results.read_study(tmp_path).group("Q1_1", "fixed").size == "4 runs, 2 permutations"


def test_runs_of_the_native_step_are_pooled_with_those_of_pytorchs(tmp_path):
    for seed in range(3):
        folder = fake_run(tmp_path, "Q1_1", seed, step="auto" if seed else "torch")
        set_machine(folder, step="native" if seed == 2 else "torch")
    study = results.read_study(tmp_path)
    assert seeds(study.group("Q1_1")) == {0, 1, 2}
    [run_set] = results.read_run_sets(tmp_path)
    [facts] = [block.items for block in overview.data_blocks(run_set, "a command") if getattr(block, "items", ())]
    assert facts[3].endswith("; computed by PyTorch's step (2 runs), native step (1 run)")


def test_compiled_runs_are_not_pooled_with_others(tmp_path):
    for seed in range(3):
        fake_run(tmp_path, "Q1_1", seed, compile=seed == 2)
    study = results.read_study(tmp_path)
    assert seeds(study.group("Q1_1")) == {0, 1}
    assert study.notes == ["1 run of Q1_1 kept apart: step compiled, most have not compiled"]


def test_run_whose_compilation_failed_is_pooled_with_those_that_were_not_compiled(tmp_path):
    for seed in range(3):
        folder = fake_run(tmp_path, "Q1_1", seed, compile=seed == 2)
    in_json("metrics.json", "compiled", value=True)(folder)
    assert len(results.read_study(tmp_path).others) == 1
    in_json("metrics.json", "compiled", value=False)(folder)
    study = results.read_study(tmp_path)
    assert (seeds(study.group("Q1_1")), study.others, study.notes) == ({0, 1, 2}, [], [])


def test_run_whose_blocks_an_earlier_version_moved_is_left_out(tmp_path):
    for shuffle in ("none", "fixed", "block:16", "grey"):
        folder = fake_run(tmp_path, "Q1_1", shuffle=shuffle)
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        del config["data"]["permutation_sha256"]
        (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    study = results.read_study(tmp_path)
    assert [shuffle for _, shuffle in study.groups] == ["none", "fixed", "grey"]
    [note] = study.notes
    assert "block-16__seed-0 is left out, it can't be read: ValueError: an earlier version drew its permutation" in note


def test_grey_runs_of_an_earlier_version_are_read_by_their_old_name(tmp_path):
    in_json("config.json", "settings", "shuffle", value="colour")(fake_run(tmp_path, "Q1_1", shuffle="grey"))
    assert [*results.read_study(tmp_path).groups] == [("Q1_1", "grey")]


def test_own_networks_of_one_name_are_not_pooled(tmp_path, registry):
    registry["mine"] = replace(models.find("Q1_1"), name="Mine", known_from=models.OWN)
    for seed, sha256 in enumerate(["a" * 64, "a" * 64, "b" * 64, "b" * 64]):
        set_machine(fake_run(tmp_path, "Mine", seed), model_sha256=sha256, started=f"2026-0{seed + 1}")
    for seed, sha256 in enumerate([None, "c" * 64]):  # of a file that was named beside a network of the study
        set_machine(fake_run(tmp_path, "Q1_2", seed), model_sha256=sha256)
    study = results.read_study(tmp_path)
    assert seeds(study.group("Mine")) == {2, 3}  # of equally many the last
    assert seeds(study.group("Q1_2")) == {0, 1}
    [other] = study.others
    assert (seeds(other), results.settings_text(other.settings)) == ({0, 1}, "network aaaaaaaa")
    assert study.notes == ["2 runs of Mine kept apart: network aaaaaaaa, most have bbbbbbbb"]


# ---- a run that can't be one ----------------------------------------------------------------------------------------


def in_json(name, *keys, value):
    """Sets an entry of a JSON file of a run."""

    def change(folder):
        content = json.loads((folder / name).read_text(encoding="utf-8"))
        place = content
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        (folder / name).write_text(json.dumps(content), encoding="utf-8")

    return change


def in_history(before, after):
    """Replaces text in the history of a run."""

    def change(folder):
        text = (folder / "history.csv").read_text(encoding="utf-8")
        (folder / "history.csv").write_text(text.replace(before, after), encoding="utf-8")

    return change


def set_column(name, value):
    """Sets a column of the history of a run."""

    def change(folder):
        header, *rows = (folder / "history.csv").read_text(encoding="utf-8").splitlines()
        place = header.split(",").index(name)
        rows = [row.split(",") for row in rows]
        lines = [",".join([*row[:place], value, *row[place + 1 :]]) for row in rows]
        (folder / "history.csv").write_text("\n".join([header, *lines]), encoding="utf-8")

    return change


CLASSES = [*"abcdefghij"]
ODD = {
    "a class column renamed": in_history("of_cat", "of_Cat"),
    "an eleventh class": in_json("config.json", "data", "classes", value=[*CLASSES, "k"]),
    "other classes": in_json("config.json", "data", "classes", value=CLASSES),
    "a class twice": in_json("config.json", "data", "classes", value=["a", *CLASSES[:9]]),
    "accuracy above 1": set_column("val_accuracy", "7.5"),
    "accuracy below 0": set_column("train_accuracy", "-0.1"),
    "confidence above 1": set_column("val_confidence", "1.01"),
    "accuracy of a class above 1": set_column("val_accuracy_of_cat", "1.01"),
    "loss below 0": set_column("val_loss", "-1"),
    "loss beyond everything": set_column("train_loss", "1e300"),
    "seconds below 0": set_column("seconds", "-1"),
    "result of another history": in_json("metrics.json", "test", "accuracy", value=0.99),
    "loss of another history": in_json("metrics.json", "test", "loss", value=0.1),
    "training of another history": in_json("metrics.json", "train", value={"loss": 9.0, "accuracy": 0.5}),
    "result of other classes": in_json("metrics.json", "test", "per_class_accuracy", value={"a": 0.5}),
    "result of a class above 1": in_json("metrics.json", "test", "per_class_accuracy", "cat", value=2),
    "no number as a result": in_json("metrics.json", "test", "accuracy", value=float("nan")),
    "fewer epochs": in_json("config.json", "settings", "epochs", value=9),
    "a number without bounds": in_json("config.json", "settings", "lr", value=10**400),
    "no parameters": in_json("config.json", "parameters", value=0),
    "a name with an escape sequence": in_json("config.json", "data", "name", value="CIFAR\x1b[2J"),
    "a name that turns the line": in_json("config.json", "data", "name", value="CIFAR\u202e"),
    "a batch without bounds": in_json("config.json", "settings", "batch_size", value=10**300),
    "another order of epochs": set_column("epoch", "2"),
    "deep nesting": lambda folder: (folder / "config.json").write_text("[" * 10**5, encoding="utf-8"),
}


@pytest.mark.parametrize("change", ODD.values(), ids=ODD)
def test_run_that_can_not_be_is_left_out_with_a_line(tmp_path, change):
    for seed, shuffle in ((0, "none"), (1, "none"), (0, "fixed")):
        fake_run(tmp_path, "Q1_1", seed, shuffle)
    before = results.read_study(tmp_path)
    change(fake_run(tmp_path, "Q1_1", 1, "fixed"))
    study = results.read_study(tmp_path)
    [note] = study.notes
    assert "left out" in note
    assert study.groups == before.groups


@pytest.mark.figures
def test_name_that_could_be_mathematics_is_shown_as_it_is(tmp_path):
    for shuffle in ("none", "fixed"):
        fake_run(tmp_path, "Q1_1", shuffle=shuffle, data="$\\frac$", classes=["$x_$", "\\$y^$", *CLASSES[2:]])
    assert overview.write(tmp_path).notes == []


@pytest.mark.figures
def test_letters_that_the_font_lacks_bring_no_warning(tmp_path, recwarn):
    fake_run(tmp_path, "Q1_1", data="图像")
    overview.write(tmp_path)
    assert not [warning for warning in recwarn if "Glyph" in str(warning.message)]


def test_result_measured_on_another_machine_after_the_last_epoch_is_taken(tmp_path):
    folder = fake_run(tmp_path, "Q1_1")
    accuracy = records.read_metrics(folder)["test"]["accuracy"]
    in_json("metrics.json", "test", "accuracy", value=accuracy + 0.0002)(folder)
    assert results.read_study(tmp_path).notes == []


@pytest.mark.parametrize("images", [0, 5, 10**400, 1e400, None, "many"])
def test_baselines_that_can_not_be_are_refused(tmp_path, images):
    from tests.helpers.fake_runs import fake_baselines

    fake_run(tmp_path, "Q1_1", shuffle="per-image")
    fake_baselines(tmp_path / "cifar10")
    in_json("baselines.json", "baselines", "colour histogram", "images", value=images)(tmp_path / "cifar10")
    assert "baselines.json can't be read" in overview.write(tmp_path, overview.Options(study=True)).notes[0]


def test_copy_of_a_run_elsewhere_is_named_and_moves_no_report(tmp_path):
    run = fake_run(tmp_path, "Q1_1")
    shutil.copytree(run, tmp_path / "aaa" / "run")
    shutil.copytree(run, tmp_path / "cifar10" / "Q1_0" / run.name)
    shutil.copytree(tmp_path / "cifar10", tmp_path / "backup")
    written = overview.write(tmp_path)
    assert written.path == tmp_path / "cifar10" / "report.html"
    assert written.study.group("Q1_1").example.folder == run
    left_out = {note.partition(" is left out")[0] for note in written.notes}
    assert left_out == {
        str(tmp_path / other / run.name) for other in ("backup/Q1_0", "backup/Q1_1", "cifar10/Q1_0")
    } | {str(tmp_path / "aaa" / "run")}
    assert all(f"{run} is the same run" in note for note in written.notes)
