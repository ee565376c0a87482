"""Models that are one affine function of the image: the matrix they come to, and its templates as pictures.

Without ReLU and pools a model is logits = W x + b, however many layers it has. A row of W is the template of a class:
its product with an image, pixel by pixel, is what the image scores for the class.
"""

import copy
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data import MOST_SAMPLES
from models import IMAGE_SHAPE, count_parameters
from runner.errors import RunnerError
from runner.files import write_file
from utils import new_figure, own_style, save_figure

BATCH = 32  # images at once: a float64 convolution unfolds them all, which has to fit into the processor's cache
TOLERANCE = 1e-4  # of a logit: some thirty times what rounding to float32 comes to


class NotAffine(RunnerError):
    """A model that is not an affine function of the image."""


@dataclass(frozen=True)
class Affine:
    """logits = ``weight`` · image + ``bias``, for images in [-1, 1] as :func:`data.normalize` makes them."""

    weight: Tensor  # the template of each class, float64 (C, 3, 32, 32)
    bias: Tensor  # the logits of the image that is mid-grey all over, float64 (C,)

    def logits(self, images: Tensor) -> Tensor:
        """Compute the logits, float64 (N, C), of ``images`` (N, 3, 32, 32) of any floating-point type."""
        return images.double().flatten(1) @ self.weight.flatten(1).T + self.bias

    @property
    def parameters(self) -> int:
        return self.weight.numel() + self.bias.numel()

    @property
    def centred(self) -> Tensor:
        """The templates (C, 3, 32, 32) without their mean, which moves all logits alike and changes no probability."""
        return self.weight - self.weight.mean(0)

    @property
    def singular_values(self) -> Tensor:
        """Those of the matrix (C, 3072), float64 (C,), the largest first."""
        return torch.linalg.svdvals(self.weight.flatten(1))

    @property
    def effective_rank(self) -> float:
        """How many directions in the space of images the logits depend on, from 1 to C; 0 where they are constant.

        See Roy and Vetterli, 2007, "The effective rank: a measure of effective dimensionality".
        """
        values = self.singular_values
        return torch.special.entr(values / values.sum()).sum().exp().item() if values.any() else 0.0

    @property
    def uniform_share(self) -> float:
        """The share of squared centred weights that is the same in all places, in [0, 1]: 1 sees mean colours alone."""
        templates = self.centred
        total = templates.square().sum()
        uniform = templates.mean((2, 3)).square().sum() * math.prod(IMAGE_SHAPE[1:])
        return (uniform / total).item() if total else 0.0  # templates that are all alike


@torch.no_grad()
def collapse(model: nn.Module) -> Affine:
    """Compute the only affine function that ``model`` could be, from what it makes of each unit image and of zero."""
    # On the CPU, as not every device has float64. Whether the model is affine, check() finds out.
    exact = copy.deepcopy(model).to("cpu", torch.float64).eval()
    bias = exact(torch.zeros(1, *IMAGE_SHAPE, dtype=torch.float64))[0]
    units = torch.eye(math.prod(IMAGE_SHAPE)).view(-1, *IMAGE_SHAPE)  # (3072, 3, 32, 32)
    columns = torch.cat([exact(batch.double()) - bias for batch in units.split(BATCH)])  # (3072, C)
    return Affine(columns.T.reshape(-1, *IMAGE_SHAPE), bias)


@torch.no_grad()
def largest_difference(model: nn.Module, affine: Affine, images: Tensor) -> float:
    """Compare logits on ``images`` (N, 3, 32, 32) as ``model``, in evaluation mode, takes them: largest difference."""
    differences = [(model(batch).cpu().double() - affine.logits(batch.cpu())).abs() for batch in images.split(BATCH)]
    return torch.cat(differences).max().item()  # NaN where a logit is


def check(name: str, model: nn.Module, affine: Affine, images: Tensor, tolerance: float = TOLERANCE) -> float:
    """Return the largest difference of logits on ``images``. Raises NotAffine if it is more than ``tolerance``."""
    difference = largest_difference(model, affine, images)
    if not difference <= tolerance:  # NaN too
        off = f"its logits are off by up to {difference:.2g} from those of the only affine function that it could be"
        raise NotAffine(f"{name} is not affine: {off} ({tolerance:g} is allowed)")
    return difference


def score(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """Summarise what images score for their own class beside others, by logits (N, C) and labels int64 (N,).

    A template that resembles its class gives it a high mean; one that resembles it up to the sign gives it a large
    standard deviation, so that it is often the highest, and as often the lowest.
    """
    centred = logits - logits.mean(1, keepdim=True)
    is_own = nn.functional.one_hot(labels, logits.shape[1]).bool()  # (N, C)
    own_scores, other_scores = centred[is_own], centred[~is_own]
    return {
        "own_mean": own_scores.mean().item(),
        "own_sd": own_scores.std(correction=0).item(),
        "others_sd": other_scores.std(correction=0).item(),
        "own_highest": (logits.argmax(1) == labels).float().mean().item(),
        "own_lowest": (logits.argmin(1) == labels).float().mean().item(),
    }


def describe(affine: Affine, model: nn.Module) -> dict:
    """Describe the matrix of ``model``, for its file."""
    return {
        "parameters": affine.parameters,
        "network_parameters": count_parameters(model),
        "singular_values": affine.singular_values.tolist(),
        "effective_rank": affine.effective_rank,
        "uniform_share": affine.uniform_share,
    }


def save(path: Path, affine: Affine) -> None:
    """Write ``weight`` and ``bias`` as a NumPy archive (.npz), whole or not at all."""
    buffer = io.BytesIO()
    np.savez(buffer, weight=affine.weight.numpy(), bias=affine.bias.numpy())
    write_file(path, buffer.getvalue())


@own_style()
def plot_templates(path: Path, title: str, affine: Affine, classes: Sequence[str]) -> None:
    """Plot the templates of up to 10 classes, centred, on one scale that has its zero at mid-grey."""
    templates = affine.centred[:MOST_SAMPLES]
    largest = templates.abs().max().item()
    pictures = (templates / (2 * largest or 1) + 0.5).permute(0, 2, 3, 1).numpy()  # (C, 32, 32, 3) in [0, 1]
    rows = math.ceil(len(pictures) / 5)
    figure = new_figure(9, 0.7 + 2.1 * rows, title)
    all_axes = figure.subplots(rows, 5, squeeze=False).flat
    for axes in all_axes[len(pictures) :]:
        axes.axis("off")
    for axes, picture, name in zip(all_axes, pictures, classes):
        axes.imshow(picture, interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.set_title(name, fontsize=9)
    legend = "Bright in a colour: that colour there speaks for the class. Dark: against it. Mid-grey: neither.\n"
    legend += f"In each channel, full is a weight of {largest:.3g} and none of −{largest:.3g}, "
    figure.supxlabel(legend + "with the mean over the classes subtracted.", fontsize=9)
    save_figure(figure, path)
