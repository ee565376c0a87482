"""Command lines, and what they mean."""

import re

import pytest

from runner import cli, config
from runner.config import Config


def test_batch_command_has_each_model_shuffle_and_seed_once():
    command = cli.parse("--model-name Q1_1,Q2_1 --shuffle none,fixed per-image --seeds 0-2,1,7 --lr 0.01".split())
    assert command.action == "batch"
    made = [single.config() for single in command.runs()]
    assert {(one.model_name, one.shuffle, one.seed) for one in made} == {
        (name, shuffle, seed)
        for name in ("Q1_1", "Q2_1")
        for shuffle in ("none", "fixed", "per-image")
        for seed in (0, 1, 2, 7)
    }
    assert len(made) == 24
    assert {one.lr for one in made} == {0.01}
    assert all(single.resume == "auto" for single in command.runs())


def test_batch_command_is_none_of_one_run():
    command = cli.parse("--model-name Q2_? --model-name Q1_19 --shuffle fixed --seed 3".split())
    assert (command.action, command.config().run_name) == ("train", "Q1_19__shuffle-fixed__seed-3")
    assert cli.parse("--model-name Q1_19 --jobs 1".split()).action == "batch"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--model-name Q1_1 --seeds 3-1", "seed"),
        ("--model-name Q1_1 --seeds 1,,2", "seed"),
        ("--model-name Q1_1 --seeds 0-99999999", "10,000"),
        ("--model-name Q1_1 --seeds 0-1 --seed 2", "--seed and --seeds"),
        ("--model-name all --shuffle none,all", "choose from"),
        ("--model-name all --jobs -1", "--jobs"),
        ("--model-name all --jobs 2 --engine ray", "--jobs"),
        ("--model-name all --ray-address here", "--engine ray"),
        ("--model-name all --gpus-per-run 1", "--engine ray"),
        ("--model-name all --engine ray --gpus-per-run nan", "--gpus-per-run"),
        ("--model-name all --resume results/x", "--resume"),
        ("--model-name all --evaluate results/x", "--model-name"),
        ("--evaluate results/x --seeds 0", "--seeds"),
        ("--seeds 0-4", "--model-name"),
        ("--model-name all --lr 0", "--lr"),
    ],
)
def test_batch_command_names_mistakes(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse(arguments.split())
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]


def test_help_shows_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse(["-h"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, field in config.FIELDS.items():
        assert "--" + name.replace("_", "-") in text
        if field.default != "":
            default = (
                {True: "on", False: "off"}.get(field.default, field.default) if field.type == "bool" else field.default
            )
            assert re.search(rf"\(default: {re.escape(str(default))}[;)]", text)
    assert "(default: 0.001; fast: 0.06)" in text


def test_options_become_settings():
    command = cli.parse(
        "--model-name q1-19 --epochs 3 --batch-size 8 --lr 0.1 --momentum 0.5 --weight-decay 0.01 --seed 7 "
        "--shuffle fixed --shuffle-seed 2 --dataset synthetic --data-dir d --results-dir r --device cpu --threads 1 "
        "--val holdout --holdout 100 --train-fraction 0.5 --limit 50 --data-seed 4 --data-url u "
        "--val-shuffle block:4 --cues colour:0.5 --quiet".split()
    )
    assert command.quiet
    assert command.config() == Config(
        model_name="Q1_19", epochs=3, batch_size=8, lr=0.1, momentum=0.5, weight_decay=0.01, seed=7, shuffle="fixed",
        shuffle_seed=2, dataset="synthetic", data_dir="d", results_dir="r", device="cpu", threads=1, val="holdout",
        holdout=100, train_fraction=0.5, limit=50, data_seed=4, data_url="u", val_shuffle="block:4", cues="colour:0.5",
    )  # fmt: skip


def test_recipe_gives_the_settings_that_are_not_given():
    fast = {name: fast for name, (_, fast) in config.RECIPE_TABLE.items()}
    chosen = cli.parse("--model-name Q1_1 --recipe fast".split()).config()
    assert chosen == Config("Q1_1", recipe="fast", **fast)
    assert chosen.run_name == "Q1_1__shuffle-none__recipe-fast__seed-0"
    chosen = cli.parse("--model-name Q1_1 --lr 0.5 --no-nesterov --recipe fast --epochs 77".split()).config()
    assert chosen == Config("Q1_1", recipe="fast", **fast | {"lr": 0.5, "nesterov": False, "epochs": 77})
    assert chosen.run_name == "Q1_1__shuffle-none__recipe-fast__epochs-77__lr-0.5__nesterov-off__seed-0"
    classic = cli.parse("--model-name Q1_1 --recipe classic".split()).config()
    assert classic == Config("Q1_1")
    batch = cli.parse("--model-name Q1_1,Q1_2 --recipe fast --momentum 0.5".split())
    assert {run.config().lr for run in batch.runs()} == {fast["lr"]}
    assert {run.config().momentum for run in batch.runs()} == {0.5}


def test_saved_settings_win_over_the_recipe():
    saved = vars(Config("Q1_1", recipe="fast", lr=0.3, nesterov=True))
    command = cli.parse(["--resume", "somewhere"])
    assert command.config(saved) == Config("Q1_1", recipe="fast", lr=0.3, nesterov=True)


def test_source_of_data_can_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CIFAR10_URL", "http://there")
    assert cli.parse(["--model-name", "Q1_1"]).config().data_url == "http://there"
    assert cli.parse(["--model-name", "Q1_1", "--data-url", "http://here"]).config().data_url == "http://here"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("", "--model-name is needed"),
        ("--model-name Q1_99", "nearest: .*Q1_9"),
        ("--model-name nonsense", "no model is named 'nonsense'"),
        ("--model-name Q1_1 --epochs 0", "--epochs 0: must be at least 1"),
        ("--model-name Q1_1 --epochs -3", "--epochs -3: must be at least 1"),
        ("--model-name Q1_1 --epochs 1.5", "--epochs"),
        ("--model-name Q1_1 --epoch 3", "unrecognized arguments: --epoch 3"),
        ("--model-name Q1_1 --batch-size 0", "--batch-size 0"),
        ("--model-name Q1_1 --lr nan", "--lr nan: must be a finite number"),
        ("--model-name Q1_1 --lr 0", "--lr 0.0: must be above 0"),
        ("--model-name Q1_1 --momentum 1.1", "--momentum 1.1: must be at most 1"),
        ("--model-name Q1_1 --train-fraction 0", "--train-fraction"),
        ("--model-name Q1_1 --seed -1", "--seed -1"),
        ("--model-name Q1_1 --seed 99999999999999999999", "--seed"),
        ("--model-name Q1_1 --threads 99999999999", "--threads"),
        ("--model-name Q1_1 --dataset cifar10 --data-seed 1", "--data-seed is for generated images"),
        ("--model-name Q1_1 --shuffle rows", "--shuffle"),
        ("--model-name Q1_1 --device gpu", "--device"),
        ("--model-name Q1_1 --holdout 10", "--val holdout"),
        ("--model-name Q1_1 --model-file nowhere.py", "no such file of models"),
        ("--model-name=--", "must be of type str"),
        ("--model-name Q1_1 --resume=", "--resume names no run"),
        ("--model-name Q1_1 --resume=--", "--resume names no run|expected one argument"),
        (f"--model-name Q1_1 --model-file {'x' * 5000}", "x: File name too long"),
        ("--model-name Q1_1 --weights best", "--weights goes with"),
        ("--predict a.png", "--from RUN go together"),
        ("--from run", "--from RUN go together"),
        ("--evaluate run --predict a.png --from run", "give one of them"),
        ("--evaluate run --lr 3 --model-name Q1_1", "leave out --model-name, --lr"),
        ("--evaluate run --results-dir there", "leave out --results-dir"),
        ("--transfer run --val-shuffle fixed", "leave out --val-shuffle"),
        ("--collapse run --transfer run", "give one of them"),
        ("--collapse= --model-name Q1_1", "--collapse names no run"),
        ("--model-name Q1_1 --shuffle block:3", "--shuffle block:3"),
    ],
)
def test_parse_exits_with_2_and_reason(arguments, reason, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse(arguments.split())
    assert stopped.value.code == 2
    assert re.search(reason, capsys.readouterr().err)


def test_own_file_that_ends_the_program_does_not(tmp_path, capsys):
    (tmp_path / "own.py").write_text("import sys\nsys.exit(0)")
    with pytest.raises(SystemExit) as stopped:
        cli.parse(["--model-file", str(tmp_path / "own.py"), "--model-name", "Q1_1"])
    assert stopped.value.code == 2
    assert "own.py, line 2: SystemExit: 0" in capsys.readouterr().err


def test_traceback_of_own_file_is_shown_with_debug(tmp_path, capsys):
    (tmp_path / "own.py").write_text("1 / 0")
    command = ["--model-file", str(tmp_path / "own.py"), "--model-name", "Q1_1"]
    for debug in (False, True):
        with pytest.raises(SystemExit) as stopped:
            cli.parse(command + ["--debug"] * debug)
        assert stopped.value.code == 2
        err = capsys.readouterr().err
        assert "own.py, line 1: ZeroDivisionError" in err
        assert ("Traceback" in err) == debug
