"""The machine that a run computes on: its device, threads and precision, and what files say about it."""

import contextlib
import copy
import logging
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from runner.config import AUTO, Config
from runner.errors import UsageError, installed_version

log = logging.getLogger("ex1")

PROJECT = Path(__file__).resolve().parent.parent
COMMIT_VARIABLE = "RUNNER_COMMIT"  # the commit of a copy of the code on another machine

MACS_PER_THREAD = 20_000_000  # of a step's forward pass from which a thread more pays; measured on CPUs of 2 cores
BF16_PAYS = 1.3  # how much faster than fp32 bf16 must be for "auto" to take it: noise alone must not decide
PACKAGES = ("torch", "torchvision", "numpy", "matplotlib", "torchsummary")  # whose versions files hold


@dataclass(frozen=True)
class Machine:
    """Where and how a run computes."""

    device: torch.device
    precision: str  # of convolutions and matrix products, "fp32" or "bf16"; "auto" until the step is settled
    threads: int  # of the model, on the CPU
    step: str = "torch"  # what computes a step of training, or "native"

    @property
    def loader_threads(self) -> int:
        """0: a core is free to prepare images ahead; else so many prepare while the model waits."""
        return 0 if cores() > self.threads else self.threads


def set_up(config: Config, macs: int, device: torch.device, before: dict | None = None) -> Machine:
    """Set the number of threads; ``macs`` are those of the model for one image.

    ``before`` is what a checkpoint says of the machine of the run so far; it decides what ``config`` leaves open.
    """
    # Threads: those asked for, else those that the run began with, else those that pay.
    before = before or {}
    threads, reason = config.threads, "the number that --threads or a sweep gives goes before it"
    if not threads and isinstance(before.get("threads"), int):
        threads, reason = min(max(0, before["threads"]), cores()), "the run began with another number"
    if not threads:
        threads, reason = threads_that_pay(macs, config.batch_size), "no more pay for this model and batch size"
    torch.set_num_threads(threads)
    if (limit := thread_limit()) and limit != threads:
        log.info(f"OMP_NUM_THREADS={limit} is not what is used, {threads} is: {reason}")

    precision = config.precision
    if precision == AUTO and before.get("precision") in ("fp32", "bf16"):
        precision = before["precision"]
    return Machine(device, precision, torch.get_num_threads())


def settle(config: Config, here: Machine, step: str, before: dict | None = None) -> Machine:
    """Note what computes a step, and settle what is open: the native one takes one thread and fp32."""
    precision, threads, is_native = here.precision, here.threads, step == "native"
    if is_native and not (config.threads or before):
        threads = 1
        torch.set_num_threads(threads)
    if precision == AUTO:
        precision = "fp32" if is_native else fastest_precision(here.device)
    return Machine(here.device, precision, threads, step)


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def busyness(threads: int) -> str:
    """Say that other work leaves no room for so many threads, which then wait for each other; empty if it does not."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if threads == 1 or load + threads < cores() + 1:
        return ""
    many = f"the machine is busy (load {load:.1f} on {cores()} cores), where {threads} threads wait for each other"
    return f"{many}: --threads 1 may be several times as fast"


def thread_limit() -> int | None:
    """Read the number of threads that $OMP_NUM_THREADS allows; None where it says nothing."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()  # others are for nested regions
    return int(first) if first.isdecimal() and int(first) else None


def threads_that_pay(macs: int, batch_size: int) -> int:
    """Count the CPU threads worth their cost for a step; by a rule, so that the same command gives the same bits."""
    return max(1, min(thread_limit() or cores(), cores(), macs * batch_size // MACS_PER_THREAD))


@torch.no_grad()
def count_macs(model: nn.Module) -> int:
    """Count the multiply-accumulates of the convolutions and matrix products that ``model`` does for one image."""
    counter = FlopCounterMode(display=False)
    with torch.random.fork_rng(devices=[]), counter:
        copy.deepcopy(model).eval()(torch.zeros(1, 3, 32, 32))
    return counter.get_total_flops() // 2


def pick_device(config: Config) -> torch.device:
    """Choose the device to compute on. Raises UsageError if it is not there."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if config.device == "auto":
        return torch.device(next(name for name, there in present.items() if there))
    if not present[config.device]:
        raise UsageError(f"--device {config.device}: there is none on this machine")
    return torch.device(config.device)


def fastest_precision(device: torch.device) -> str:
    """Choose ``bf16`` where a measurement finds it clearly faster than fp32, else ``fp32``.

    It measures a convolution of medium size with its gradients, and not the model at hand, so that the answer is the
    machine's and the same for all runs on it.
    """
    if device.type == "mps":
        return "fp32"

    def seconds(precision: str) -> float:
        synchronize(device)
        began = time.perf_counter()
        with autocast(device, precision):
            layer(images).sum().backward()
        synchronize(device)
        return time.perf_counter() - began

    with torch.random.fork_rng(devices=[]):
        layer = nn.Conv2d(64, 64, 3, padding=1).to(device).to(memory_format=torch.channels_last)
        images = torch.zeros(32, 64, 16, 16, device=device).contiguous(memory_format=torch.channels_last)
        try:
            pairs = [(seconds("fp32"), seconds("bf16")) for _ in range(10)][3:]  # the first ones warm up
        except RuntimeError:  # a device without bf16
            return "fp32"
    return "bf16" if median(fp32 / bf16 for fp32, bf16 in pairs) >= BF16_PAYS else "fp32"


def synchronize(device: torch.device) -> None:
    """Wait until ``device`` has done what it was given."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager:
    """Compute convolutions and matrix products inside the block in ``precision``."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def describe(machine: Machine, model_sha256: str | None = None) -> dict:
    """Describe versions, device, threads, precision, git commit and the SHA-256 of an own model's source, for files."""
    on_cuda = machine.device.type == "cuda"
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": ["python", *sys.argv],
        "device": str(machine.device),
        "device_name": torch.cuda.get_device_name(machine.device) if on_cuda else _cpu_name(),
        "threads": machine.threads,
        "precision": machine.precision,
        "step": machine.step,
        "platform": platform.platform(),
        "git_commit": git_commit(),
        "model_sha256": model_sha256,
        "versions": {"python": platform.python_version()} | {name: installed_version(name) for name in PACKAGES},
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_commit() -> str | None:
    """Find the commit of the code, ``-dirty`` where files of it were changed since; None, and why, if it can't."""
    if os.environ.get(COMMIT_VARIABLE):
        return os.environ[COMMIT_VARIABLE]

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(PROJECT), *arguments]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=True, timeout=10)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")  # first, as it tells best why it can't
        return commit + ("-dirty" if git("diff", "--name-only", "HEAD", "--", "*.py", "*.h") else "")
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().partition("\n")[0]
        remedy = f"; to trust it: git config --global --add safe.directory {PROJECT}" * ("ownership" in said)
        log.info(f"the commit of this code is not known, and files say null for it: {said}{remedy}")
        return None
