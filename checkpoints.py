"""Checkpoints: files from which a training goes on bit for bit, and that can't be harmful.

A checkpoint is a file of ``torch.save`` for ``torch.load(..., weights_only=True)``, which runs no code from it. Such a
file is a zip archive, and the SHA-256 of its bytes is the archive's comment. ``last.pt`` and ``previous.pt`` are the
two latest ones of a run, ``best.pt`` is the one of the best epoch on a hold-out.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import torch

from runner import files
from runner.errors import CheckpointError, one_line

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


COMMENT = len(b"sha256:") + 64

# What a checkpoint holds, and of what type it is; then the same for parts of it.
CONTENT = {"config": dict, "machine": dict, "dataset": dict, "model": dict, "optimizer": dict, "random": dict}
CONTENT |= {"history": list, "tally": dict}
MACHINE = {"versions": dict}
DATASET = {"name": str, "slug": str, "sha256": str, "classes": list, "seed": (int, type(None))}
TALLY = {"images": int, "loss_sum": float, "right": int, "logits": list, "steps": int, "seconds": float}
ROW = {"epoch": int, "train_loss": float, "train_accuracy": float, "val_loss": float, "val_accuracy": float}
ROW |= {"seconds": float, "images_per_second": float}


def _seal(archive: bytes) -> bytes:
    """The zip archive, which has no comment, with its SHA-256 as its comment."""
    comment = b"sha256:" + hashlib.sha256(archive).hexdigest().encode()
    return archive[:-2] + len(comment).to_bytes(2, "little") + comment


def _is_whole(content: bytes) -> bool:
    return content == _seal(content[: -COMMENT - 2] + b"\0\0")


def save(path: Path, content: dict, previous: Path | None = None, check: bool = False) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        previous: the name that the checkpoint that ``path`` was gets.
        check: make sure first that it can be read again, which the state of an own model may prevent.

    Raises:
        OSError: it can't be written.
        CheckpointError: it could not be read again.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    if check:
        buffer.seek(0)
        try:
            torch.load(buffer, weights_only=True)
        except Exception as error:
            raise CheckpointError("the model's state holds more than tensors and numbers: it can't be saved") from error
    files.write_file(path, _seal(buffer.getvalue()), previous)


def _read(path: Path) -> dict:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}") from error
    if not _is_whole(content):
        raise CheckpointError(f"{path} is damaged: its checksum is not that of its content")
    try:
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"{path} can't be read as a checkpoint: {one_line(error)}") from error
    if not (
        holds(saved, CONTENT)
        and holds(saved["machine"], MACHINE)
        and holds(saved["dataset"], DATASET)
        and all(isinstance(name, str) for name in saved["dataset"]["classes"])
        and holds(saved["tally"], TALLY)
        and all(isinstance(logits, torch.Tensor) for logits in saved["tally"]["logits"])
        and [row["epoch"] for row in saved["history"] if holds(row, ROW)] == [*range(1, len(saved["history"]) + 1)]
    ):
        raise CheckpointError(f"{path} is not a checkpoint of this program")
    return saved


def holds(content: object, types: dict[str, type | tuple[type, ...]]) -> bool:
    """Whether ``content`` is a dictionary with entries of these types; it may have others."""
    return isinstance(content, dict) and all(isinstance(content.get(key), kind) for key, kind in types.items())


def load(run: str | Path, weights: str = "last", warn: Callable[[str], None] = lambda text: None) -> dict:
    """The checkpoint ``weights`` (``last`` or ``best``) of the run folder ``run``, on the CPU; runs no code from it.

    Where the last one is damaged, it is the one before.

    Args:
        warn: is told what is damaged, and what is used in its place.

    Raises:
        CheckpointError: there is none, or none can be read.
    """
    run = Path(run)
    if weights == "last":
        return load_last(run, warn)[0]
    if run.is_dir() and not (run / BEST).exists():
        raise CheckpointError(f"{run / BEST} does not exist: it is written with --val holdout")
    return _read(run / BEST)


def load_last(run: Path, warn: Callable[[str], None] = lambda text: None) -> tuple[dict, Path]:
    """The last checkpoint of ``run`` that is whole, and its file; see :func:`load`."""
    if run.is_file():
        raise CheckpointError(f"{run} is a file: give the folder of a run")
    if not has_checkpoint(run):
        raise CheckpointError(f"{run / LAST} does not exist: is this the folder of a run?")
    try:
        return _read(run / LAST), run / LAST
    except CheckpointError as problem:
        try:
            saved = _read(run / PREVIOUS)
        except CheckpointError as second:
            raise CheckpointError(f"{problem}; {second}") from problem
        warn(f"{problem}; {run / PREVIOUS} is used, {position(saved)}")
        return saved, run / PREVIOUS


def has_checkpoint(run: Path) -> bool:
    return (run / LAST).exists() or (run / PREVIOUS).exists()


def position(saved: dict) -> str:
    """Where in its training a checkpoint was written, in words."""
    epochs, steps = len(saved["history"]), saved["tally"].get("steps", 0)
    return f"after epoch {epochs}" + f" and {steps:,} steps of the next" * bool(steps)
