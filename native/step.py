"""The native step, with the interface of PyTorch's."""

import ctypes
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models import CLASSES
from runner.step import TrainStep


@dataclass
class NativeStep(TrainStep):
    """One step of training, taken with each call, by a compiled ``library``.

    It works on the memory of the model's weights, and of the momentum that the optimiser has for them: a checkpoint
    holds the same after it as after PyTorch's step, and each can go on from the other's.
    """

    library: ctypes.CDLL | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        assert self.library
        self.library.bytes.argtypes, self.library.bytes.restype = [ctypes.c_int64], ctypes.c_int64
        self.library.step.argtypes = [ctypes.c_void_p, ctypes.c_int, *[ctypes.c_void_p] * 6, ctypes.c_uint64]
        self.library.step.restype = None
        self.has_dropout = any(isinstance(layer, nn.Dropout) for layer in self.model.modules())
        self.room, self.buffers = 0, torch.empty(0, dtype=torch.uint8)  # for so many images
        self.bound_to: object = None  # the state of the optimiser that the pointers below are of

    def forward_backward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Compute logits, the gradients of the loss, and the changed weights."""
        assert self.library
        batch, group = len(images), self.optimizer.param_groups[0]
        if batch > self.room:
            self.room, self.buffers = batch, torch.zeros(self.library.bytes(batch), dtype=torch.uint8)
        if self.bound_to is not self.optimizer.state:
            self.bind()
        settings = group["lr"], group["momentum"], group["weight_decay"], self.label_smoothing, group["nesterov"]
        # What is dropped follows from a number for each step, from the generator whose state a checkpoint holds.
        seed = int(torch.randint(2**63 - 1, ())) if self.has_dropout else 0

        images, labels = images.contiguous(memory_format=torch.channels_last), labels.contiguous()
        logits = torch.empty(batch, CLASSES)
        batch_pointers = images.data_ptr(), labels.data_ptr(), logits.data_ptr()
        how = (ctypes.c_float * len(settings))(*settings)  # struct sgd of kernels.h
        self.library.step(self.buffers.data_ptr(), batch, *batch_pointers, *self.pointers, how, seed)
        return logits

    def bind(self) -> None:
        """Note where weights and momentum lie. Momentum begins at 0, which is what PyTorch begins with too."""
        state, has_momentum = self.optimizer.state, self.optimizer.param_groups[0]["momentum"] > 0
        self.momenta = []  # of one's own, where the optimiser keeps none
        for weight in self.weights:
            kept = state[weight] if has_momentum else {}
            if kept.get("momentum_buffer") is None:
                kept["momentum_buffer"] = torch.zeros_like(weight)
            self.momenta.append(kept["momentum_buffer"])
        array = ctypes.c_void_p * len(self.weights)
        self.pointers = [array(*map(Tensor.data_ptr, tensors)) for tensors in (self.weights, self.momenta)]
        self.bound_to = state
