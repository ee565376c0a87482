"""Command lines, and what they mean."""

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

import models
from report import __main__ as report_command
from runner import cli, config, resume
from runner.config import Config
from runner.errors import RunnerError
from tests.helpers.cli import execute
from tests.helpers.paths import PROJECT


def runs_of(command):
    """What is given for each run of a parsed command line, as ``ex1.act`` finds it."""
    return command.runs([spec.name for spec in models.select(command.models)] if command.models else [])


def configs_of(arguments):
    """The settings of each run of a command line."""
    return [Config.from_given(run) for run in runs_of(cli.parse(arguments))]


def config_of(arguments):
    """The settings of the one run of a command line."""
    [made] = configs_of(arguments)
    return made


def test_batch_command_has_each_model_shuffle_and_seed_once():
    arguments = "--model-name Q1_1,Q2_1 --shuffle none,fixed per-image --seeds 0-2,1,7 --lr 0.01".split()
    command = cli.parse(arguments)
    assert command.action == "train"
    assert command.is_sweep(runs_of(command))
    made = configs_of(arguments)
    assert {(one.model_name, one.shuffle, one.seed) for one in made} == {
        (name, shuffle, seed)
        for name in ("Q1_1", "Q2_1")
        for shuffle in ("none", "fixed", "per-image")
        for seed in (0, 1, 2, 7)
    }
    assert len(made) == 24
    assert {one.lr for one in made} == {0.01}


def test_every_option_that_makes_another_run_takes_several_values():
    made = configs_of("--model-name Q1_1 Q1_4,Q2_1 --lr 0.001 0.01 --batch-size 4,32 --seeds 0-1 3".split())
    assert len(made) == 3 * 2 * 2 * 3
    assert {(one.model_name, one.lr, one.batch_size, one.seed) for one in made} == {
        (name, lr, size, seed)
        for name in ("Q1_1", "Q1_4", "Q2_1")
        for lr in (0.001, 0.01)
        for size in (4, 32)
        for seed in (0, 1, 3)
    }
    assert len({one.run_name for one in made}) == len(made)
    for name in config.IDENTITY - {"model_name"}:
        about = config.FIELDS[name]
        values = {"int": "60,70", "float": "0.25 0.5", "bool": "on off"}
        words = values.get(about.type.__name__) or " ".join((about.metadata["choices"] or ())[-2:])
        needed = {
            "holdout": "--val holdout",
            "patience": "--val holdout",
            "warmup": "--schedule step",
            "shuffle_seed": "--shuffle fixed",
        }.get(name, "")
        made = configs_of(["--model-name", "Q1_1", config.flag_of(name), *words.split(), *needed.split()])
        assert len({getattr(one, name) for one in made}) == 2, name
    with pytest.raises(SystemExit):
        configs_of("--model-name Q1_1 --data-seed 1,2".split())


def test_what_says_nothing_beside_a_value_of_several_makes_no_further_run():
    """And what the recipe says to it is off."""
    made = configs_of("--model-name Q1_1 --recipe fast --schedule constant one-cycle --warmup 0.1 0.3".split())
    assert [(one.schedule, one.warmup) for one in made] == [("constant", 0), ("one-cycle", 0.1), ("one-cycle", 0.3)]
    made = configs_of("--model-name Q1_1 --recipe fast --optimizer sgd adam --nesterov".split())
    assert [(one.optimizer, one.nesterov, one.lr) for one in made] == [("sgd", True, 0.06), ("adam", False, 0.003)]
    made = configs_of("--model-name Q1_1 --val test holdout --patience 2 --holdout 50".split())
    assert [one.run_name.split("__")[2:-1] for one in made] == [[], ["patience-2", "val-holdout", "holdout-50"]]


def test_fast_recipe_has_a_rate_that_suits_each_network():
    made = configs_of("--model-name Q1_1,Q2_1,Q2_2 --recipe fast".split())
    assert [one.lr for one in made] == [0.06, 0.01, 0.01]
    assert {one.run_name.partition("__")[2] for one in made} == {"shuffle-none__recipe-fast__seed-0"}


def test_sweep_over_permutations_has_each_once_where_pixels_are_moved():
    made = configs_of(
        "--model-name Q1_1 --shuffle none grey fixed grey+block:8 --shuffle-seeds 0-2 --seeds 0,1".split()
    )
    moved = [(shuffle, p, seed) for shuffle in ("fixed", "grey+block:8") for p in (0, 1, 2) for seed in (0, 1)]
    still = [(shuffle, 0, seed) for shuffle in ("none", "grey") for seed in (0, 1)]
    assert sorted((one.shuffle, one.shuffle_seed, one.seed) for one in made) == sorted(moved + still)


def test_batch_command_is_none_of_one_run():
    arguments = "--model-name Q2_? --model-name Q1_19 --shuffle fixed --seed 3".split()
    command = cli.parse(arguments)
    assert (command.action, config_of(arguments).run_name) == ("train", "Q1_19__shuffle-fixed__seed-3")
    assert not command.is_sweep(runs_of(command))
    command = cli.parse("--model-name Q1_19 --jobs 1".split())
    assert command.is_sweep(runs_of(command))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ("--model-name Q1_1 --seeds 3-1", "seed"),
        ("--model-name Q1_1 --seeds 1,,2", "seed"),
        ("--model-name Q1_1 --seeds 0-99999999", "10,000"),
        ("--model-name Q1_1 --seeds 0-1 --seed 2", "--seed and --seeds"),
        ("--model-name Q1_1 --shuffle-seeds 0-1 --shuffle-seed 2", "--shuffle-seed and --shuffle-seeds"),
        ("--model-name Q1_1 --shuffle grey+none", "--shuffle grey+none (did you mean none?): choose from none, "),
        ("--model-name Q1_1 --shuffle fixed+grey", "or filters and a permutation with + between"),
        ("--model-name Q1_1 --val-shuffle blur:5+grey", "blur:5+grey (did you mean blur:5?): choose from same, none, "),
        ("--model-name all --shuffle none,all", "choose from"),
        ("--model-name all --jobs -1", "--jobs -1: at least 1"),
        ("--model-name all --jobs 0", "--jobs 0: at least 1"),
        ("--model-name all --jobs 0 --engine ray", "--jobs"),
        ("--model-name all --jobs 2 --engine ray", "--jobs"),
        ("--model-name all --ray-address here", "--engine ray"),
        ("--model-name all --gpus-per-run 1", "--engine ray"),
        ("--model-name all --engine ray --gpus-per-run nan", "--gpus-per-run"),
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


def test_batch_command_goes_on_with_no_single_run(capsys):
    for names in ("all", "Q1_1,Q1_2"):
        assert execute(["--model-name", names, "--resume", "results/x"]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert "which go on where they were stopped: leave out --resume" in line
        assert execute(["--model-name", names, "--new"]) == 2
        assert "in place of --new give another --results-dir" in capsys.readouterr().err


def test_short_help_fits_a_screen_and_a_half_and_names_options_that_are(capsys):
    for flag in ("-h", "--help"):
        with pytest.raises(SystemExit) as stopped:
            cli.parse([flag])
        assert stopped.value.code == 0
    shown, again = capsys.readouterr().out.split("usage: ")[1:]
    assert shown == again
    lines = shown.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    flags = {flag for action in cli.build_parser()._actions for flag in action.option_strings}
    named = set(re.findall(r"(?<!\S)--[a-z-]+", shown))
    assert named <= flags
    assert {"--model-name", "--epochs", "--lr", "--seeds", "--resume", "--config", "--dry-run", "--help-all"} <= named


def test_help_all_shows_every_setting_with_its_default(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse(["--help-all"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    for name, field in config.FIELDS.items():
        assert "--" + name.replace("_", "-") in text
        if field.default != "":
            default = (
                {True: "on", False: "off"}.get(field.default, field.default) if field.type is bool else field.default
            )
            assert re.search(rf"\(default: {re.escape(str(default))}[;)]", text)
    assert "(default: 0.001; fast: 0.06)" in text


def test_options_become_settings():
    arguments = (
        "--model-name q1-19 --epochs 3 --batch-size 8 --lr 0.1 --momentum 0.5 --weight-decay 0.01 --seed 7 "
        "--shuffle fixed --shuffle-seed 2 --dataset synthetic --data-dir d --results-dir r --device cpu --threads 1 "
        "--val holdout --holdout 100 --train-fraction 0.5 --limit 50 --data-seed 4 --data-url u "
        "--val-shuffle block:4 --cues colour:0.5 --quiet".split()
    )
    assert cli.parse(arguments).quiet
    assert config_of(arguments) == Config(
        model_name="Q1_19", epochs=3, batch_size=8, lr=0.1, momentum=0.5, weight_decay=0.01, seed=7, shuffle="fixed",
        shuffle_seed=2, dataset="synthetic", data_dir="d", results_dir="r", device="cpu", threads=1, val="holdout",
        holdout=100, train_fraction=0.5, limit=50, data_seed=4, data_url="u", val_shuffle="block:4", cues="colour:0.5",
    )  # fmt: skip


def test_recipe_gives_the_settings_that_are_not_given():
    fast = {name: fast for name, (_, fast) in config.RECIPE_TABLE.items()}
    chosen = config_of("--model-name Q1_1 --recipe fast".split())
    assert chosen == Config("Q1_1", recipe="fast", **fast)
    assert chosen.run_name == "Q1_1__shuffle-none__recipe-fast__seed-0"
    chosen = config_of("--model-name Q1_1 --lr 0.5 --no-nesterov --recipe fast --epochs 77".split())
    assert chosen == Config("Q1_1", recipe="fast", **fast | {"lr": 0.5, "nesterov": False, "epochs": 77})
    assert chosen.run_name == "Q1_1__shuffle-none__recipe-fast__epochs-77__lr-0.5__nesterov-off__seed-0"
    classic = config_of("--model-name Q1_1 --recipe classic".split())
    assert classic == Config("Q1_1")
    batch = configs_of("--model-name Q1_1,Q1_2 --recipe fast --momentum 0.5".split())
    assert {run.lr for run in batch} == {fast["lr"]}
    assert {run.momentum for run in batch} == {0.5}


def test_saved_settings_win_over_the_recipe():
    saved = vars(Config("Q1_1", recipe="fast", lr=0.3, nesterov=True))
    command = cli.parse(["--resume", "somewhere"])
    assert resume.saved_config("somewhere", {"config": saved, "dataset": {}}, command.given) == Config(
        "Q1_1", recipe="fast", lr=0.3, nesterov=True
    )


def test_saved_run_whose_blocks_an_earlier_version_moved_is_refused():
    saved = {"config": vars(Config("Q1_1", shuffle="block:16")), "dataset": {}}
    with pytest.raises(RunnerError, match="somewhere: an earlier version drew its permutation, .*: train it anew"):
        resume.saved_config("somewhere", saved, {})
    now = saved | {"dataset": {"permutation_sha256": "0" * 64}}
    assert resume.saved_config("somewhere", now, {}).shuffle == "block:16"


def test_source_of_data_can_come_from_the_environment(monkeypatch):
    monkeypatch.setenv("CIFAR10_URL", "http://there")
    assert config_of(["--model-name", "Q1_1"]).data_url == "http://there"
    assert config_of(["--model-name", "Q1_1", "--data-url", "http://here"]).data_url == "http://here"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("", "--model-name is needed"),
        ("--model-name Q1_1 --epochs 0", "--epochs 0: must be at least 1"),
        ("--model-name Q1_1 --epochs -3", "--epochs -3: must be at least 1"),
        ("--model-name Q1_1 --epochs 1.5", "--epochs"),
        ("--model-name Q1_1 --epoch 3", r"no option --epoch \(did you mean --epochs\?\)"),
        ("--learning-rate 0.1", r"no option --learning-rate \(did you mean --lr\?\)"),
        ("--model Q1_1", r"no option --model \(did you mean --model-name\?\)"),
        ("--model-name Q1_1 --batch_size=8", r"no option --batch_size \(did you mean --batch-size\?\)"),
        ("--model-name Q1_1 --seed 0-2", "--seed: 0-2 is not a whole number; for several: --seeds 0-2"),
        ("--model-name Q1_1 --recipe Fats", r"--recipe Fats \(did you mean fast\?\): choose from classic, fast"),
        ("--model-name Q1_1 --engine rey", r"--engine: rey \(did you mean ray\?\): choose from local, ray"),
        ("Q1_19", "Q1_19: write an option before it, such as --model-name Q1_19"),
        ("--model-name Q1_1 --threads 1 2", "2: --threads takes no more values"),
        ("--model-name Q1_1 --nesterov maybe", "--no-nesterov: maybe: say on or off"),
        ("--model-name Q1_1 --patience 3", "--patience .*: give --val holdout too"),
        ("--model-name Q1_1 --optimizer adam --nesterov", "--nesterov needs --optimizer sgd"),
        ("--model-name Q1_1 --optimizer adam --momentum 1", "must be below 1 for --optimizer adam"),
        ("--evaluate run --dry-run", "leave out --dry-run"),
        ("--resume run --dry-run", "--dry-run shows new runs"),
        ("--resume run --new", "--new: not allowed with"),
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
        ("--model-name=--", "--model-name: its value is missing"),
        ("--model-name Q1_1 --gpus-per-run=--", "--gpus-per-run: its value is missing"),
        ("--predict a.png --from=--", "--from: its value is missing"),
        ("--model-name Q1_1 --resume=", "--resume: names no run"),
        ("--model-name Q1_1 --resume=--", "--resume: its value is missing|expected one argument"),
        ("--model-name Q1_1 --weights best", "--weights goes with"),
        ("--predict a.png", "--from RUN go together"),
        ("--from run", "--from RUN go together"),
        ("--evaluate run --predict a.png --from run", "--predict: not allowed with argument --evaluate"),
        ("--evaluate run --lr 3 --model-name Q1_1", "leave out --model-name, --lr"),
        ("--evaluate docs --results-dir there", "leave out --results-dir"),
        ("--transfer run --val-shuffle fixed", "leave out --val-shuffle"),
        ("--transfer run --on images", "--on PATH goes with --evaluate RUN"),
        ("--model-name Q1_1 --on images", "--on PATH goes with --evaluate RUN"),
        ("--evaluate run --on=", "--on: names no images"),
        ("--evaluate run --on images --val-shuffle fixed", "leave out --val-shuffle"),
        ("--collapse run --transfer run", "--transfer: not allowed with argument --collapse"),
        ("--list-models --resume run", "--resume: not allowed with argument --list-models"),
        ("--collapse= --model-name Q1_1", "--collapse: names no run"),
        ("--model-name Q1_1 --shuffle block:3", "--shuffle block:3"),
        (
            "--model-name Q1_1 --lr 0 --epochs 0",
            "--epochs 0: must be at least 1; --lr 0.0: must be above 0|--lr.*--epochs",
        ),
        ("--model-nam Q1_1", r"no option --model-nam \(did you mean --model-name\?\)"),
        ("--qqq", r"there is no option --qqq \(--help-all shows all\)"),
        (f"--model-name Q1_1 --model-file {'x' * 5000}", "x: File name too long"),
        (f"--model-name Q1_1 --data-dir {'x' * 300}", "x: File name too long"),
        (f"--model-name Q1_1 --results-dir not/there/{'x' * 300}", "x: File name too long"),
        ("--model-name Q1_1 --data-dir ~nobody-of-this-name/x", "no such user; a folder of that name is ./~nobody-of-"),
        ("--model-name Q1_1 --results-dir /dev/null/below", "--results-dir /dev/null/below: /dev/null is not a folder"),
    ],
)
def test_parse_exits_with_2_and_reason(arguments, reason, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse(arguments.split())
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ex1.py: error: ")
    assert re.search(reason, line)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ("--model-name Q1_99", "nearest: .*Q1_9"),
        ("--model-name nonsense", "no model is named 'nonsense' .*one of your own needs its --model-file"),
        ("--model-name Q1_98,Q1_1,Q9*", "named 'Q1_98'; nearest: .*; no model is named like 'Q9\\*' "),
        ("--model-name Q1_1 --model-file nowhere.py", "no such file of models"),
    ],
)
def test_mistake_with_models_is_one_line_and_exit_code_2(arguments, reason, capsys):
    assert execute(arguments.split()) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ex1.py: error: ")
    assert re.search(reason, line)


PATH_OPTIONS = [
    "--data-dir",
    "--model-file",
    "--results-dir",
    "--resume",
    "--evaluate",
    "--transfer",
    "--collapse",
    "--conflict",
]


@pytest.mark.parametrize("option", PATH_OPTIONS)
def test_home_is_expanded(option, monkeypatch):
    """A shell leaves ``~`` after ``=`` as it is."""
    monkeypatch.setenv("HOME", "/somebody")
    parsed = cli.parse([f"{option}=~/here", *(["--model-name", "Q1_1"] if option in PATH_OPTIONS[:3] else [])])
    assert "/somebody/here" in [parsed.run, parsed.resume, *parsed.given.values()]


def test_home_is_expanded_in_predict(monkeypatch):
    monkeypatch.setenv("HOME", "/somebody")
    parsed = cli.parse(["--predict", "~/a.png", "b.png", "--from=~/run"])
    assert (parsed.images, parsed.run) == (("/somebody/a.png", "b.png"), "/somebody/run")


def test_home_is_expanded_in_on(monkeypatch):
    monkeypatch.setenv("HOME", "/somebody")
    assert cli.parse(["--evaluate", "run", "--on=~/there"]).on == "/somebody/there"


def test_every_path_option_is_tried_above():
    actions = {flag for action in cli.build_parser()._actions if action.type in (cli._path, cli._run)
               for flag in action.option_strings}  # fmt: skip
    assert actions == {*PATH_OPTIONS, "--from", "--on"}


def test_command_line_imports_nothing_slow():
    slow = "torch torchvision numpy matplotlib PIL scipy pandas tqdm jinja2 data datasets models utils".split()
    code = f"import runner.cli, sys; print(sorted(set({slow}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("arguments", "code"), [("-h", 0), ("--nonsense", 2), ("--model-name Q1_1 --lr 0", 2)])
def test_help_and_wrong_options_import_no_torch(arguments, code):
    script = "import runpy, sys; sys.modules.update(torch=None, numpy=None, matplotlib=None); sys.argv[0] = 'ex1.py'; "
    script += "runpy.run_path('ex1.py', run_name='__main__')"
    command = [sys.executable, "-c", script, *arguments.split()]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, encoding="utf-8")
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert (done.stdout if code == 0 else done.stderr).startswith("usage: " if code == 0 else "ex1.py: error: ")


def test_own_file_that_ends_the_program_does_not(tmp_path, capsys):
    (tmp_path / "own.py").write_text("import sys\nsys.exit(0)", encoding="utf-8")
    assert execute(["--model-file", str(tmp_path / "own.py"), "--model-name", "Q1_1"]) == 2
    assert "own.py, line 2: SystemExit: 0" in capsys.readouterr().err


def test_traceback_of_own_file_is_shown_with_debug(tmp_path, capsys):
    (tmp_path / "own.py").write_text("1 / 0", encoding="utf-8")
    command = ["--model-file", str(tmp_path / "own.py"), "--model-name", "Q1_1"]
    for debug in (False, True):
        assert execute(command + ["--debug"] * debug) == 2
        err = capsys.readouterr().err
        assert "own.py, line 1: ZeroDivisionError" in err
        assert ("Traceback" in err) == debug


def test_home_is_expanded_by_the_report_too(monkeypatch):
    monkeypatch.setenv("HOME", "/somebody")
    assert report_command.parse(["~/results"]).results == "/somebody/results"
    assert report_command.parse([]).results == "results"


# ---- options in a file -----------------------------------------------------------------------------------------------


def write_config(tmp_path, text, name="study.toml"):
    if name.endswith(".toml") and sys.version_info < (3, 11):
        pytest.skip("tomllib is of Python 3.11")
    (tmp_path / name).write_text(text, encoding="utf-8")
    return ["--config", str(tmp_path / name)]


STUDY_TOML = """
model-name = ["Q1_1", "Q1_4"]
lr = [0.001, 0.01]
batch_size = 8
seeds = "0-1"
nesterov = [true, false]
quiet = true
"""
STUDY_JSON = """{"model_name": "Q1_1,Q1_4", "lr": [0.001, 0.01], "batch-size": 8, "seeds": [0, 1],
                 "nesterov": [true, false], "quiet": true}"""


@pytest.mark.parametrize(("name", "text"), [("study.toml", STUDY_TOML), ("study.json", STUDY_JSON)])
def test_options_of_a_file_are_as_those_of_a_command_line(tmp_path, name, text):
    line = "--model-name Q1_1,Q1_4 --lr 0.001 0.01 --batch-size 8 --seeds 0-1 --nesterov on off --quiet".split()
    file = write_config(tmp_path, text, name)
    assert cli.parse(file) == cli.parse(line)
    assert len(configs_of(file)) == 16


def test_command_line_wins_over_a_file(tmp_path):
    file = write_config(tmp_path, STUDY_TOML)
    made = configs_of([*file, "--lr", "0.5", "--seed", "7", "--no-nesterov", "--model-name", "Q1_1"])
    assert made == [Config("Q1_1", lr=0.5, batch_size=8, seed=7)]
    made = configs_of(["--seeds", "3,4", *write_config(tmp_path, "model_name = 'Q1_1'\nseed = 1")])
    assert [one.seed for one in made] == [3, 4]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("learning-rate = 1", r"study\.toml: no option is named learning-rate \(did you mean lr\?\)"),
        ("batchsize = 1", r"no option is named batchsize \(did you mean batch-size\?\)"),
        ("epochs = [1.5]", "--epochs: 1.5 is not a whole number"),
        ("lr = true", "--lr True: give no switch"),
        ("nesterov = 'yes'", "--nesterov 'yes': say true or false"),
        ("quiet = 1", "--quiet 1: say true or false"),
        ("results_dir = ['a', 'b']", "--results-dir takes one value"),
        ("data_seed = ['1']", "--data-seed takes one value"),
        ("[recipe]\nlr = 1", "--recipe takes a number, a text"),
        ("lr = []", "--lr takes a number, a text"),
        ("lr = inf", "--lr inf: must be a finite number"),
        ("resume = 'last'", "no option is named resume"),
        ("lr = ", "study.toml: TOMLDecodeError"),
    ],
)
def test_mistake_in_a_file_is_one_line_with_its_name(tmp_path, text, reason, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.parse([*write_config(tmp_path, text), "--model-name", "Q1_1"])
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(reason, line)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("study.json", "[1]", "it holds no options by name"),
        ("study.json", "{", "study.json: JSONDecodeError"),
        ("study.txt", "lr = 1", "is read as TOML, others as JSON"),
        ("config.json", '{"settings": {"lr": 1, "model_name": "Q1_1", "odd": 1}}', "not the settings of a run of this"),
        (None, "", "error: --config nowhere.toml: No such file"),
    ],
)
def test_file_that_holds_no_options_is_refused(tmp_path, name, text, reason, capsys):
    file = write_config(tmp_path, text, name) if name else ["--config", "nowhere.toml"]
    with pytest.raises(SystemExit):
        cli.parse(file)
    assert reason in capsys.readouterr().err


def test_toml_needs_a_python_that_reads_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 10, 0))
    (tmp_path / "study.toml").write_text("lr = 1", encoding="utf-8")
    with pytest.raises(SystemExit):
        cli.parse(["--config", str(tmp_path / "study.toml")])
    assert "TOML needs Python 3.11 or newer: write it as JSON" in capsys.readouterr().err


def test_file_of_a_run_repeats_it_and_says_no_places(tmp_path, caplog):
    """A file that somebody else made can't say what to open, run, download or where to write."""
    settings = {"model_name": "Q1_1", "recipe": "fast", "seed": 3, "lr": 0.5, "shuffle": "fixed", "val": "holdout"}
    settings |= {"patience": 2, "threads": 1}
    run = Config.from_given(settings)
    places = {"data_dir": "there", "model_file": "evil.py", "data_url": "http://there", "results_dir": "elsewhere"}
    saved = {"settings": vars(run) | places | {"cuda_graph": False}, "data": {}, "machine": {}}
    file = write_config(tmp_path, json.dumps(saved), "config.json")
    assert configs_of(file) == [run]
    assert (
        "give --data-dir there --data-url http://there --model-file evil.py --results-dir elsewhere again"
        in caplog.text
    )
    caplog.clear()
    configs_of([*file, "--results-dir", "r", "--data-dir=d"])
    assert "give --data-url http://there --model-file evil.py again" in caplog.text
    # What the recipe said gives way to another recipe.
    assert configs_of([*file, "--recipe", "classic"]) == [
        replace(run, recipe="classic", **dict(config.CLASSIC, lr=0.5))
    ]


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--format", "pfd"], r"--format pfd \(did you mean pdf\?\): choose from png, pdf, svg"),
        (["--widht", "3"], r"there is no option --widht \(did you mean --width\?\)"),
        (["--width", "x"], "--width: x is not a number"),
        (["--zzz"], r"there is no option --zzz \(-h shows all\)"),
        (["results", "more"], "more: it belongs to no option"),
    ],
)
def test_mistakes_of_the_report_are_one_line_too(argv, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        report_command.parse(argv)
    assert re.fullmatch(f"python -m report: error: {said}\n", capsys.readouterr().err)


def test_goal_of_a_sweep_is_checked(tmp_path, capsys):
    base = ["--model-name", "Q1_1,Q1_4", "--results-dir", str(tmp_path)]
    assert cli.parse(base).goal is None
    assert cli.parse([*base, "--until-decided", "0.5"]).goal == config.Goal(0.5, config.MAX_SEEDS)
    assert cli.parse([*base, "--until-decided", "2", "--max-seeds", "7"]).goal == config.Goal(2.0, 7)
    for more, why in (
        (["--max-seeds", "7"], "--max-seeds goes with --until-decided POINTS"),
        (["--until-decided", "0"], "--until-decided 0: points of accuracy, above 0 and at most 100"),
        (["--until-decided", "1", "--max-seeds", "2"], "--max-seeds 2: from 3 to 10,000"),
    ):
        with pytest.raises(SystemExit):
            cli.parse([*base, *more])
        assert why in capsys.readouterr().err
