"""The shuffles as the reference states them, image by image: what the loader must do, in the plainest way."""

import numpy as np
import torch

from data import PIXELS, per_image_keys, shuffle_permutation


def fixed_permutation(seed):
    """The permutation of the 32·32 positions that ``fixed`` applies to every image, int64 (1024,)."""
    return shuffle_permutation("fixed", seed)


def per_image_permutations(n, *draw):
    """An independent uniform permutation for each of ``n`` images, int64 (n, 1024)."""
    return torch.from_numpy((per_image_keys(n, *draw) % PIXELS).astype(np.int64))


def permute_pixels(images, permutation):
    """``images`` (N, 3, 32, 32) with their positions permuted, the same way in the three channels.

    Args:
        permutation: int64 (1024,), one for all images, or (N, 1024), one for each. Position ``i`` of the result is
            position ``permutation[i]`` of the image, row by row.
    """
    flat = images.flatten(2)
    if permutation.ndim == 1:
        return flat[:, :, permutation].view_as(images)
    return flat.gather(2, permutation[:, None].expand_as(flat)).view_as(images)
