"""Training without the command line around it."""

import torch

import ex1
from runner.config import Config


def train_epoch(step, loader, epoch=1, batch_size=4, device="cpu"):
    """Trains one epoch with ``step``, at the learning rate that it has, and returns the epoch's metrics."""
    state = ex1.TrainState(step, torch.device(device))
    assert sum(ex1.train_epoch(state, loader, epoch, Config("Q1_1", batch_size=batch_size))) == len(loader)
    return state.metrics
