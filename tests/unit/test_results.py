"""What is read of finished runs."""

from report import results
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
