"""Every option of ex1.py, once, in the program as it is started by a user: nothing is put in the place of anything."""

import itertools
import json
import os
import shlex
import shutil
import subprocess
import sys

import pytest

from runner import cli
from runner.config import FIELDS
from runner.records import read_history
from tests.helpers.cli import execute
from tests.helpers.paths import PROJECT

TRAIN = "--model-name Q1_1 --epochs 1 --data-dir {images} --results-dir {results}"

# Command lines, and what they say, in the order in which they can be; {run} and {affine} are folders of runs.
CASES = [
    ("-h", "usage: "),
    ("--help", "usage: "),
    ("--help-all", "--label-smoothing"),
    ("--list-models", "Q1_19"),
    (
        "--model-name Q1_1 --recipe fast --epochs 2 --batch-size 8 --lr 0.05 --schedule one-cycle --warmup 0.3 "
        "--momentum 0.8 --no-nesterov --weight-decay 0.001 --init torch --label-smoothing 0.2 --augment none "
        "--precision bf16 --seed 5 --shuffle block:4 --val-shuffle none --shuffle-seed 2 --dataset cifar10 "
        "--data-dir {images} --val holdout --holdout 20 --train-fraction 0.5 --limit 60 --device cpu --threads 1 "
        "--optimizer sgd --patience 5 --no-tensorboard --no-compile --step auto "
        "--results-dir {results}/main --checkpoint-every 3",
        "Accuracy of the network on 50 test images",
    ),
    ("--evaluate {run} --weights best --data-dir {images}", "best checkpoint, after epoch"),
    ("--evaluate {run} --data-check full --data-dir {images}", "images were decoded anew"),
    ("--evaluate {run} --on {images}/test", "tested on folder test, "),
    ("--config {run}/config.json --dry-run --data-dir {images}", "1 run on CIFAR-10 "),
    (f"{TRAIN} --new --tensorboard --limit 20", "tensorboard"),
    ("--transfer {run} --data-dir {images}", "tested with per-image"),
    ("--predict {image} --from {run}", "Q1_1 sees in"),
    ("--resume {run} --quiet --data-dir {images}", "Q1_1: test accuracy "),
    ("--model-name Q2_1 --epochs 1 --limit 20 --nesterov --data-dir {images} --results-dir {results}/affine", "in "),
    ("--collapse {affine} --data-dir {images}", "parameters come to 30,730 numbers"),
    (
        "--model-name Q1_1 --epochs 1 --limit 20 --dataset synthetic --data-seed 3 --cues colour,position "
        "--results-dir {results}/cues",
        "SYNTHETIC",
    ),
    ("--conflict {cues}", "where colour and position show different classes"),
    (
        f"{TRAIN} --shuffle fixed --shuffle-seeds 0,1 --seeds 0 --jobs 2 --engine local --limit 20",
        "2 of 2 runs finished",
    ),
    (
        "--model-name Q1_1,Q1_4 --epochs 1 --limit 20 --until-decided 100 --max-seeds 3 --data-dir {images} "
        "--results-dir {results}/until",
        "reached with 6 runs",
    ),
    (f"--model-file {PROJECT / 'docs' / 'no_convolutions.py'} {TRAIN.replace('Q1_1', 'NoConv')}", "NoConv"),
    ("--model-name Q1_1 --dataset cifar10 --data-dir {empty} --data-url file:///nowhere/at.all --debug", "Traceback"),
]
RAY = (f"{TRAIN} --engine ray --gpus-per-run 0 --seeds 0 --limit 20", "1 of 1 run finished")
# What has its own tests, of the program as it is started too.
ELSEWHERE = {"--compile": __file__, "--ray-address": PROJECT / "tests" / "slow" / "test_ray.py"}


def run(command, **variables):
    command = [sys.executable, "ex1.py", *shlex.split(command)]
    return subprocess.run(
        command, cwd=PROJECT, env=os.environ | variables, capture_output=True, encoding="utf-8", errors="replace"
    )


@pytest.fixture(scope="module")
def places(tmp_path_factory, few_images):
    """Where the cases work: on the real images where they are found, else on random ones."""
    base, images = tmp_path_factory.mktemp("every-option"), few_images
    if (PROJECT / "data" / "train").is_dir():
        images = base / "images"
        for split, n in (("train", 20), ("test", 5)):
            for folder in sorted((PROJECT / "data" / split).iterdir()):
                (images / split / folder.name).mkdir(parents=True)
                for file in sorted(folder.iterdir())[:n]:
                    shutil.copy(file, images / split / folder.name)
    (base / "empty").mkdir()
    image = next((images / "test").rglob("*.*g"))
    return {"images": images, "results": base / "results", "empty": base / "empty", "image": image}


def folder_of(places, name):
    return next(iter((places["results"] / name).glob("*/*/*/config.json")), places["results"]).parent


def test_every_option_is_tried():
    flags = {flag for action in cli.build_parser()._actions for flag in action.option_strings}
    tried = set(itertools.chain(*(command.split() for command, _ in [*CASES, RAY])))
    assert flags - tried == set(ELSEWHERE)
    for flag, file in ELSEWHERE.items():
        with open(file, encoding="utf-8") as text:
            assert flag in text.read()


@pytest.mark.parametrize("case", CASES, ids=[case[0].split(" -")[0] for case in CASES])
def test_option_does_what_it_says(case, places):
    command, said = case
    here = {name: shlex.quote(str(path)) for name, path in places.items()}
    saved = {"run": "main", "affine": "affine", "cues": "cues"}
    here |= {name: shlex.quote(str(folder_of(places, place))) for name, place in saved.items()}
    done = run(command.format(**here))
    assert done.returncode == (1 if "Traceback" in said else 0), done.stderr
    assert said in done.stdout + done.stderr
    if "--recipe" in command:
        given = vars(cli.build_parser().parse_args(shlex.split(command.format(**here))))
        settings = json.loads((folder_of(places, "main") / "config.json").read_text(encoding="utf-8"))["settings"]
        assert {name: settings[name] for name in FIELDS if name in given} == {
            name: [*itertools.chain(*given[name])][0]
            if isinstance(given[name], list) and isinstance(given[name][0], list)
            else given[name][0]
            if isinstance(given[name], list)
            else given[name]
            for name in FIELDS
            if name in given
        }


def test_ray_options(places):
    pytest.importorskip("ray")
    command, said = RAY
    done = run(command.format(**{name: shlex.quote(str(path)) for name, path in places.items()}))
    assert done.returncode == 0, done.stderr
    assert said in done.stdout


@pytest.mark.parametrize("model", ["Q1_1", "NoConv"])
def test_compile_without_a_compiler_goes_on(places, tmp_path, registry, capsys, model):
    """Losses are those of the network that is not compiled."""
    losses = []
    command = (
        TRAIN.replace("Q1_1", model) + f" --limit 50 --threads 1 --model-file {PROJECT / 'docs' / 'no_convolutions.py'}"
    )
    for option in ("--step torch", "--compile"):
        here = {"images": shlex.quote(str(places["images"])), "results": shlex.quote(str(tmp_path / option))}
        line = f"{command.format(**here)} {option}"
        if option == "--compile":
            done = run(line, CXX="/bin/false", TORCHINDUCTOR_CACHE_DIR=str(tmp_path / "cache"))
            assert done.returncode == 0, done.stderr
            assert "--compile: going on without, it failed here: " in done.stderr
        else:
            assert execute(shlex.split(line)) == 0
            assert "going on without" not in capsys.readouterr().err
        [file] = (tmp_path / option).glob("*/*/*/history.csv")
        losses.append([(row["train_loss"], row["val_loss"]) for row in read_history(file.parent)])
    assert losses[0] == losses[1]
