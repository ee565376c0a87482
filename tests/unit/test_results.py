"""What is read of finished runs."""

from dataclasses import replace

import models
from report import results
from runner import files
from tests.helpers.fake_runs import fake_run


def test_read_groups_runs_that_differ_in_seed(tmp_path):
    for seed in (0, 3):
        fake_run(tmp_path, "Q1_1", seed)
    fake_run(tmp_path, "Q1_1", shuffle="fixed")
    fake_run(tmp_path, "Q1_10")
    fake_run(tmp_path, "Q1_2")
    study = results.read_study(tmp_path)
    assert list(study.groups) == [("Q1_1", "none"), ("Q1_1", "fixed"), ("Q1_2", "none"), ("Q1_10", "none")]
    assert set(study.group("Q1_1").runs) == {0, 3}


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
    assert set(study.group("Q1_1").runs) == {0}
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
    for seed, precision in enumerate(["bf16", "bf16", "fp32", None]):  # None: before there were others
        folder = fake_run(tmp_path, "Q1_1", seed, precision="auto")
        set_machine(folder, **{"precision": precision} if precision else {}, started=f"2026-0{seed + 1}")
    set_machine(fake_run(tmp_path, "Q1_2", 0, precision="auto"), precision="bf16", started="2026-01")
    study = results.read_study(tmp_path)
    assert {name: set(group.runs) for (name, _), group in study.groups.items()} == {"Q1_1": {0, 1}, "Q1_2": {0}}
    [other] = study.others
    assert set(other.runs) == {2, 3}
    assert results.settings_text(other.settings) == "precision auto, precision fp32"
    assert study.notes == ["2 runs of Q1_1 kept apart: precision fp32, most have bf16"]


def test_own_networks_of_one_name_are_not_pooled(tmp_path, registry):
    registry["mine"] = replace(models.find("Q1_1"), name="Mine", known_from=models.OWN)
    for seed, sha256 in enumerate(["a" * 64, "a" * 64, "b" * 64, "b" * 64]):
        set_machine(fake_run(tmp_path, "Mine", seed), model_sha256=sha256, started=f"2026-0{seed + 1}")
    for seed, sha256 in enumerate([None, "c" * 64]):  # of a file that was named beside a network of the study
        set_machine(fake_run(tmp_path, "Q1_2", seed), model_sha256=sha256)
    study = results.read_study(tmp_path)
    assert set(study.group("Mine").runs) == {2, 3}  # of equally many the last
    assert set(study.group("Q1_2").runs) == {0, 1}
    [other] = study.others
    assert (set(other.runs), results.settings_text(other.settings)) == ({0, 1}, "network aaaaaaaa")
    assert study.notes == ["2 runs of Mine kept apart: network aaaaaaaa, most have bbbbbbbb"]
