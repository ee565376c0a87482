"""A little of tests/fuzz.py; ``make fuzz`` does the rest."""

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("reads its memory from /proc", allow_module_level=True)

from tests import fuzz


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_mutated_input_is_read_or_refused(target):
    inputs = 50 if target == "content" else 300
    assert f"{inputs} inputs" in fuzz.fuzz(target, inputs, first_seed=0)


def test_fuzzer_sees_what_is_wrong(tmp_path, monkeypatch):
    """An error that is not the program's own, damage that is not noticed, an input that hangs."""
    monkeypatch.setattr(fuzz.checkpoint, "_is_whole", lambda content: True)
    with pytest.raises(AssertionError, match="the damage was not noticed"):
        fuzz.fuzz("checkpoint", 200, first_seed=0)
    monkeypatch.setattr(fuzz, "SECONDS_AN_INPUT", 1)
    monkeypatch.setitem(fuzz.TARGETS, "hang", lambda folder: fuzz.drawn(changes=fuzz.mutations)(hang))
    with pytest.raises(fuzz.Hang):
        fuzz.fuzz("hang", 1, first_seed=0)


def hang(changes):
    while True:
        pass
