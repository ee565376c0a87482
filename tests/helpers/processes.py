"""Command lines in processes of their own, on a small synthetic set, that can be killed."""

import csv
import multiprocessing
import os
import signal
import sys

import torch

import commands
import ex1
import shell
import synthetic
import utils

# Its server has imported torch once and is forked for every process, which saves seconds each time.
PROCESSES = multiprocessing.get_context("forkserver") if sys.platform != "win32" else None
TIMES = {"seconds", "images_per_second"}


def blank_plot(path, *args):
    utils.write_file(path, b"a picture")


def run_command(argv, log, images, plots, before):
    """What a process of its own does: one command line, with its output in the file ``log``."""
    with open(log, "a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    synthetic.TRAIN_IMAGES, synthetic.TEST_IMAGES = images
    if not plots:
        for name in ("plot_samples", "plot_curves", "plot_per_class", "plot_confusion"):
            setattr(utils, name, blank_plot)
        utils.parameter_summary = lambda network: "a table"
    shell.stop_at_once_on_signals()
    if before:
        before()
    os._exit(ex1.main(commands.parse(argv)))


class Place:
    """A folder where command lines run in processes of their own, on a small synthetic set."""

    def __init__(self, folder, images=(2000, 300), plots=False):
        self.folder, self.images, self.plots = folder, images, plots
        self.results, self.log = folder / "results", folder / "log.txt"
        self.started = []
        folder.mkdir(exist_ok=True)

    def start(self, *argv, before=None):
        place = [] if "--evaluate" in argv else ["--dataset", "synthetic"]
        if not {"--resume", "--evaluate"} & set(argv) or "auto" in argv:
            place += ["--results-dir", str(self.results)]
        process = PROCESSES.Process(
            target=run_command, args=([*argv, *place], self.log, self.images, self.plots, before)
        )
        process.start()
        self.started.append(process)
        return process

    def run(self, *argv, before=None):
        process = self.start(*argv, before=before)
        process.join()
        return process.exitcode

    def kill_all(self):
        for process in self.started:
            process.kill()

    def said(self):
        """What was said since this was last asked."""
        text = self.log.read_text()
        self.log.write_text("")
        return text

    @property
    def runs(self):
        return sorted(path for path in self.results.glob("*/*/*") if path.is_dir())


class KilledAtWrite:
    """Makes a process kill itself when it is about to give its ``n``-th file its name."""

    def __init__(self, n):
        self.n = n

    def __call__(self):
        def hook(event, args):
            if event == "os.rename":
                self.n -= 1
                if not self.n:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)


def outcome(folder, name="last.pt"):
    """All that a run gives that is not a time."""
    saved = torch.load(folder / name, weights_only=True)
    with open(folder / "history.csv") as lines:
        history = [{key: value for key, value in row.items() if key not in TIMES} for row in csv.DictReader(lines)]
    return {
        "weights": saved["model"],
        "momentum": [state["momentum_buffer"] for state in saved["optimizer"]["state"].values()],
        "random": saved["random"],
        "epochs": [{key: value for key, value in row.items() if key not in TIMES} for row in saved["history"]],
        "history": history,
        "metrics": (folder / "metrics.json").read_text(),
    }


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)
