"""A training step at the processor's speed: C code that is made and compiled for the network at hand.

Small layers cost PyTorch more to call than to compute. Here the whole step is one call: ``source`` writes C for a
row of the table of models, with kernels from ``kernels.h``, ``compiler`` compiles and keeps it, and ``step`` calls it
on the memory of PyTorch's own weights.
"""

import ctypes
import logging
import math

from torch import nn

from models import CLASSES, ModelSpec
from native import compiler
from native.source import write_source
from native.step import NativeStep
from runner.config import AUTO, Config
from runner.machine import Machine, settle
from runner.step import TrainStep, make_optimizer

log = logging.getLogger("ex1")

# What "auto" goes by, measured on two cores of an AMD EPYC with AVX-512 (docs/speed.md): PyTorch's step is slower up to
# so many multiply-accumulates of the forward pass of a step, in fp32, or in the better of fp32 and bf16, on so many
# threads; and without pools, where the way back goes over all pixels, up to so many images.
MOST_MACS = {("fp32", 1): math.inf, ("fp32", 2): 200e6, (AUTO, 1): 200e6, (AUTO, 2): 100e6}
UNPOOLED_BATCH = 8


def set_up(
    config: Config, spec: ModelSpec, here: Machine, classes: int, before: dict | None = None
) -> tuple[Machine, ctypes.CDLL | None]:
    """Settle where and by what a run's steps are computed; arguments and library are those of ``choose``."""
    library = choose(config, spec, here, classes, before)
    return settle(config, here, "native" if library else "torch", before), library


def choose(
    config: Config, spec: ModelSpec, here: Machine, classes: int, before: dict | None = None
) -> ctypes.CDLL | None:
    """Compile the native step of a run that asks for one; None: it takes PyTorch's.

    ``before`` is what a checkpoint says of the machine of the run so far; it decides what ``auto`` leaves open. A new
    run with ``auto`` takes the native step where it pays.
    """
    wanted = config.step
    if wanted == AUTO and before is not None:
        wanted = before.get("step", "torch")
    if wanted == "torch" or (wanted == AUTO and not (spec.module or pays(spec, config.batch_size, here))):
        return None
    try:
        refuse(config, spec, here, classes)
        return compiler.load(write_source(spec))
    except compiler.NoNativeStep as reason:
        if wanted != AUTO:
            log.warning(f"going on with PyTorch's step, not the native one: {reason}")
        return None


def pays(spec: ModelSpec, batch_size: int, here: Machine) -> bool:
    """Tell by a rule whether the native step, which takes one thread, is faster than PyTorch's."""
    layers = spec.layers()
    if batch_size > UNPOOLED_BATCH and not any(layer.kind == "pool" for layer in layers):
        return False
    return batch_size * sum(layer.macs for layer in layers) <= MOST_MACS.get((here.precision, here.threads), 0)


def refuse(config: Config, spec: ModelSpec, here: Machine, classes: int) -> None:
    """Raise NoNativeStep, with the reason, where the native step can't compute what is asked for."""
    on_cpu = here.device.type == "cpu" and here.precision != "bf16"
    where = f"in {here.precision} on {here.device}".removeprefix(f"in {AUTO} ")
    for is_met, otherwise in (
        (not spec.module, "it is for networks that are rows of the table, and not for modules of one's own"),
        (classes == CLASSES, f"it is for images of {CLASSES} classes, and not of {classes}"),
        (on_cpu, f"it computes in fp32 on the CPU, and not {where}"),
        (not config.compile, "--compile asks for PyTorch's"),
        (config.optimizer == "sgd", f"it knows --optimizer sgd, and not {config.optimizer}"),
    ):
        if not is_met:
            raise compiler.NoNativeStep(otherwise)


def make_step(model: nn.Module, config: Config, here: Machine, library: ctypes.CDLL | None = None) -> TrainStep:
    """Make what trains ``model``, by a compiled ``library`` where there is one."""
    optimizer = make_optimizer(model.to(here.device), config)
    if library:
        return NativeStep(model, optimizer, here.precision, config.label_smoothing, library=library)
    return TrainStep(model, optimizer, here.precision, config.label_smoothing, config.compile)
