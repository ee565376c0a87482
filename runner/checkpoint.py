"""Checkpoints: files from which a training goes on bit for bit, and that can't be harmful.

A checkpoint is a file of ``torch.save`` for ``torch.load(..., weights_only=True)``, which runs no code from it. Such a
file is a zip archive, and the SHA-256 of its bytes is the archive's comment. ``last.pt`` and ``previous.pt`` are the
two latest ones of a run, ``best.pt`` is the one of the best epoch on a hold-out.
"""

import hashlib
import io
import logging
import zipfile
from pathlib import Path

import torch
from torch import nn

from runner.errors import CheckpointError, one_line
from runner.files import BEST, LAST, PREVIOUS, check_row, has_fields, is_dataset, read_file, write_file

log = logging.getLogger("ex1")

VERSION = 2  # of the content below; files of version 1 have no entry "version"

# What a checkpoint holds, and of what type it is; then the same for parts of it.
RUN: dict[str, type] = {"config": dict, "machine": dict, "dataset": dict}  # what is trained, where, and on what
STATE: dict[str, type] = {"model": dict, "optimizer": dict, "rng": dict, "history": list, "metrics": dict}
CONTENT = RUN | STATE
MACHINE = {"versions": dict}
METRICS = {"images": int, "loss_sum": float, "correct": int, "logits": list, "steps": int, "seconds": float}
ROW = {"epoch": int, "train_loss": float, "train_accuracy": float, "val_loss": float, "val_accuracy": float}
ROW |= {"seconds": float, "images_per_second": float}

MAX_BYTES = 4 * 2**30  # of a file: 500 million weights, with their momentum
CLASSES = 10
MAX_TEXT = 10_000  # characters of a setting or of what is said of the machine

CHECKSUM_BYTES = len(b"sha256:") + 64


def _add_checksum(archive: bytes) -> bytes:
    """Make the SHA-256 of a zip archive without a comment its comment."""
    comment = b"sha256:" + hashlib.sha256(archive).hexdigest().encode()
    return archive[:-2] + len(comment).to_bytes(2, "little") + comment


def _is_whole(content: bytes) -> bool:
    return content == _add_checksum(content[: -CHECKSUM_BYTES - 2] + b"\0\0")


def save(path: Path, content: dict, previous: Path | None = None, check: bool = False) -> None:
    """Write a checkpoint, whole or not at all; ``check`` raises CheckpointError if it could not be read again."""
    write_file(path, _add_checksum(serialize({"version": VERSION} | content, check)), previous)


def serialize(content: dict, check: bool = True) -> bytes:
    """Make the bytes of a checkpoint; ``check`` raises CheckpointError if they could not be read again."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    if check:
        buffer.seek(0)
        try:
            torch.load(buffer, weights_only=True)
        except Exception as error:
            raise CheckpointError("the model's state holds more than tensors and numbers: it can't be saved") from error
    return buffer.getvalue()


def load(run: str | Path, weights: str = "last") -> dict:
    """Read the checkpoint ``weights`` (``last`` or ``best``) of the run folder ``run``, onto the CPU.

    It runs no code from the file. Where the last checkpoint is damaged, it reads the one before, with a warning. Raises
    CheckpointError if there is none, or none can be read.
    """
    run = Path(run)
    if weights == "last":
        return load_last(run)[0]
    if run.is_dir() and not (run / BEST).exists():
        raise CheckpointError(f"{run / BEST} does not exist: it is written with --val holdout")
    return _read(run / BEST)


def load_last(run: Path) -> tuple[dict, Path]:
    """Read the last checkpoint of ``run`` that is whole, and name its file; see :func:`load`."""
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
        log.warning(f"{problem}; {run / PREVIOUS} is used, {position(saved)}")
        return saved, run / PREVIOUS


def _read(path: Path) -> dict:
    """Read one file, and check that it holds what :func:`save` writes."""
    # Bytes first: a damaged file is told by its checksum, before anything looks into it.
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        content = read_file(path, MAX_BYTES)
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}") from error
    if not _is_whole(content):
        raise CheckpointError(f"{path} is damaged: its checksum is not that of its content")
    try:
        _check_sizes(content)
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error
    except Exception as error:
        raise CheckpointError(f"{path} can't be read as a checkpoint: {one_line(error)}") from error

    # Then its entries; a whole file without a version is of the time before checkpoints had one.
    version = saved.get("version", 1) if has_fields(saved, {"config": dict, "model": dict}) else None
    if isinstance(version, int) and version != VERSION:
        raise CheckpointError(
            f"{path} is of another version of this program (its checkpoints have version {version}, "
            f"this one's {VERSION}): read it with that version, or train the run anew"
        )
    if not (
        has_fields(saved, CONTENT | {"version": int})
        and has_fields(saved["machine"], MACHINE)
        and all(map(_is_scalar, _facts(saved)))
        and is_dataset(saved["dataset"])
        and len(set(saved["dataset"]["classes"])) == CLASSES
        and has_fields(saved["metrics"], METRICS)
        and all(isinstance(logits, torch.Tensor) for logits in saved["metrics"]["logits"])
        and all(has_fields(row, ROW) for row in saved["history"])
    ):
        raise CheckpointError(f"{path} is not a checkpoint of this program")
    try:
        for epoch, row in enumerate(saved["history"], 1):
            check_row(row, epoch)
    except ValueError as error:
        raise CheckpointError(f"{path} has a history that can't be: {error}") from error
    return saved


def load_weights(model: nn.Module, saved: dict) -> None:
    """Put the weights of a checkpoint into ``model``. Raises an exception of any kind if they are of another model."""
    # PyTorch itself would convert numbers of another type, and say nothing; those of the optimiser too.
    weights = model.state_dict()
    for name, there in saved["model"].items():
        if isinstance(there, torch.Tensor) and name in weights and there.dtype != weights[name].dtype:
            raise CheckpointError(f"{name} is {there.dtype}, not {weights[name].dtype}")
    types = {parameter.dtype for parameter in model.parameters()}
    momenta = [state.get("momentum_buffer") for state in saved["optimizer"]["state"].values()]
    if any(isinstance(momentum, torch.Tensor) and momentum.dtype not in types for momentum in momenta):
        raise CheckpointError("a momentum is not of the type of any weight")
    model.load_state_dict(saved["model"])


def _facts(saved: dict) -> list[object]:
    """List what a checkpoint says besides tensors, of which messages may be made."""
    machine = {key: value for key, value in saved["machine"].items() if key not in ("command", "versions")}
    rows = [value for row in saved["history"] if isinstance(row, dict) for value in row.values()]
    return [*saved["config"].values(), *machine.values(), *saved["machine"]["versions"].values(), *rows]


def _is_scalar(value: object) -> bool:
    """Tell whether a value is short in words; lists in lists may be short in a file and endless in words."""
    if isinstance(value, str):
        return len(value) < MAX_TEXT
    return value is None or isinstance(value, float) or (isinstance(value, int) and abs(value) < 10**30)


def _check_sizes(content: bytes) -> None:
    """Raise CheckpointError, or what zipfile does, if ``content`` is no zip archive or unpacks to more than it is."""
    if content[:4] != b"PK\x03\x04":  # by which torch.load tells an archive from an older form, which has no bounds
        raise CheckpointError("can't be read as a checkpoint: it is no zip archive")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise CheckpointError("holds compressed parts, which this program never writes")
    if sum(member.file_size for member in members) > len(content):
        raise CheckpointError("claims to hold more than its own bytes")


def has_checkpoint(run: Path) -> bool:
    return (run / LAST).exists() or (run / PREVIOUS).exists()


def position(saved: dict) -> str:
    """Say where in its training a checkpoint was written."""
    epochs, steps = len(saved["history"]), saved["metrics"].get("steps", 0)
    return f"after epoch {epochs}" + f" and {steps:,} steps of the next" * bool(steps)
