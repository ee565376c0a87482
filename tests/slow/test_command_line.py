"""The program as a user starts it, in processes of its own."""

import json
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from tests.helpers.cli import run_folder
from tests.helpers.fake_runs import fake_baselines
from tests.helpers.paths import PROJECT
from tests.helpers.waiting import WaitingModels


def test_command_that_is_printed_goes_on(command_line, tmp_path):
    models = WaitingModels(tmp_path, step=70)
    command = [sys.executable, "ex1.py", *models.arguments(1), "--epochs", "3", "--lr", "0.01"]
    command = command_line(*command, results="with space")
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        models.wait_for(1)
        process.send_signal(signal.SIGINT)
        last = process.stderr.read().splitlines()[-1]
    models.let_go()
    assert process.returncode == 130
    assert last.startswith("ex1.py: stopped in epoch ")
    done = subprocess.run(
        last.partition("; to go on: ")[2], shell=True, cwd=PROJECT, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    assert "going on from " in done.stdout
    assert list((tmp_path / "with space").glob("*/*/*/metrics.json"))


def test_signal_during_the_imports_stops_at_once():
    command = [sys.executable, "-X", "importtime", "ex1.py", "--model-name", "Q1_1"]
    with subprocess.Popen(command, cwd=PROJECT, stderr=subprocess.PIPE, encoding="utf-8") as process:
        while "torch" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == 130
    assert rest.splitlines()[-1] == "ex1.py: stopped"
    assert "Traceback" not in rest


def test_list_of_models_may_be_cut_short_by_its_reader():
    command = [sys.executable, "ex1.py", "--list-models"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-h"], 0, "Q1_19"),
        (["--model-name", "Q1_19", "--epochs", "ten"], 2, "--epochs: ten is not a whole number"),
        (["--model-name", "Q1_19", "--epochs", "0"], 2, "--epochs 0: must be at least 1"),
        (["--epochs", "1"], 2, "--model-name is needed, e.g. --model-name Q1_19"),
    ],
)
def test_usage_and_mistaken_options_need_no_torch(arguments, code, said):
    """The imports of torch and matplotlib take seconds; the real script is run with both made impossible."""
    script = "import runpy, sys; sys.modules.update(torch=None, matplotlib=None, numpy=None); sys.argv[0] = 'ex1.py'; "
    script += "runpy.run_path('ex1.py', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=PROJECT, capture_output=True, encoding="utf-8"
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["--list-models"], 0), (["--model-name", "Q1_99"], 2)])
def test_models_are_listed_and_nearest_ones_are_named(arguments, code):
    done = subprocess.run([sys.executable, "ex1.py", *arguments], cwd=PROJECT, capture_output=True, encoding="utf-8")
    assert done.returncode == code, done.stderr
    assert "Q1_19" in done.stdout + done.stderr


def test_report_help_comes_without_torch():
    code = (
        "import runpy, sys\nsys.argv, sys.modules['torch'] = ['report', '-h'], None\n"
        "runpy.run_module('report', run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert "--compare" in done.stdout


def test_report_from_command_line(studied, tmp_path):
    folder = shutil.copytree(studied, tmp_path / "cifar10")
    done = subprocess.run([sys.executable, "-m", "report", folder], cwd=PROJECT, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("report on ")


def test_reading_needs_no_scikit_learn(tmp_path):
    fake_baselines(tmp_path)
    found = json.loads((tmp_path / "baselines.json").read_text(encoding="utf-8"))
    found["baselines"]["chance"]["per_class_accuracy"] = {"cat": 0.25, "dog": None}
    (tmp_path / "baselines.json").write_text(json.dumps(found), encoding="utf-8")
    code = (
        "import sys, pathlib; sys.modules['sklearn'] = None; from report import results; "
        f"found = results.read_baselines(pathlib.Path({str(tmp_path)!r})); "
        "print(found['baselines'][results.CHANCE]['per_class_accuracy'])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, encoding="utf-8", check=True)
    assert run.stdout == "{'cat': 0.25, 'dog': None}\n"


def test_run_goes_on_when_nobody_reads_any_more(command_line, tmp_path):
    command = command_line(sys.executable, "ex1.py", "--model-name", "Q1_4", "--epochs", "1", "--limit", "100")
    with subprocess.Popen(
        command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8"
    ) as process:
        process.stdout.close()
        assert "Error" not in process.stderr.read()
        assert process.wait() == 0
    assert run_folder(tmp_path)


def test_run_without_standard_streams(command_line, tmp_path):
    command = command_line(sys.executable, "ex1.py", "--model-name", "Q1_1", "--epochs", "1", "--limit", "100")
    closed = f"exec {shlex.join(command)} <&- >&- 2>&-"
    assert subprocess.run(closed, shell=True, cwd=PROJECT).returncode == 0
    assert run_folder(tmp_path)


@pytest.mark.parametrize(
    ("command", "debug"),
    [
        (["ex1.py", "--list-models"], False),
        (["ex1.py", "--list-models", "--debug"], True),
        (["-m", "report"], False),
        (["-m", "experiments.baselines"], False),
        (["-m", "experiments.benchmarks"], False),
    ],
)
def test_import_that_fails_is_told_in_a_line(command, debug):
    """Too little memory, as by ``ulimit -v``, is the least that can happen to it."""
    resource = pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, *command],
        cwd=PROJECT,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (800 * 2**20, resource.RLIM_INFINITY)),
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 1
    program = " ".join(command[:2]) if command[0] == "-m" else command[0]
    assert done.stderr.splitlines()[-1].removeprefix("python ").startswith(f"{program}: error: ")
    assert len(done.stderr.splitlines()) == 1 or debug
    assert ("Traceback" in done.stderr) == debug
