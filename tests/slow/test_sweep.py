"""Batches of runs, on this machine and on a Ray cluster."""

import contextlib
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import batch
import commands
import ex1
import models
import net
import runs
import utils
from tests.helpers.paths import PROJECT
from tests.helpers.processes import outcome, same

CLASSES = "plane car bird cat deer dog frog horse ship truck".split()


@pytest.fixture(scope="session")
def few_images(tmp_path_factory):
    """A data folder with 20 training and 5 test images of each class."""
    folder = tmp_path_factory.mktemp("few-images")
    draws = np.random.default_rng(0)
    for split, n in (("train", 20), ("test", 5)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for i in range(n):
                pixels = draws.integers(0, 256, (32, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{i}.png")
    return folder


@pytest.fixture
def command_line(few_images, tmp_path, monkeypatch):
    """Makes a command line on few images, with results in ``tmp_path/NAME``, as arguments of ``ex1.py``."""
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")

    def make(*arguments, results="results"):
        return [*arguments, "--data-dir", str(few_images), "--results-dir", str(tmp_path / results)]

    return make


def execute(arguments):
    return ex1.main(commands.parse(arguments))


def start(arguments):
    """A batch in a process of its own, with what it says in one stream."""
    command = [sys.executable, str(PROJECT / "ex1.py"), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return found


def results(folder):
    """All that the runs in ``folder`` give that is not a time, by the name of the run."""
    return {path.parent.name: outcome(path.parent) for path in folder.glob("*/*/*/metrics.json")}


# ---- which runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("q1-19", ["Q1_19"]),
        ("Q1_19,Q2_1,Q1_19", ["Q1_19", "Q2_1"]),
        ("Q1_2?", ["Q1_20", "Q1_21", "Q1_22", "Q1_23", "Q1_24", "Q1_25"]),
        ("q2-*", ["Q2_1", "Q2_2"]),
        ("Q1_[12]", ["Q1_1", "Q1_2"]),
        ("all", [model.name for model in models.TABLE]),
    ],
)
def test_a_list_of_names_selects_models(names, expected):
    assert [model.name for model in models.select(names)] == expected


@pytest.mark.parametrize("names", ["", ",", "Q1_1,", "Q9_*", "Q1_1,Q1_99", "?"])
def test_a_list_that_names_no_model_is_refused(names):
    with pytest.raises(models.UnknownModel):
        models.select(names)


def test_a_batch_has_each_model_shuffle_and_seed_once():
    command = commands.parse("--model-name Q1_1,Q2_1 --shuffle none,fixed per-image --seeds 0-2,1,7 --lr 0.01".split())
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


def test_one_model_shuffle_and_seed_is_no_batch():
    command = commands.parse("--model-name Q2_? --model-name Q1_19 --shuffle fixed --seed 3".split())
    assert (command.action, command.config().run_name) == ("train", "Q1_19__shuffle-fixed__seed-3")
    assert commands.parse("--model-name Q1_19 --jobs 1".split()).action == "batch"


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
def test_mistakes_in_a_batch_are_named(arguments, complaint, capsys):
    with pytest.raises(SystemExit) as stopped:
        commands.parse(arguments.split())
    assert stopped.value.code == 2
    assert complaint in capsys.readouterr().err.splitlines()[-1]


def test_the_longest_runs_come_first():
    order = [job.config.model_name for job in batch.plan(commands.parse(["--model-name", "all"]))]
    assert set(order[:4]) == {"Q1_19", "Q1_23", "Q1_24", "Q1_25"}
    assert order.index("Q2_2") < order.index("Q1_1")


@pytest.mark.parametrize("name", [model.name for model in models.TABLE])
def test_the_tables_multiply_accumulates_are_those_that_the_network_does(name):
    assert sum(layer.macs for layer in models.find(name).layers()) == net.count_macs(models.build(name))


# ---- on this machine ------------------------------------------------------------------------------------------------


def test_a_batch_gives_what_single_runs_give_and_skips_what_is_done(command_line, tmp_path, capfd):
    common = ["--epochs", "2", "--model-name"]
    assert execute(command_line(*common, "Q1_4,Q1_1", "--shuffle", "none", "per-image", "--seeds", "0,3")) == 0
    together = results(tmp_path / "results")
    assert len(together) == 8
    for name, shuffle, seed in (("Q1_1", "none", "0"), ("Q1_4", "per-image", "3")):
        single = [*common, name, "--shuffle", shuffle, "--seed", seed]
        assert execute(command_line(*single, results="single")) == 0
    for name, alone in results(tmp_path / "single").items():
        assert same(together[name], alone)
    assert "4/8" in capfd.readouterr().out

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*/*/*/*")}
    assert execute(command_line(*common, "Q1_4,Q1_1", "--shuffle", "none", "per-image", "--seeds", "0,3")) == 0
    assert "8 of them finished already" in capfd.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "results").glob("*/*/*/*")}


def test_processes_need_not_be_forked(command_line, tmp_path):
    command = commands.parse(command_line("--model-name", "Q1_4", "--epochs", "1", "--seeds", "0"))
    [job] = batch.plan(command)
    described = utils.describe_dataset(ex1.load_data(job.config, quiet=True))
    engine = batch.LocalProcesses(1)
    engine.context = multiprocessing.get_context("spawn")
    with contextlib.closing(engine):
        assert batch.train_all([job], engine, described, batch.Display([job], print, quiet=True)) == ([], [])
    assert len(results(tmp_path / "results")) == 1


def test_a_quiet_batch_says_the_outcome_only(command_line, tmp_path, capfd):
    arguments = command_line("--model-name", "Q1_4", "--seeds", "0", "--epochs", "1", "--limit", "20", "--quiet")
    assert execute(arguments) == 0
    out = capfd.readouterr().out
    assert re.fullmatch(r"\[CIFAR-10 folder \w+\] 1 of 1 runs are finished\n", out)
    assert len(list((tmp_path / "results").glob("*/report.html"))) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_batch_goes_on_to_the_same_results(command_line, tmp_path, number):
    arguments = ["--model-name", "Q1_1,Q1_4,Q1_2", "--epochs", "60", "--jobs", "2"]
    stopped = start(command_line(*arguments))
    until(lambda: len(list((tmp_path / "results").glob("*/*/*/last.pt"))) == 2)
    # Ctrl-C in a terminal reaches every process of the group.
    (os.killpg if number == signal.SIGINT else os.kill)(stopped.pid, number)
    said, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == 128 + number, said
    assert "the same command goes on" in said.splitlines()[-1]
    left = list((tmp_path / "results").glob("*/*/*.log"))
    assert len(left) == 2
    assert all("to go on: " in path.read_text() for path in left)
    assert not list((tmp_path / "results").glob("*/*/*/metrics.json"))
    for folder in (path.parent for path in (tmp_path / "results").glob("*/*/*/.lock")):
        runs._lock(folder).release()  # nobody has it any more

    assert execute(command_line(*arguments)) == 0
    assert any("going on from" in path.read_text() for path in left)
    assert execute(command_line(*arguments, results="straight")) == 0
    assert same(results(tmp_path / "results"), results(tmp_path / "straight"))


OWN = """
import pathlib
from torch import nn
from models import register

class Failing(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3072, 10)

    def forward(self, x):
        marks = pathlib.Path({marks!r})
        if len(x) == 4 and len(list(marks.iterdir())) < {fails}:
            (marks / str(len(list(marks.iterdir())))).touch()
            {how}
        return self.layer(x.flatten(1))

register("failing")(Failing)
"""


@pytest.mark.parametrize(
    ("fails", "how", "attempts"),
    [
        (1, "raise ValueError('the model is broken')", 2),
        (1, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 2),
        (9, "raise ValueError('the model is broken')", 2),
    ],
)
def test_a_run_that_fails_is_tried_once_more_and_named(
    command_line, tmp_path, capfd, fails, how, attempts, monkeypatch
):
    (tmp_path / "marks").mkdir()
    (tmp_path / "own.py").write_text(OWN.format(marks=str(tmp_path / "marks"), fails=fails, how=how))
    monkeypatch.setattr(models, "REGISTRY", dict(models.REGISTRY))
    arguments = ["--model-file", str(tmp_path / "own.py"), "--model-name", "failing,Q1_4", "--epochs", "1"]
    code = execute(command_line(*arguments))
    out, err = capfd.readouterr()
    assert len(list((tmp_path / "marks").iterdir())) == min(fails, attempts)
    assert "will be tried once more" in out
    done = {path.parent.parent.name for path in (tmp_path / "results").glob("*/*/*/metrics.json")}
    if fails < attempts:
        assert (code, done) == (0, {"failing", "Q1_4"})
    else:
        assert (code, done) == (1, {"Q1_4"})
        log = re.search(r"failed, see (.*\.log)", err)[1]
        assert "the model is broken" in Path(log).read_text()
        assert "the model is broken" in out
        assert "1 of 2 runs failed" in err.splitlines()[-1]


def test_a_run_that_another_process_trains_is_left_to_it(command_line, tmp_path, capfd):
    arguments = command_line("--model-name", "Q1_1,Q1_4", "--epochs", "1")
    assert execute(arguments) == 0
    [folder] = (tmp_path / "results").glob("*/Q1_1/*seed-0")
    (folder / "metrics.json").unlink()
    lock = runs._lock(folder)
    assert execute(arguments) == 75
    out, err = capfd.readouterr()
    assert "another process trains it" in err
    assert "once more" not in out
    lock.release()
    assert execute(arguments) == 0


def test_run_all_passes_its_arguments_on(command_line, tmp_path):
    arguments = command_line("--limit", "40", "--epochs", "1", "--model-name", "Q1_1", "--seeds", "0,1", "--jobs", "1")
    done = subprocess.run([PROJECT / "run_all.sh", *arguments], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path / "results")) == 2
    listed = subprocess.run([PROJECT / "run_all.sh", "--jobs", "x"], capture_output=True, text=True)
    assert listed.returncode == 2


# ---- on a Ray cluster ----------------------------------------------------------------------------------------------


@pytest.fixture
def two_nodes(monkeypatch):
    """A Ray cluster of two nodes with a CPU each, and the second node."""
    pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-optional.txt")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = nodes.add_node(num_cpus=1)
    yield nodes, second
    nodes.shutdown()


@pytest.mark.xdist_group("ray")
def test_a_node_that_dies_changes_no_result(two_nodes, command_line, tmp_path):
    nodes, second = two_nodes
    arguments = ["--model-name", "Q1_1,Q1_4", "--seeds", "0-1", "--epochs", "60", "--checkpoint-every", "7"]
    on_ray = start(command_line(*arguments, "--engine", "ray", "--ray-address", nodes.address))
    begun = lambda: [log for log in (tmp_path / "results").glob("*/*/*.log") if " epoch  5/60" in log.read_text()]
    until(lambda: len(begun()) == 2)
    nodes.remove_node(second, allow_graceful=False)
    said, _ = on_ray.communicate(timeout=300)
    assert on_ray.returncode == 0, said
    assert "once more" not in said  # it is Ray that starts the run again
    assert sum("going on from" in log.read_text() for log in begun()) == 1
    assert execute(command_line(*arguments, results="local")) == 0
    assert len(results(tmp_path / "local")) == 4
    assert same(results(tmp_path / "results"), results(tmp_path / "local"))
    assert not list((tmp_path / "results").glob(".batch-*"))


@pytest.mark.xdist_group("ray")
def test_a_batch_on_ray_stops_and_goes_on_without(two_nodes, command_line, tmp_path):
    arguments = ["--model-name", "Q1_1,Q1_4,Q1_2", "--epochs", "60"]
    on_ray = start(command_line(*arguments, "--engine", "ray", "--ray-address", two_nodes[0].address))
    until(lambda: len(list((tmp_path / "results").glob("*/*/*/last.pt"))) == 2)
    os.kill(on_ray.pid, signal.SIGINT)
    said, _ = on_ray.communicate(timeout=120)
    assert on_ray.returncode == 130, said
    stopped = [log.read_text() for log in (tmp_path / "results").glob("*/*/*.log")]
    assert sum("to go on: " in text for text in stopped) == len(stopped) == 2
    assert execute(command_line(*arguments)) == 0
    assert execute(command_line(*arguments, results="straight")) == 0
    assert same(results(tmp_path / "results"), results(tmp_path / "straight"))


@pytest.mark.xdist_group("ray")
def test_results_come_from_nodes_that_do_not_share_the_folder(two_nodes, command_line, tmp_path):
    arguments = ["--model-name", "Q1_1,Q1_4", "--epochs", "2"]
    command = commands.parse(command_line(*arguments, "--engine", "ray", "--ray-address", two_nodes[0].address))
    jobs = batch.plan(command)
    described = utils.describe_dataset(ex1.load_data(jobs[0].config, quiet=True))
    engine = batch.make_engine(command, described)
    with contextlib.closing(engine):
        engine.token.unlink()
        assert batch.train_all(jobs, engine, described, batch.Display(jobs, print, quiet=True)) == ([], [])
    assert all(" epoch 2/2 " in job.log.read_text() for job in jobs)
    assert execute(command_line(*arguments, results="local")) == 0
    assert same(results(tmp_path / "results"), results(tmp_path / "local"))


@pytest.mark.xdist_group("ray")
def test_a_cluster_that_is_not_there_is_named(command_line, capfd):
    pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-optional.txt")
    arguments = ["--model-name", "Q1_1,Q1_4", "--engine", "ray", "--ray-address", "127.0.0.1:1"]
    assert execute(command_line(*arguments)) == 2
    assert "--ray-address 127.0.0.1:1: " in capfd.readouterr().err.splitlines()[-1]


def test_without_ray_its_engine_says_how_to_install_it(command_line, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert execute(command_line("--model-name", "Q1_1,Q1_4", "--engine", "ray")) == 2
    assert "pip install ray" in capfd.readouterr().err.splitlines()[-1]


# ---- what the screen shows ------------------------------------------------------------------------------------------


def test_the_time_left_follows_from_the_epochs_that_the_logs_name(tmp_path):
    jobs = batch.plan(commands.parse(["--model-name", "Q1_1", "--seeds", "0-3", "--epochs", "10"]))
    said = []
    with batch.Display(jobs, said.append, quiet=True) as display:
        for job in jobs[:2]:
            job.log = tmp_path / f"{job.config.seed}.log"
            job.log.write_text(
                "[data] Q1_1 epoch 3/10  training\n" if job is jobs[1] else "[data] Q1_1 epoch  1/10  x\n"
            )
        display._began -= 100
        display.show(jobs[:2], jobs[2:], [])
        assert [job.epochs() for job in jobs[:2]] == [(0, 1), (2, 3)]
        # Two epochs took 100 s, and 9 + 7 + 10 + 10 are left.
        assert re.search(r"(\d+):(\d+) left", display._left).groups() == ("30", "00")
        display.say_done(jobs[1], 0.5)
    assert re.fullmatch(r"1/4 Q1_1, seed-1: test accuracy 50\.0 % after epoch 10, [\d:]+, 30:00 left", said[0])
