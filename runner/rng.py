"""Random numbers: each draw is a pure function of what it is for, and the global generators can be put back.

So every model meets the same images in the same order at the same seed, and no draw depends on an earlier one.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator

import numpy as np
import torch

MT_NUMBERS = 624  # in the state of a Mersenne Twister, the generator of Python and of NumPy; Python adds its place


def generator(purpose: str, *numbers: int) -> np.random.Generator:
    """Make the generator for one purpose, e.g. ``generator("order", seed, epoch)``."""
    name = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    return np.random.default_rng([name, *numbers])


def seed_everything(seed: int) -> None:
    """Seed every global generator: torch's on all devices, and for own models Python's and NumPy's."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


@contextlib.contextmanager
def isolated_rng(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators from ``(seed, epoch)`` inside the block, and put them back after it."""
    # So an own model that draws random numbers in evaluation gives the same figures whenever an epoch is measured.
    before = rng_state(device)
    seed_everything(int(generator("validation", seed, epoch).integers(2**63)))
    try:
        yield
    finally:
        set_rng_state(before, device)


def rng_state(device: torch.device) -> dict:
    """Copy the state of every global generator that a model on ``device`` can draw from."""
    # Tensors of the many integers: as such they would be most of the time that reading a checkpoint takes.
    version, internal, gauss = random.getstate()
    numbers = np.random.get_state(legacy=False)
    key = torch.from_numpy(numbers["state"]["key"].astype(np.int64))
    state = {
        "torch": torch.get_rng_state(),
        "python": {"version": version, "internal": torch.tensor(internal), "gauss": gauss},
        "numpy": numbers | {"state": numbers["state"] | {"key": key}},
    }
    if device.type != "cpu":
        state[device.type] = torch.get_device_module(device).get_rng_state()
    return state


def set_rng_state(state: dict, device: torch.device) -> None:
    """Put the generators into a state of :func:`rng_state`; that of another kind of device stays as it is.

    Raises an exception of any kind if it is none.
    """
    # Python and NumPy take any number for the next normal one, and NumPy any place in its key, far behind it too.
    python, numbers = state["python"], state["numpy"]
    internal, key, place = python["internal"], numbers["state"]["key"], numbers["state"]["pos"]
    normals = [0.0 if python["gauss"] is None else python["gauss"], numbers["gauss"], numbers["has_gauss"]]
    sizes = (internal.shape, key.shape) == ((MT_NUMBERS + 1,), (MT_NUMBERS,))
    types = internal.dtype == key.dtype == torch.int64 and all(isinstance(number, (int, float)) for number in normals)
    if not (sizes and types and isinstance(place, int) and 0 <= place <= MT_NUMBERS):
        raise ValueError("this is not the state of random generators")

    torch.set_rng_state(state["torch"])
    random.setstate((python["version"], tuple(internal.tolist()), python["gauss"]))
    key = key.numpy().astype(np.uint32)
    np.random.set_state(numbers | {"state": numbers["state"] | {"key": key}})
    if device.type in state:
        torch.get_device_module(device).set_rng_state(state[device.type])
