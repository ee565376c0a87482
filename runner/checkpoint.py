"""Checkpoints: files from which a training goes on bit for bit, and that can't be harmful.

A checkpoint is a file of ``torch.save`` for ``torch.load(..., weights_only=True)``, which runs no code from it. Such a
file is a zip archive, and the SHA-256 of its bytes is the archive's comment. ``last.pt`` and ``previous.pt`` are the
two latest ones of a run, ``best.pt`` is the one of the best epoch on a hold-out.
"""

import hashlib
import io
import logging
import math
import zipfile
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from runner import records
from runner.errors import CheckpointError, one_line
from runner.files import (
    BEST,
    LAST,
    PREVIOUS,
    check_row,
    checked_number,
    has_fields,
    is_class_list,
    is_dataset,
    read_file,
    write_file,
)

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
MAX_TEXT = 10_000  # characters of a setting or of what is said of the machine

COMMENT_BYTES = len(b"sha256:") + 64
BEFORE_CHECKSUM = COMMENT_BYTES.to_bytes(2, "little") + b"sha256:"  # the end of an archive: its comment and its length
END_BYTES = 2 + COMMENT_BYTES


def _end(archive: memoryview) -> bytes:
    """Make the end of a zip archive whose comment is the SHA-256 of what it is without one."""
    checksum = hashlib.sha256(archive)  # of the bytes where they lie: a copy of them may be gigabytes
    checksum.update(b"\0\0")
    return BEFORE_CHECKSUM + checksum.hexdigest().encode()


def _add_checksum(archive: bytes) -> bytes:
    """Make the SHA-256 of a zip archive without a comment its comment."""
    return archive[:-2] + _end(memoryview(archive)[:-2])


def _is_whole(content: bytes) -> bool:
    return content[-END_BYTES:] == _end(memoryview(content)[:-END_BYTES])


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
            saved = torch.load(buffer, weights_only=True)
        except Exception as error:
            raise CheckpointError("the model's state holds more than tensors and numbers: it can't be saved") from error
        _check_tensors(saved, buffer.tell())
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
        why = (
            "its result alone is kept, --new trains it anew" if records.exists(run) else "is this the folder of a run?"
        )
        raise CheckpointError(f"{run / LAST} does not exist: {why}")
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
    # Bytes first: a damaged file is told by its checksum before anything looks into it, one without before it is read.
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist")
    try:
        has_checksum = read_file(path, MAX_BYTES, last=END_BYTES).startswith(BEFORE_CHECKSUM)
        content = read_file(path, MAX_BYTES) if has_checksum else b""
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror}") from error
    if not _is_whole(content):
        raise CheckpointError(f"{path} is damaged: its checksum is not that of its content")

    # Then what it holds, which somebody else may have made: whatever goes wrong with it, the file is no checkpoint.
    problem = "can't be read as a checkpoint"
    try:
        _check_sizes(content)
        saved = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        problem = "is not a checkpoint of this program"
        _check_content(saved)
        _check_tensors(saved, len(content))
    except CheckpointError as error:
        raise CheckpointError(f"{path} {error}") from error
    except Exception as error:
        raise CheckpointError(f"{path} {problem}: {one_line(error)}") from error
    return saved


def _check_content(saved: dict) -> None:
    """Raise an exception of any kind if ``saved`` has not the entries of a checkpoint."""
    # A whole file without a version is of the time before checkpoints had one.
    version = saved.get("version", 1) if has_fields(saved, {"config": dict, "model": dict}) else None
    if isinstance(version, int) and version != VERSION:
        raise CheckpointError(
            f"is of another version of this program (its checkpoints have version {version}, "
            f"this one's {VERSION}): read it with that version, or train the run anew"
        )
    if not (
        has_fields(saved, CONTENT | {"version": int})
        and has_fields(saved["machine"], MACHINE)
        and all(map(_is_scalar, _facts(saved)))
        and is_dataset(saved["dataset"])
        and is_class_list(saved["dataset"]["classes"])
        and has_fields(saved["metrics"], METRICS)
        and all(isinstance(logits, torch.Tensor) for logits in saved["metrics"]["logits"])
        and all(has_fields(row, ROW) for row in saved["history"])
    ):
        raise CheckpointError("is not a checkpoint of this program")
    try:
        for epoch, row in enumerate(saved["history"], 1):
            check_row(row, epoch)
    except ValueError as error:
        raise CheckpointError(f"has a history that can't be: {error}") from error
    for name in METRICS.keys() - {"logits"}:
        checked_number(saved["metrics"][name], 0)
    epochs = saved["config"]["epochs"]
    if len(saved["history"]) + bool(saved["metrics"]["steps"]) > epochs:
        raise CheckpointError(f"has more epochs behind it than its {epochs}")


def _tensors(content: object) -> Iterator[torch.Tensor]:
    """Yield the tensors anywhere in ``content``."""
    waiting, seen = [content], set[int]()
    while waiting:
        part = waiting.pop()
        if isinstance(part, torch.Tensor):
            yield part
        elif isinstance(part, (dict, list, tuple, set)) and id(part) not in seen:  # the same may be in many places
            seen.add(id(part))
            waiting.extend(part)
            waiting.extend(part.values() if isinstance(part, dict) else ())


def _check_tensors(content: object, most: int) -> None:
    """Raise CheckpointError if a tensor in ``content`` is larger than the file of ``most`` bytes that it is in."""
    # One number may stand for as many as one likes, by strides of 0.
    for tensor in _tensors(content):
        if tensor.layout == torch.strided and tensor.numel() * tensor.element_size() > most:
            raise CheckpointError("holds a tensor that is expanded: it has more numbers than are stored")


def load_weights(model: nn.Module, saved: dict) -> None:
    """Put the weights of a checkpoint into ``model``. Raises an exception of any kind if they are of another model."""
    # PyTorch itself would convert numbers of another type, and say nothing.
    weights = model.state_dict()
    for name, there in saved["model"].items():
        if isinstance(there, torch.Tensor) and name in weights and there.dtype != weights[name].dtype:
            raise CheckpointError(f"{name} is {there.dtype}, not {weights[name].dtype}")
    model.load_state_dict(saved["model"])


@torch.no_grad()
def load_momentum(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Put what a checkpoint holds of the optimiser into it, whose settings stay. Raises as :func:`load_weights`."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    states = {number: dict(state) for number, state in saved["optimizer"]["state"].items()}
    is_sgd = isinstance(optimizer, torch.optim.SGD)
    has_momentum = not is_sgd or any(group["momentum"] for group in optimizer.param_groups)
    if not states.keys() <= set(range(len(weights))) or (has_momentum and not states):
        raise CheckpointError("it has not the momentum of these weights")
    for number, state in states.items():
        weight, loaded = weights[number], {}
        if not is_sgd:
            loaded["step"] = state.pop("step")
        for name in ("momentum_buffer",) if is_sgd else ("exp_avg", "exp_avg_sq"):
            momentum = state.pop(name, None)
            # The fused step goes through memory: it must lie there in the order of the weight.
            loaded[name] = None if momentum is None else torch.empty_like(weight)
            if momentum is not None and (momentum.shape, momentum.dtype) == (weight.shape, weight.dtype):
                loaded[name].copy_(momentum)
            elif momentum is not None or not is_sgd:
                raise CheckpointError(f"the momentum of weight {number} is not one of it")
        if state or not (is_sgd or (loaded["step"].shape == () and loaded["step"] >= 1)):
            raise CheckpointError(f"the momentum of weight {number} is not one of it")
        states[number] = loaded
    optimizer.load_state_dict({"state": states, "param_groups": optimizer.state_dict()["param_groups"]})


def check_metrics(metrics: dict, images: int, batch_size: int, chunk_size: int, classes: int) -> None:
    """Raise CheckpointError if ``metrics`` are not of an epoch of so many images, in chunks of whole batches."""
    done, logits = metrics["images"], metrics["logits"]
    left = [min(batch_size, images - first) for first in range(done, images, batch_size)]
    if not (
        (done == images or (done < images and done % chunk_size == 0))
        and metrics["correct"] <= done
        and metrics["steps"] == math.ceil(done / batch_size) + len(logits)
        and [step.shape for step in logits] == [(size, classes) for size in left[: len(logits)]]
        and all(step.is_floating_point() and step.layout == torch.strided for step in logits)
    ):
        raise CheckpointError(f"it can't have come so far in an epoch of {images:,} images")


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
