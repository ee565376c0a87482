"""What is said on the screen: lines that name the data set, warnings, the result, a bar of progress.

Where a line can't be written, as after ``| head`` or to a full disk, the run goes on without.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

import utils
from data import Dataset
from runner.config import Config
from utils import Evaluation, Tally


def speaker(dataset: str, quiet: bool = False) -> Callable[[str], None]:
    """A ``print`` whose every line begins with the name of the data set; silent with ``quiet``."""

    def say(text: str) -> None:
        if not quiet:
            _write(sys.stdout, "\n".join(f"[{dataset}] {line}" for line in text.splitlines()))

    return say


def warn(text: str) -> None:
    """Prints ``text`` to stderr, ``--quiet`` or not."""
    _write(sys.stderr, text)


def notices(quiet: bool) -> Callable[[str], None]:
    """A ``print`` to stderr for what is good to know; silent with ``quiet``."""
    return (lambda text: None) if quiet else warn


def _write(stream: TextIO | None, text: str) -> None:
    try:
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:
            print(text.encode("ascii", "backslashreplace").decode(), file=stream, flush=True)
    except BrokenPipeError:
        _silence(stream)
    except OSError as error:
        _silence(stream)
        if stream is sys.stdout:
            warn(f"standard output can't be written ({error.strerror}): nothing more is said there")


def _silence(stream: TextIO) -> None:
    # What print() could not deliver is still in the stream's buffer, and would be an error again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def announce_generated_data() -> None:
    """Says so that it can't be missed that the images are not CIFAR-10."""
    rule = "!" * 78
    text = [
        "THIS IS NOT CIFAR-10. The images and their ten classes are generated.",
        "No accuracy here says anything of CIFAR-10.",
    ]
    warn("\n".join([rule, *(f"!!  {line:<70}  !!" for line in text), rule]))


def report(test: Evaluation, dataset: Dataset, config: Config, run: str | Path, quiet: bool) -> None:
    """Prints a run's result as published, with the accuracy of each class; with ``quiet``, on one line."""
    say = speaker(dataset.name)
    if quiet:
        say(f"{config.model_name}: test accuracy {100 * test.accuracy:.1f} %, {run}")
        return
    say(utils.run_title(config, dataset).replace("\n", ", "))
    say(f"Accuracy of the network on {test.images:,} test images: {100 * test.accuracy:.1f} % (loss {test.loss:.3f})")
    say("\n".join(utils.per_class_lines(test, dataset.classes)))


@contextlib.contextmanager
def progress_bar(what: str, images: int, done: int, quiet: bool) -> Iterator[Callable[[int, Tally], None]]:
    """Shows a bar of images, and gives what moves it on; no bar if quiet or without a terminal.

    Args:
        what: what the bar is called.
        images: how many there are.
        done: how many of them were done before.
    """
    layout = "{desc} {percentage:3.0f}% {remaining} left {rate_noinv_fmt} {bar}"
    disable = True if quiet else None
    with tqdm(
        desc=what,
        total=images,
        initial=done,
        unit="img",
        leave=False,
        disable=disable,
        dynamic_ncols=True,
        bar_format=layout,
    ) as bar:

        def progress(images: int, tally: Tally) -> None:
            if bar.update(images) and tally.images:
                bar.set_description_str(f"{what}  loss {tally.loss:.3f}, {100 * tally.accuracy:.1f} %", refresh=False)

        yield progress


def epoch_line(config: Config, row: dict, seconds_left: float) -> str:
    """What is said of an epoch, a row of the history, that is done."""
    left = f", {tqdm.format_interval(seconds_left)} left" if seconds_left else ""
    return (
        f"{config.model_name} epoch {row['epoch']:>{len(str(config.epochs))}}/{config.epochs}"
        f"  training loss {row['train_loss']:.3f}, {100 * row['train_accuracy']:.1f} %"
        f"  validation loss {row['val_loss']:.3f}, {100 * row['val_accuracy']:.1f} %"
        f"  {row['seconds']:.0f} s, {row['images_per_second']:,.0f} images/s{left}"
    )
