"""The official batches and the archive of them."""

import io
import os
import pickle
import tarfile
from hashlib import md5

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from datasets import cifar10
from runner.errors import DataError
from tests.helpers.compare import assert_holds
from tests.helpers.images import load_images
from tests.helpers.official import python2_pickle
from tests.helpers.processes import Evil


def no_notice(text):
    raise AssertionError(f"unexpected: {text}")


def test_batches_are_read_from_folder_or_the_one_above(tiny_official):
    folder, train, test = tiny_official
    for data_dir in (folder.parent, folder):
        dataset = load_images("cifar10", data_dir, notice=no_notice)
        assert_holds(dataset, train, test)
        assert (dataset.name, dataset.slug) == ("CIFAR-10", "cifar10")


def test_torchvision_reads_the_same_from_the_same_batches(tiny_official, monkeypatch):
    folder, train, test = tiny_official
    meta = python2_pickle({"label_names": list(cifar10.CLASSES)})
    (folder / "batches.meta").write_bytes(meta)
    for name in ("train_list", "test_list"):
        known = cifar10.TRAIN_BATCHES | cifar10.TEST_BATCHES
        monkeypatch.setattr(CIFAR10, name, [[file, known[file]] for file, _ in getattr(CIFAR10, name)])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(meta).hexdigest()})
    for split, (pixels, labels) in ((True, train), (False, test)):
        theirs = CIFAR10(folder.parent, train=split)
        assert np.array_equal(theirs.data, pixels.permute(0, 2, 3, 1).numpy())
        assert theirs.targets == labels.tolist()


def test_archive_is_read_without_being_extracted_and_cached(tiny_archive, tiny_official):
    _, train, test = tiny_official
    told = []
    for data_dir in (tiny_archive.parent, tiny_archive):
        assert_holds(load_images("cifar10", data_dir, notice=told.append), train, test)
    assert told == [f"reading {tiny_archive}"]
    assert {path.name for path in tiny_archive.parent.iterdir() if path.name[0] != "."} == {cifar10.ARCHIVE}


def test_full_check_unpacks_the_archive_anew(tiny_archive):
    first = cifar10.load_archive(tiny_archive)
    with np.load(tiny_archive.parent / ".cache-archive.npz") as content:
        arrays = dict(content)
    arrays["train_pixels"][3, 0, 0, 0] ^= 1
    np.savez(tiny_archive.parent / ".cache-archive.npz", **arrays)
    assert cifar10.load_archive(tiny_archive).digest != first.digest
    assert cifar10.load_archive(tiny_archive, anew=True).digest == first.digest


def test_batch_file_with_flipped_byte_is_named(tiny_official, tiny_archive):
    batch = tiny_official[0] / "data_batch_3"
    for path, data_dir in ((batch, batch.parent.parent), (tiny_archive, tiny_archive.parent)):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        for dataset in ("cifar10", "auto"):
            with pytest.raises(DataError, match=f"{path.name}.* is damaged: its MD5 is"):
                load_images(dataset, data_dir)


def test_archive_that_is_none_is_not_called_damaged(tmp_path):
    (tmp_path / "README.md").write_text("mine", encoding="utf-8")
    with pytest.raises(DataError, match=r"found .*README\.md: not a form this program reads"):
        load_images("auto", tmp_path / "README.md")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_batch_file_that_is_missing_is_named(tiny_official):
    (tiny_official[0] / "test_batch").unlink()
    with pytest.raises(DataError, match="test_batch is missing"):
        load_images("auto", tiny_official[0].parent)


def test_all_bad_batches_are_named_at_once(tiny_official, tiny_archive, monkeypatch):
    folder = tiny_official[0]
    (folder / "test_batch").unlink()
    (folder / "data_batch_2").write_bytes(b"x")
    told = []
    with pytest.raises(DataError, match=f"{folder}: 2 problems, they are named above; remove {folder} to have it down"):
        load_images("auto", folder.parent, warn=told.append)
    assert [line.partition(", not ")[0] for line in told] == [
        f"{folder.name}/data_batch_2 is damaged: its MD5 is {md5(b'x').hexdigest()}",
        f"{folder / 'test_batch'} is missing",
    ]
    (folder / "test_batch").write_bytes(b"x")
    for name in cifar10.TRAIN_BATCHES:
        (folder / name).unlink()
    with pytest.raises(DataError, match=f"{folder}: 6 problems"):
        load_images("auto", folder.parent)
    rewrite(tiny_archive, monkeypatch, lambda members: [members.pop(f"{folder.name}/data_batch_{i}") for i in (1, 4)])
    told.clear()
    with pytest.raises(DataError, match=f"{tiny_archive}: 2 problems"):
        load_images("auto", tiny_archive, warn=told.append)
    assert told == [f"{tiny_archive} holds no data_batch_{i}" for i in (1, 4)]


@pytest.mark.parametrize(
    "make",
    [
        lambda evil: evil,
        lambda evil: {"data": evil, "labels": [0]},
        lambda evil: {"labels": [0]},
        lambda evil: [1],
        lambda evil: {"data": "x", "labels": [11]},
        lambda evil: {"data": np.zeros((2, 3072)), "labels": [0, 1]},
    ],
)
@pytest.mark.parametrize("protocol", [2, 5])
def test_pickle_of_anything_else_runs_no_code(tiny_official, tmp_path, monkeypatch, make, protocol):
    raw = pickle.dumps(make(Evil(tmp_path / "evil was here")), protocol=protocol)
    (tiny_official[0] / "data_batch_1").write_bytes(raw)
    monkeypatch.setitem(cifar10.TRAIN_BATCHES, "data_batch_1", md5(raw).hexdigest())
    with pytest.raises(DataError, match="data_batch_1 is not a batch of CIFAR-10"):
        load_images("cifar10", tiny_official[0].parent)
    assert not (tmp_path / "evil was here").exists()


def rewrite(archive, monkeypatch, change):
    """Changes the members of the tiny archive, (TarInfo, content) by name, and makes its new MD5 the known one."""
    with tarfile.open(archive) as tar:
        members = {m.name: (m, tar.extractfile(m).read() if m.isfile() else b"") for m in tar}
    change(members)
    with tarfile.open(archive, "w:gz") as tar:
        for member, content in members.values():
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(cifar10, "ARCHIVE_MD5", md5(archive.read_bytes()).hexdigest())


def add(name, kind=tarfile.REGTYPE, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return lambda members: members.update({name: (member, b"")})


BATCH_1 = f"{cifar10.BATCH_FOLDER}/data_batch_1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add("../../evil"), "holds '../../evil', which the official archive does not"),
        (add("/tmp/evil"), "holds '/tmp/evil', which"),
        (add(f"{cifar10.BATCH_FOLDER}/../../evil"), "evil', which"),
        (add(f"{cifar10.BATCH_FOLDER}/.."), r"\.\.', which"),
        (add(f"{cifar10.BATCH_FOLDER}/extra", tarfile.SYMTYPE, "/etc/passwd"), "extra', which"),
        (add(BATCH_1, tarfile.SYMTYPE, "/etc/passwd"), "data_batch_1', which"),
        (add(BATCH_1, tarfile.LNKTYPE, f"{cifar10.BATCH_FOLDER}/data_batch_2"), "data_batch_1', which"),
        (add(BATCH_1, tarfile.CHRTYPE), "data_batch_1', which"),
        (lambda members: members.pop(BATCH_1), "holds no data_batch_1"),
        (add(BATCH_1), "data_batch_1 is damaged: its MD5 is"),
    ],
)
def test_archive_with_other_members_is_refused(tiny_archive, monkeypatch, change, message):
    rewrite(tiny_archive, monkeypatch, change)
    before = set(tiny_archive.parent.parent.rglob("*")) | {tiny_archive.parent / ".lock"}
    with pytest.raises(DataError, match=f"{tiny_archive.name}.*{message}"):
        load_images("auto", tiny_archive.parent)
    assert set(tiny_archive.parent.parent.rglob("*")) == before


def test_archive_that_is_truncated_is_refused(tiny_archive, monkeypatch):
    whole = tiny_archive.read_bytes()
    for length in (0, 1, 10, 1000, len(whole) - 1000):
        tiny_archive.write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"{tiny_archive} is damaged: its MD5 is"):
            load_images("auto", tiny_archive.parent)
        with monkeypatch.context() as patch:
            patch.setattr(cifar10, "ARCHIVE_MD5", md5(whole[:length]).hexdigest())
            with pytest.raises(DataError, match=tiny_archive.name):
                load_images("auto", tiny_archive.parent)
        assert {path.name for path in tiny_archive.parent.iterdir()} == {tiny_archive.name, ".lock"}


def test_batch_file_that_is_too_large_is_refused_unread(tiny_official):
    with open(tiny_official[0] / "test_batch", "r+b") as file:
        file.truncate(12 * 2**30)  # of nothing on the disk
    with pytest.raises(DataError, match="test_batch is damaged: it is larger than any official file"):
        cifar10.load_batches(tiny_official[0])


def test_batch_file_that_is_a_pipe_is_refused(tiny_official):
    batch = tiny_official[0] / "data_batch_2"
    batch.unlink()
    os.mkfifo(batch)
    with pytest.raises(DataError, match="data_batch_2 is not a regular file"):
        load_images("auto", tiny_official[0].parent)


@pytest.mark.parametrize(
    ("raw", "opcode"),
    [(pickle.dumps(bytearray(b"x"), 5), "FRAME"), (b"\x80\x02K\x01r\xff\xff\xff\xff.", "LONG_BINPUT")],
)
def test_pickle_can_claim_no_memory_out_of_the_blue(raw, opcode):
    with pytest.raises(DataError, match=f"it holds {opcode}"):
        cifar10._unpickle("batch", raw, md5(raw).hexdigest())


def test_known_archive_is_the_official_one():
    assert (CIFAR10.url, CIFAR10.filename, CIFAR10.tgz_md5) == (
        cifar10.SOURCES[0],
        cifar10.ARCHIVE,
        cifar10.ARCHIVE_MD5,
    )
    assert CIFAR10.base_folder == cifar10.BATCH_FOLDER


def test_known_batches_are_the_official_ones():
    assert dict(CIFAR10.train_list) == cifar10.TRAIN_BATCHES
    assert dict(CIFAR10.test_list) == cifar10.TEST_BATCHES
