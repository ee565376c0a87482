"""Checkpoints: their checksum and their random numbers."""

import io
import random
import struct
import zipfile

import pytest
import torch

from runner import checkpoint, rng
from runner.errors import CheckpointError


def test_checkpoint_notices_every_flipped_bit(tmp_path):
    path = tmp_path / "last.pt"
    checkpoint.save(path, {"a": torch.arange(3)})
    content = path.read_bytes()
    assert checkpoint._is_whole(content)
    assert torch.equal(torch.load(path, weights_only=True)["a"], torch.arange(3))
    for position in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << bit
            assert not checkpoint._is_whole(bytes(damaged))


@pytest.mark.parametrize(("written", "named"), [({}, 1), ({"version": 1}, 1), ({"version": 3}, 3)])
def test_checkpoint_of_another_version_is_refused_in_a_line(tmp_path, written, named):
    before = {"config": {}, "machine": {}, "dataset": {}, "model": {}, "optimizer": {}, "random": {}, "tally": {}}
    buffer = io.BytesIO()
    torch.save(before | written, buffer)
    (tmp_path / "last.pt").write_bytes(checkpoint._add_checksum(buffer.getvalue()))
    with pytest.raises(CheckpointError) as refused:
        checkpoint._read(tmp_path / "last.pt")
    [line] = str(refused.value).splitlines()
    assert line.startswith(f"{tmp_path / 'last.pt'} is of another version of this program")
    assert f"(its checkpoints have version {named}, this one's {checkpoint.VERSION})" in line


@pytest.mark.parametrize("version", ["2", None, [], torch.zeros(0), torch.tensor([1, 2])])
def test_checkpoint_whose_version_is_no_number_is_not_ours(tmp_path, version):
    buffer = io.BytesIO()
    torch.save({"config": {}, "model": {}, "version": version}, buffer)
    (tmp_path / "last.pt").write_bytes(checkpoint._add_checksum(buffer.getvalue()))
    with pytest.raises(CheckpointError, match="is not a checkpoint of this program"):
        checkpoint._read(tmp_path / "last.pt")


def test_generators_of_own_models_are_restored_too():
    import numpy as np

    def draw():
        return torch.rand(3).tolist(), random.random(), np.random.rand(), np.random.randn(), random.gauss(0, 1)

    device = torch.device("cpu")
    rng.seed_everything(5)
    first = draw()
    state = rng.rng_state(device)
    second = draw()
    rng.set_rng_state(state, device)
    assert draw() == second
    rng.seed_everything(5)
    assert draw() == first


def test_own_generators_repeat_and_leave_others_alone():
    device = torch.device("cpu")
    drawn = []
    for epoch in (1, 1, 2):
        torch.manual_seed(epoch + 7)
        with rng.isolated_rng(0, epoch, device):
            inside = torch.rand(3).tolist()
        drawn.append((inside, torch.rand(3).tolist()))
    assert drawn[0] == drawn[1]
    assert drawn[0][0] != drawn[2][0]
    torch.manual_seed(8)
    assert torch.rand(3).tolist() == drawn[0][1]


def test_generator_of_a_gpu_is_saved_and_restored(monkeypatch):
    class Accelerator:
        state = torch.tensor([7], dtype=torch.uint8)
        get_rng_state = classmethod(lambda cls: cls.state)

        @classmethod
        def set_rng_state(cls, state):
            cls.state = state

    monkeypatch.setattr(torch, "get_device_module", lambda device: Accelerator)
    state = rng.rng_state(torch.device("cuda"))
    Accelerator.state = None
    rng.set_rng_state(state, torch.device("cuda"))
    assert Accelerator.state.tolist() == [7]
    Accelerator.state = None
    rng.set_rng_state(rng.rng_state(torch.device("cpu")), torch.device("cuda"))
    assert Accelerator.state is None


def rewritten(archive, **how):
    """The same zip archive, with its members written again."""
    again = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(again, "w", **how) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    return again.getvalue()


def claiming(archive, size):
    """The same archive, whose directory says that its last member unpacks to so many bytes."""
    entry = archive.rindex(b"PK\x01\x02")
    return archive[: entry + 24] + struct.pack("<I", size) + archive[entry + 28 :]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda archive: rewritten(archive, compression=zipfile.ZIP_DEFLATED), "holds compressed parts"),
        (lambda archive: claiming(rewritten(archive), 2**30), "claims to hold more than its own bytes"),
        (lambda archive: b"\x80\x02" + archive[2:], "can't be read as a checkpoint"),
    ],
    ids=["compressed", "claiming", "no archive"],
)
def test_checkpoint_that_unpacks_to_more_than_it_is_is_refused_unread(tmp_path, monkeypatch, damage, said):
    buffer = io.BytesIO()
    torch.save({"zeros": torch.zeros(10**6)}, buffer)
    (tmp_path / "last.pt").write_bytes(checkpoint._add_checksum(damage(buffer.getvalue())))
    monkeypatch.setattr(torch, "load", lambda *args, **kwargs: pytest.fail("it was unpacked"))
    with pytest.raises(CheckpointError, match=f"last.pt {said}"):
        checkpoint._read(tmp_path / "last.pt")


def laughs():
    """A list that is small in a file, as its parts are shared, and endless in words."""
    many = ["lol"] * 10
    for _ in range(9):
        many = [many] * 10
    return many


def change_checkpoint(run, change):
    """Has ``change`` change the content of the last checkpoint of a run, which is then its only one."""
    saved = torch.load(run / "last.pt", weights_only=True)
    change(saved)
    checkpoint.save(run / "last.pt", {key: value for key, value in saved.items() if key != "version"})
    (run / "previous.pt").unlink(missing_ok=True)


@pytest.mark.parametrize(
    "place", [("config", "epochs"), ("config", "seed"), ("machine", "device_name"), ("dataset", "classes")]
)
def test_checkpoint_with_what_has_no_end_in_words_is_refused(saved_run, place):
    change_checkpoint(saved_run, lambda saved: saved[place[0]].update({place[1]: laughs()}))
    with pytest.raises(CheckpointError, match="is not a checkpoint of this program"):
        checkpoint.load(saved_run)


@pytest.mark.parametrize("classes", [[], ["a", "b", "c"], ["a"] * 10])
def test_checkpoint_of_other_classes_is_refused(saved_run, classes):
    change_checkpoint(saved_run, lambda saved: saved["dataset"].update(classes=classes))
    with pytest.raises(CheckpointError, match="is not a checkpoint of this program"):
        checkpoint.load(saved_run)


@pytest.mark.parametrize(
    ("column", "value"), [("val_accuracy", 7.5), ("val_loss", float("nan")), ("train_loss", -1.0), ("epoch", 2)]
)
def test_checkpoint_with_a_history_that_can_not_be_is_refused(saved_run, column, value):
    change_checkpoint(saved_run, lambda saved: saved["history"][0].update({column: value}))
    with pytest.raises(CheckpointError, match="has a history that can't be: "):
        checkpoint.load(saved_run)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.float64, torch.int32])
@pytest.mark.parametrize("part", ["weights", "momenta"])
def test_checkpoint_with_numbers_of_another_type_is_refused(saved_run, ex1_main, capsys, recwarn, part, dtype):
    def convert(saved):
        states = saved["optimizer"]["state"].values()
        for numbers in [saved["model"]] if part == "weights" else states:
            numbers.update({name: number.to(dtype) for name, number in numbers.items()})

    change_checkpoint(saved_run, convert)
    actions = ["--evaluate", str(saved_run)], ["--resume", str(saved_run), "--epochs", "2"]
    for action in actions:
        assert ex1_main(*action) == 1
        said = capsys.readouterr().err
        assert "has changed since" in said
    assert not recwarn.list
