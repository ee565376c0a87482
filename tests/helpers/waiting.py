"""Own models that wait in the middle of their training, so that it can be stopped there however fast it is."""

from tests.helpers.cli import until

NAMES = ["Waiting1", "Waiting2", "Waiting3", "Waiting4"]

SOURCE = """
import os
import pathlib
import select
import signal

import models
from torch import nn

FOLDER = pathlib.Path({folder!r})


class Waiting(nn.Module):
    def __init__(self, name):
        super().__init__()
        self.network, self.name, self.steps = models.build("Q1_4"), name, 0

    def forward(self, images):
        if self.training and len(images) == 4:  # a batch, and no trial
            self.steps += 1
            if self.steps == {step} and not (FOLDER / "go on").exists():
                self.wait()
        return self.network(images)

    def wait(self):
        "Waits for a signal, or for the file that tells it to go on."
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        before = signal.set_wakeup_fd(writer)
        (FOLDER / self.name).touch()
        for _ in range(6000):  # two minutes at most
            if (FOLDER / "go on").exists() or select.select([reader], [], [], 0.02)[0]:
                break
        signal.set_wakeup_fd(before)


for name in {names!r}:
    if name.lower() not in models.REGISTRY:  # this file may be read again
        models.register(name)(lambda name=name: Waiting(name))
"""


class WaitingModels:
    """A file of own models that wait in their ``step``-th step in a process; batches are of 4 images."""

    def __init__(self, folder, step):
        self.folder, self.file = folder / "waiting", folder / "waiting.py"
        self.folder.mkdir()
        self.file.write_text(SOURCE.format(folder=str(self.folder), step=step, names=NAMES), encoding="utf-8")

    def arguments(self, models):
        """Those of a command line that trains so many of them."""
        return ["--model-file", str(self.file), "--model-name", ",".join(NAMES[:models])]

    def waiting(self):
        return sum((self.folder / name).exists() for name in NAMES)

    def wait_for(self, models):
        until(lambda: self.waiting() == models)

    def let_go(self):
        """From now on none of them waits."""
        (self.folder / "go on").touch()
