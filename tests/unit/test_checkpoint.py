"""Checkpoints: their checksum and their random numbers, and what is no checkpoint."""

import io
import os
import random
import shutil
import struct
import tracemalloc
import zipfile

import pytest
import torch

from runner import checkpoint, rng
from runner.config import Config
from runner.errors import CheckpointError
from runner.step import make_optimizer
from tests.helpers.compare import outcome, same


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


@pytest.mark.parametrize("classes", [[], ["a"], ["a"] * 10, [f"{i}" for i in range(1001)]])
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
    for action in actions[part == "momenta" :]:
        assert ex1_main(*action) == 1
        said = capsys.readouterr().err
        assert "has changed since" in said
    assert not [warning for warning in recwarn if "complex" in str(warning.message)]


# ---- a file that somebody has made ----------------------------------------------------------------------------------


def peak_of(act):
    """The most memory that Python has allocated at a time while ``act`` runs, in bytes."""
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_file_without_a_checksum_is_refused_before_it_is_read(tmp_path):
    (tmp_path / "last.pt").write_bytes(b"PK")
    os.truncate(tmp_path / "last.pt", 2**28)

    def read():
        with pytest.raises(CheckpointError, match="is damaged"):
            checkpoint.load(tmp_path)

    assert peak_of(read) < 2**20


def test_checksum_is_compared_without_a_copy():
    content = checkpoint._add_checksum(bytes(2**26))
    assert peak_of(lambda: checkpoint._is_whole(content)) < 2**20
    assert checkpoint._is_whole(content)


def states(saved):
    return saved["optimizer"]["state"]


MOMENTA = {
    "one number": lambda saved: [state.update(momentum_buffer=torch.zeros(1)) for state in states(saved).values()],
    "another shape of as many": lambda saved: states(saved)[0].update(momentum_buffer=torch.zeros(450)),
    "of a weight more": lambda saved: states(saved).update({10: states(saved)[9]}),
    "of a weight before the first": lambda saved: states(saved).update({-1: states(saved)[9]}),
    "none": lambda saved: states(saved).clear(),
    "more than a momentum": lambda saved: states(saved)[0].update(step=torch.zeros(1)),
    "no tensor": lambda saved: states(saved)[0].update(momentum_buffer="x"),
}
PROGRESS = {
    "more images than there are": {"images": 10**9, "steps": 10**7, "correct": 10**9},
    "a part of a chunk": {"images": 4, "steps": 1},
    "steps without logits": {"steps": 3},
    "logits without steps": {"logits": [torch.zeros(4, 10)]},
    "logits of a larger batch": {"logits": [torch.zeros(5, 10)], "steps": 1},
    "logits of fewer classes": {"logits": [torch.zeros(4, 9)], "steps": 1},
    "integers for logits": {"logits": [torch.zeros(4, 10, dtype=torch.int64)], "steps": 1},
    "more steps than an epoch has": {"logits": [torch.zeros(4, 10)] * 51, "steps": 51},
    "more correct than images": {"images": 200, "steps": 50, "correct": 201},
}
GENERATORS = {
    "no key": lambda state: state["numpy"]["state"].update(key=torch.zeros(1, dtype=torch.int64)),
    "place behind the key": lambda state: state["numpy"]["state"].update(pos=10**8),
    "fractions": lambda state: state["python"].update(internal=state["python"]["internal"].double()),
    "one number": lambda state: state["python"].update(internal=torch.zeros(1, dtype=torch.int64)),
    "text for a normal number": lambda state: state["python"].update(gauss="x"),
    "text for another": lambda state: state["numpy"].update(gauss="x", has_gauss=1),
}
FORGED = MOMENTA | {
    name: lambda saved, change=change: saved["metrics"].update(change) or saved["history"].clear()
    for name, change in PROGRESS.items()
}
FORGED["generators"] = lambda saved: GENERATORS["place behind the key"](saved["rng"])


@pytest.mark.parametrize("change", FORGED.values(), ids=FORGED)
def test_state_that_is_not_of_the_run_is_refused_before_a_step(saved_run, ex1_main, capsys, change):
    (saved_run / "metrics.json").unlink()
    change_checkpoint(saved_run, change)
    assert ex1_main("--resume", str(saved_run)) == 1
    assert "can't be resumed: Q1_1 has changed since, or the checkpoint is not one of it" in capsys.readouterr().err


def test_settings_of_the_optimizer_are_those_of_the_run(saved_run, ex1_main, tmp_path):
    longer = saved_run.parent / saved_run.name.replace("epochs-1", "epochs-2")
    assert ex1_main("--resume", str(saved_run), "--epochs", "2") == 0
    before = outcome(shutil.move(longer, tmp_path / "before"))
    settings = {"lr": 0.5, "momentum": 0.0, "maximize": True, "fused": False, "weight_decay": 9.0}
    change_checkpoint(saved_run, lambda saved: saved["optimizer"]["param_groups"][0].update(settings))
    assert ex1_main("--resume", str(saved_run), "--epochs", "2") == 0
    assert same(outcome(longer), before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_momentum_lies_in_memory_as_its_weight_does(memory_format):
    model = torch.nn.Conv2d(3, 4, 5).to(memory_format=memory_format)
    momentum = torch.rand(4, 3, 5, 5)
    for saved in (momentum, momentum.contiguous(memory_format=torch.channels_last), momentum.mT.contiguous().mT):
        optimizer = make_optimizer(model, Config("Q1_1"))
        content = {0: {"momentum_buffer": saved}, 1: {"momentum_buffer": torch.rand(4)}}
        checkpoint.load_momentum(optimizer, {"optimizer": {"state": content}})
        loaded = optimizer.state[model.weight]["momentum_buffer"]
        assert torch.equal(loaded, momentum)
        assert loaded.stride() == model.weight.stride()


@pytest.mark.parametrize("change", GENERATORS.values(), ids=GENERATORS)
def test_state_of_generators_that_can_not_be_changes_none(change):
    device = torch.device("cpu")
    before, state = rng.rng_state(device), rng.rng_state(device)
    state["torch"] = torch.zeros_like(state["torch"])
    change(state)
    with pytest.raises(ValueError, match="not the state of random generators"):
        rng.set_rng_state(state, device)
    assert same(rng.rng_state(device), before)


UNREADABLE = {
    "a name that is no text": lambda saved: saved["history"][0].update({3: 0.5}),
    "text for a number": lambda saved: saved["history"][0].update(val_accuracy_of_plane="x"),
    "a list for a number": lambda saved: saved["history"][0].update(val_accuracy=[]),
    "images below none": lambda saved: saved["metrics"].update(images=-64, steps=-3),
    "seconds that are no number": lambda saved: saved["metrics"].update(seconds=float("nan")),
    "steps beyond words": lambda saved: saved["metrics"].update(steps=10**5000),
    "more epochs than planned": lambda saved: saved["history"].append(saved["history"][0] | {"epoch": 2}),
    "no number of epochs": lambda saved: saved["config"].pop("epochs"),
    "an expanded state": lambda saved: saved["rng"]["python"].update(internal=torch.zeros(1).expand(2 * 10**9)),
    "expanded logits": lambda saved: saved["metrics"].update(logits=[torch.zeros(1).expand(10**6, 10)]),
    "an expanded weight": lambda saved: saved["model"].update(more=[{"deep": (torch.zeros(1).expand(10**6),)}]),
    "a weight without numbers": lambda saved: saved["model"].update(more=torch.zeros(10**6, device="meta")),
}


@pytest.mark.parametrize("change", UNREADABLE.values(), ids=UNREADABLE)
def test_checkpoint_before_is_used_for_one_that_can_not_be(saved_run, change):
    shutil.copy(saved_run / "last.pt", saved_run / "good.pt")
    change_checkpoint(saved_run, change)
    with pytest.raises(CheckpointError, match="last.pt") as refused:
        checkpoint.load(saved_run)
    assert len(str(refused.value).splitlines()) == 1
    (saved_run / "good.pt").rename(saved_run / "previous.pt")
    assert checkpoint.load_last(saved_run)[1] == saved_run / "previous.pt"


def test_state_of_a_model_that_could_not_be_read_again_is_not_saved():
    with pytest.raises(CheckpointError, match="holds a tensor that is expanded"):
        checkpoint.serialize({"model": {"mask": torch.ones(1).expand(10**6)}})
    small = checkpoint.serialize({"model": {"mask": torch.ones(1).expand(8)}})
    assert torch.load(io.BytesIO(small), weights_only=True)["model"]["mask"].tolist() == [1] * 8
