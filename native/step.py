"""The native step: TrainStep's interface, computed by C code that was compiled for the network at hand."""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor

from runner.step import TrainStep


class Settings(ctypes.Structure):
    """The optimiser's settings of a step, ``struct sgd`` in kernels.h."""

    _fields_ = [(name, ctypes.c_float) for name in ("lr", "momentum", "weight_decay", "label_smoothing")]
    _fields_.append(("nesterov", ctypes.c_int))


@dataclass
class NativeStep(TrainStep):
    """One step of training, taken with each call, on the memory of the model's weights and of SGD's momentum."""

    library: ctypes.CDLL | None = None
    has_dropout: bool = False

    def __post_init__(self) -> None:
        assert self.library
        self.weights = list(self.model.parameters())
        self.library.step.restype = None
        self.library.step.argtypes = [ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * 6, ctypes.c_uint64]
        self.library.bytes.restype = ctypes.c_int64
        self.library.bytes.argtypes = [ctypes.c_int64]
        self.room = 0  # images that the buffers are for
        self.buffers = torch.empty(0)
        self.settings = Settings(label_smoothing=self.label_smoothing)
        self.state: object = None  # of the optimiser, whose momentum the pointers are of
        self.pointers = (ctypes.c_void_p * len(self.weights))()
        self.momenta = (ctypes.c_void_p * len(self.weights))()

    def forward_backward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Compute logits and the changed weights."""
        batch = len(images)
        if batch > self.room:
            self.room = batch
            self.buffers = torch.zeros(self.library.bytes(batch), dtype=torch.uint8)
        if self.state is not self.optimizer.state:
            self.bind()
        images = images.contiguous(memory_format=torch.channels_last)
        logits = torch.empty(batch, 10)
        group, how = self.optimizer.param_groups[0], self.settings
        how.lr, how.momentum, how.weight_decay = group["lr"], group["momentum"], group["weight_decay"]
        how.nesterov = group["nesterov"]
        seed = int(torch.randint(2**63 - 1, ())) if self.has_dropout else 0
        self.library.step(
            self.buffers.data_ptr(), batch, images.data_ptr(), labels.data_ptr(), logits.data_ptr(),
            self.pointers, self.momenta, ctypes.byref(how), seed,
        )  # fmt: skip
        return logits

    def bind(self) -> None:
        """Note where weights and momentum lie; the momentum is 0 before the first step."""
        state, has_momentum = self.optimizer.state, bool(self.optimizer.param_groups[0]["momentum"])
        for i, weight in enumerate(self.weights):
            momentum = state[weight].get("momentum_buffer")
            if has_momentum and momentum is None:
                momentum = state[weight]["momentum_buffer"] = torch.zeros_like(weight)
            self.pointers[i] = weight.data_ptr()
            self.momenta[i] = momentum.data_ptr() if momentum is not None else None
        self.state = state
