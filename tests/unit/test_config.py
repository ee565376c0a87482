import re
import subprocess
import sys

import pytest

import commands
import config
from config import Config, UsageError
from tests.helpers.paths import PROJECT


def test_the_defaults_are_the_classic_recipe():
    defaults = Config("Q1_1")
    assert (defaults.batch_size, defaults.lr, defaults.momentum, defaults.weight_decay) == (4, 0.001, 0.9, 0)
    assert (defaults.shuffle, defaults.val, defaults.dataset, defaults.data_dir) == ("none", "test", "auto", "data")


def test_every_setting_is_an_option_with_its_default_in_the_help(capsys):
    with pytest.raises(SystemExit) as stopped:
        commands.parse(["-h"])
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
    command = commands.parse(
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


def test_cues_have_the_strengths_that_are_given_in_any_order():
    assert config.cue_strengths("") == {}
    assert list(config.cue_strengths("texture,colour:0.25").items()) == [("colour", 0.25), ("texture", 1.0)]


@pytest.mark.parametrize(
    "cues", ["smell", "colour:0", "colour:1.1", "colour:x", "colour:nan", "colour,colour", "colour,", ":1"]
)
def test_cues_that_are_none_are_refused(cues):
    with pytest.raises(UsageError, match="--cues"):
        Config("Q1_1", dataset="synthetic", cues=cues)


def test_cues_are_for_generated_images_alone():
    for dataset in ("auto", "cifar10"):
        with pytest.raises(UsageError, match="--dataset synthetic"):
            Config("Q1_1", dataset=dataset, cues="colour")


def test_the_images_not_trained_on_have_the_shuffle_of_training_or_their_own():
    assert Config("Q1_1", shuffle="fixed").shuffle_of_others == "fixed"
    other = Config("Q1_1", shuffle="fixed", val_shuffle="block:4")
    assert other.shuffle_of_others == "block:4"
    assert other.run_name == "Q1_1__shuffle-fixed__val-shuffle-block-4__seed-0"


def test_a_recipe_gives_the_settings_that_are_not_given():
    fast = {name: fast for name, (_, fast) in config.RECIPE_TABLE.items()}
    chosen = commands.parse("--model-name Q1_1 --recipe fast".split()).config()
    assert chosen == Config("Q1_1", recipe="fast", **fast)
    assert chosen.run_name == "Q1_1__shuffle-none__recipe-fast__seed-0"
    chosen = commands.parse("--model-name Q1_1 --lr 0.5 --no-nesterov --recipe fast --epochs 77".split()).config()
    assert chosen == Config("Q1_1", recipe="fast", **fast | {"lr": 0.5, "nesterov": False, "epochs": 77})
    assert chosen.run_name == "Q1_1__shuffle-none__recipe-fast__epochs-77__lr-0.5__nesterov-off__seed-0"
    classic = commands.parse("--model-name Q1_1 --recipe classic".split()).config()
    assert classic == Config("Q1_1")
    batch = commands.parse("--model-name Q1_1,Q1_2 --recipe fast --momentum 0.5".split())
    assert {run.config().lr for run in batch.runs()} == {fast["lr"]}
    assert {run.config().momentum for run in batch.runs()} == {0.5}


def test_a_saved_run_keeps_its_settings_whatever_the_recipe_says():
    saved = vars(Config("Q1_1", recipe="fast", lr=0.3, nesterov=True))
    command = commands.parse(["--resume", "somewhere"])
    assert command.config(saved) == Config("Q1_1", recipe="fast", lr=0.3, nesterov=True)


def test_a_source_of_data_can_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CIFAR10_URL", "http://there")
    assert commands.parse(["--model-name", "Q1_1"]).config().data_url == "http://there"
    assert commands.parse(["--model-name", "Q1_1", "--data-url", "http://here"]).config().data_url == "http://here"


def test_the_run_name_tells_model_shuffle_seed_and_what_differs():
    assert Config("Q1_1").run_name == "Q1_1__shuffle-none__seed-0"
    name = Config("Q1_4", shuffle="fixed", shuffle_seed=3, seed=2, lr=0.0123456789, val="holdout", epochs=15).run_name
    assert name == "Q1_4__shuffle-fixed__epochs-15__lr-0.0123456789__shuffle-seed-3__val-holdout__seed-2"


@pytest.mark.parametrize("field", [name for name, field in config.FIELDS.items() if field.metadata["names_run"]])
def test_settings_that_change_a_result_change_the_name(field):
    about = config.FIELDS[field]
    values = {"int": 77, "float": 0.5, "bool": not about.default, "str": (about.metadata["choices"] or [""])[-1]}
    extra = {"holdout": {"val": "holdout"}, "warmup": {"schedule": "one-cycle"}}.get(field, {})
    assert Config("Q1_1", **extra, **{field: values[about.type]}).run_name != Config("Q1_1", **extra).run_name


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
def test_a_mistake_exits_with_2_and_its_reason(arguments, reason, capsys):
    with pytest.raises(SystemExit) as stopped:
        commands.parse(arguments.split())
    assert stopped.value.code == 2
    assert re.search(reason, capsys.readouterr().err)


@pytest.mark.parametrize("settings", [{"epochs": 0}, {"shuffle": "x"}, {"lr": float("inf")}, {"model_name": ""}])
def test_settings_are_checked_however_they_are_made(settings):
    with pytest.raises(UsageError):
        Config(**{"model_name": "Q1_1"} | settings)


def test_the_list_of_models_may_be_cut_short_by_its_reader():
    command = [sys.executable, "ex1.py", "--list-models"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize("arguments", [["-h"], ["--list-models"], ["--model-name", "Q1_99"]])
def test_usage_and_the_list_of_models_need_no_torch(arguments):
    """The imports of torch and matplotlib take seconds; the real script is run with both made impossible."""
    script = "import runpy, sys; sys.modules.update(torch=None, matplotlib=None, numpy=None); sys.argv[0] = 'ex1.py'; "
    script += "runpy.run_path('ex1.py', run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", script, *arguments], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == (2 if "Q1_99" in arguments else 0), done.stderr
    assert "Q1_19" in done.stdout + done.stderr
