"""Command lines in processes of their own, on a small synthetic set, that can be killed."""

import multiprocessing
import os
import signal
import sys
import time

import torch

from native.step import NativeStep
from runner import signals
from tests.helpers import internals
from tests.helpers.cli import execute

# Its server has imported torch once and is forked for every process, which saves seconds each time; torch._dynamo is
# what the first optimiser of a process imports.
PROCESSES = multiprocessing.get_context("forkserver") if sys.platform != "win32" else None
PRELOADED = ["ex1", "datasets", "torch.optim", "torch._dynamo", "matplotlib.figure", "torchsummary", __name__]


def run_command(argv, log, images, before):
    """What a process of its own does: one command line, with its output in the file ``log``."""
    with open(log, "a", encoding="utf-8") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    internals.shrink_synthetic(*images)
    internals.render_no_figures()
    signals.stop_at_once_on_signals()
    if before:
        before()
    os._exit(execute(argv))


class Place:
    """A folder where command lines run in processes of their own, on a small synthetic set."""

    def __init__(self, folder, images=(2000, 300)):
        self.folder, self.images = folder, images
        self.results, self.log = folder / "results", folder / "log.txt"
        self.started = []
        folder.mkdir(exist_ok=True)

    def start(self, *argv, before=None):
        place = [] if "--evaluate" in argv else ["--dataset", "synthetic"]
        if not {"--resume", "--evaluate"} & set(argv) or "auto" in argv:
            place += ["--results-dir", str(self.results)]
        if "--threads" not in argv:
            place += ["--threads", "1"]  # several tests are under way at once
        process = PROCESSES.Process(target=run_command, args=([*argv, *place], self.log, self.images, before))
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
        text = self.log.read_text(encoding="utf-8")
        self.log.write_text("", encoding="utf-8")
        return text

    @property
    def runs(self):
        return sorted(path for path in self.results.glob("*/*/*") if path.is_dir())


# ---- what happens in such a process, as its ``before`` --------------------------------------------------------------


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


class Ignoring:
    """Makes a process one that was started with a signal ignored, as nohup does; ``before`` is what else happens."""

    def __init__(self, number, before):
        self.number, self.before = number, before

    def __call__(self):
        signal.signal(self.number, signal.SIG_IGN)
        signals.stop_at_once_on_signals()
        self.before()


# What is called once in a step of training, by whatever computes it; AdamW is an Adam.
STEPS = (torch.optim.SGD, "step"), (torch.optim.Adam, "step"), (NativeStep, "forward_backward")


class SignalAtStep:
    """Makes a process get a signal in its ``n``-th step of training."""

    def __init__(self, n, number):
        self.n, self.number = n, number

    def __call__(self):
        for kind, name in STEPS:
            setattr(kind, name, self.counted(getattr(kind, name)))

    def counted(self, step):
        def step_with_signal(*args):
            self.n -= 1
            if not self.n:
                os.kill(os.getpid(), self.number)
            return step(*args)

        return step_with_signal


class SlowStep:
    """Makes every step of training take seconds, as one that is stuck."""

    def __call__(self):
        for kind, name in STEPS:
            setattr(kind, name, lambda *args: time.sleep(30))


class SlowData:
    """Makes the images take seconds to make, and the file ``marker`` when that has begun."""

    def __init__(self, marker):
        self.marker = marker

    def __call__(self):
        internals.make_synthetic_with(lambda *args: (self.marker.touch(), time.sleep(30)))


# ---- damaged and malicious files ------------------------------------------------------------------------------------


def flip(path, position, bit=0):
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


class Evil:
    """Makes the folder ``target`` when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)
