"""Command lines of ex1.py, in this process and in one of its own."""

import subprocess
import sys
import time

import ex1
import models
from runner import cli
from runner.config import Config
from tests.helpers.paths import PROJECT


def execute(arguments):
    """Does what a command line asks for, in this process, and returns the exit code, also that of a usage mistake."""
    try:
        parsed = cli.parse([str(argument) for argument in arguments])
    except SystemExit as stopped:
        return stopped.code
    return ex1.main(parsed)


def start(arguments):
    """A command line in a process of its own, with what it says in one stream."""
    command = [sys.executable, str(PROJECT / "ex1.py"), *arguments]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", start_new_session=True
    )


def until(condition, seconds=120):
    """Waits for a condition to hold, and returns what it gives."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)
    return found


def run_folder(place):
    """The folder of the one finished run in ``place/results``."""
    (folder,) = [path.parent for path in place.glob("results/*/*/*/metrics.json")]
    return folder


def accuracies(output):
    """The lines of what is said that tell an accuracy."""
    return [line for line in output.splitlines() if "Accuracy of" in line]


def configs(arguments):
    """The settings of the runs that a command line asks for."""
    parsed = cli.parse(arguments)
    return [Config.from_given(run) for run in parsed.runs([spec.name for spec in models.select(parsed.models)])]
