"""The textbook's training loop, and ours beside it."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms

from data import TRAIN, Loader
from runner.config import Config
from runner.step import TrainStep, make_optimizer
from tests.helpers.training import train_epoch


def textbook_losses(network, images, order, batch_size, epochs):
    """PyTorch's introductory classifier: DataLoader, ToTensor, Normalize, SGD; the loss of every step."""
    classic = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))])

    class Textbook(torch.utils.data.Dataset):
        def __len__(self):
            return len(images)

        def __getitem__(self, index):
            picture = transforms.ToPILImage()(images.pixels[index])
            return classic(picture), int(images.labels[index])

    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
    losses = []
    for epoch in range(1, epochs + 1):
        for inputs, labels in DataLoader(Textbook(), batch_size=batch_size, sampler=order(epoch).tolist()):
            optimizer.zero_grad()
            loss = criterion(network(inputs), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def our_losses(network, images, order, batch_size, epochs):
    """The same from ``train_epoch``, by listening to the logits of every step; and the epochs' mean losses."""
    optimizer = make_optimizer(network, Config("Q1_1"))
    loader = Loader(images, TRAIN, batch_size, order_seed=0)
    logits, losses, means = [], [], []
    hook = network.register_forward_hook(lambda module, inputs, output: logits.append(output.detach().clone()))
    for epoch in range(1, epochs + 1):
        logits.clear()
        means.append(train_epoch(TrainStep(network, optimizer), loader, epoch, batch_size).loss)
        targets = images.labels[order(epoch)].split(batch_size)
        losses += [F.cross_entropy(output, target).item() for output, target in zip(logits, targets, strict=True)]
    hook.remove()
    return losses, means
