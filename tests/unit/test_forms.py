"""CIFAR-10 in the forms that others hand it out in."""

import hashlib
import io
import sys
import tarfile
import zipfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

import data
from datasets import arrays, cifar10, containers, encoded, forms
from runner.errors import DataError
from tests.helpers import forms as writers
from tests.helpers.images import load_images, make_images, write_image_folder

NOWHERE = "http://127.0.0.1:9/x"  # nothing listens there: what is not found is not downloaded either
TRAIN, TEST = make_images(31, 1), make_images(12, 2)


def sort_by_class(images):
    return images.take(torch.argsort(images.labels, stable=True))


def load(data_dir, **listeners):
    return load_images("cifar10", data_dir, NOWHERE, **listeners)


def refused(data_dir, match):
    """Checks that the data are refused, and returns what is told before."""
    told = []
    with pytest.raises(DataError, match=match):
        load(data_dir, warn=told.append)
    return told


# ---- every form ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", writers.LOSSLESS)
def test_form_holds_the_same_pixels_and_labels(form, tmp_path):
    data_dir = writers.LOSSLESS[form](tmp_path / "data", TRAIN, TEST)
    said = []
    dataset = load(data_dir, notice=said.append)
    ordered = map(sort_by_class, (TRAIN, TEST)) if "folder" in form else (TRAIN, TEST)
    for images, expected in zip((dataset.train, dataset.test), ordered):
        assert torch.equal(images.pixels, expected.pixels)
        assert torch.equal(images.labels, expected.labels)
    assert dataset.name.startswith("CIFAR-10 ")
    assert dataset.name.endswith(dataset.digest[:8])
    assert len([text for text in said if text.startswith("reading ")]) == (2 if form == "folder" else 1)


@pytest.mark.parametrize("form", writers.LOSSLESS)
def test_official_images_are_called_so_in_every_form(form, tmp_path, monkeypatch):
    train, test = make_images(20, 1), make_images(10, 2)
    know_as_official(monkeypatch, train.take(slice(10)), train.take(slice(10, 20)), test)
    data_dir = writers.LOSSLESS[form](tmp_path / "data", train, test)
    dataset = load(data_dir)
    assert (dataset.name, dataset.slug, dataset.digest) == ("CIFAR-10", "cifar10", data.digest(train, test))
    assert torch.equal(dataset.train.labels, train.labels)
    # One other pixel, and they are not.
    monkeypatch.setattr(cifar10, "RECORDS_SHA256", (*cifar10.RECORDS_SHA256[:2], "0" * 64))
    assert load(data_dir).slug.startswith("cifar10-")


def know_as_official(monkeypatch, *batches):
    """Takes these batches, the last of which is to test on, for the official ones."""
    records = [np.concatenate([batch.labels[:, None].numpy(), batch.pixels.flatten(1).numpy()], 1).astype(np.uint8)
               for batch in batches]  # fmt: skip
    monkeypatch.setattr(
        cifar10, "RECORDS_SHA256", tuple(hashlib.sha256(some.tobytes()).hexdigest() for some in records)
    )
    monkeypatch.setattr(cifar10, "TEST_IMAGES", len(batches[-1]))
    monkeypatch.setattr(cifar10, "TRAIN_IMAGES", sum(map(len, batches[:-1])))


def test_official_batches_in_any_order_are_put_in_theirs(tmp_path, monkeypatch):
    """Hugging Face's files have them in the order of the archive, 4, 3, 2, 5, 1."""
    *batches, test = (make_images(10, number) for number in range(6))
    know_as_official(monkeypatch, *batches, test)
    train = cifar10.join(batches)
    for number, order in enumerate(([3, 2, 1, 4, 0], [0, 1, 2, 3, 4])):
        data_dir = writers.write_parquet(tmp_path / str(number), cifar10.join(batches[i] for i in order), test)
        for _ in range(2):  # from the files, then from the cache
            dataset = load(data_dir)
            assert (dataset.slug, dataset.digest) == ("cifar10", data.digest(train, test))
            assert torch.equal(dataset.train.pixels, train.pixels)
    for number, some in enumerate(([0, 1, 2, 3, 3], [0, 1, 2, 3, 5])):  # one of them twice, one to test on
        data_dir = writers.write_npz(
            tmp_path / f"wrong {number}", cifar10.join([*batches, test][i] for i in some), test
        )
        assert load(data_dir).slug.startswith("cifar10-folder-")


def test_equal_images_have_one_name_in_every_form(tmp_path):
    train, test = map(sort_by_class, (TRAIN, TEST))
    names = {load(write(tmp_path / form, train, test)).slug for form, write in writers.LOSSLESS.items()}
    assert names == {f"cifar10-folder-{data.digest(train, test)[:8]}"}


@pytest.mark.parametrize("form", writers.LOSSLESS)
def test_form_is_read_once_then_cached(form, tmp_path, monkeypatch):
    data_dir = writers.LOSSLESS[form](tmp_path / "data", TRAIN, TEST)
    first = load(data_dir)
    for module, name in ((encoded, "read_parquet"), (arrays, "read_arrays"), (arrays, "read_batches")):
        monkeypatch.setattr(module, name, lambda *args: pytest.fail("read again"))
    monkeypatch.setattr(encoded, "read_images", lambda *args: pytest.fail("read again"))
    assert load(data_dir).digest == first.digest


@pytest.mark.parametrize("form", sorted(writers.LOSSLESS.keys() - {"folder"}))  # which is below already
def test_form_is_found_one_folder_below(form, tmp_path):
    below = writers.LOSSLESS[form](tmp_path / "data" / "cifar10", TRAIN, TEST)
    assert load(tmp_path / "data").digest == load(below).digest


def test_one_file_of_several_stands_for_all(tmp_path):
    written = [
        (writers.write_parquet, "plain_text/test-00000-of-00001.parquet"),
        (writers.write_binary, "cifar-10-batches-bin/data_batch_3.bin"),
        (writers.write_matlab, "cifar-10-batches-mat/test_batch.mat"),
        (writers.write_npz_pair, "train.npz"),
        (writers.write_npy, "test_labels.npy"),
    ]
    for number, (write, name) in enumerate(written):
        folder = write(tmp_path / str(number), TRAIN, TEST)
        assert load(folder / name).digest == load(folder).digest


def test_official_archive_and_batches_are_found_by_any_name_and_one_folder_below(tiny_archive, tiny_official, tmp_path):
    for source in (tiny_archive, tiny_official[0]):
        (tmp_path / source.name).mkdir()
        (tmp_path / source.name / "below").symlink_to(source.parent)
        assert load(tmp_path / source.name).name == "CIFAR-10"
    renamed = tiny_archive.rename(tiny_archive.with_name("downloaded.tar.gz"))
    assert load(renamed).name == "CIFAR-10"


def test_image_folder_comes_before_other_forms(tmp_path):
    folder = write_image_folder(tmp_path / "data", 1, 1)
    before = load(folder)
    writers.write_binary(folder, TRAIN, TEST)
    writers.write_npz(folder, TRAIN, TEST)
    assert load(folder).digest == before.digest


def test_other_data_sets_in_folders_beside_are_left_alone(tmp_path):
    for name in ("mnist", "cifar100", "images"):
        writers.write_npz(tmp_path / name, TRAIN, TEST)
        (tmp_path / name / "train.parquet").write_bytes(b"PAR1")
        write_image_folder(tmp_path / name, 1, 1, ("dog", "cat"))
    assert forms.find(tmp_path) is None
    write_image_folder(tmp_path / "other", 1, 1)
    assert forms.find(tmp_path) == ("folder", tmp_path / "other")


def test_images_of_other_sizes_are_another_data_set(tmp_path):
    mnist = {
        f"{name}_{split}": np.zeros((9, 28, 28)[: 1 + 2 * (name == "x")], np.uint8)
        for name in "xy"
        for split in arrays.SPLITS
    }
    np.savez(tmp_path / "mnist.npz", **mnist)
    assert forms.find(tmp_path) is None
    writers.write_npz(tmp_path, TRAIN, TEST)
    assert forms.find(tmp_path) == ("arrays", tmp_path / "cifar10.npz")


@pytest.mark.parametrize("name", ["train-0.tfrecord", "data.h5", "cifar10.zip", "train.7z", "weights.npz", "data.npy"])
def test_file_of_another_form_is_named(name, tmp_path):
    np.save(tmp_path / "array.npy", np.zeros(3))
    np.savez(tmp_path / "arrays.npz", weights=np.zeros(3))
    content = {"weights.npz": "arrays.npz", "data.npy": "array.npy"}.get(name)
    (tmp_path / name).write_bytes((tmp_path / content).read_bytes() if content else b"x" * 3073)
    assert forms.find(tmp_path / name) is None
    refused(tmp_path / name, rf"found .*{name}: not a form this program reads, .* it reads .*Parquet")


# ---- .npz and .npy ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["last", "first", "flat"])
@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64])
def test_arrays_are_read_in_all_usual_shapes(layout, kind, tmp_path):
    as_labels = lambda labels: labels.numpy().astype(kind)
    path = writers.write_npz(tmp_path, TRAIN, TEST, layout=layout, as_labels=as_labels)
    dataset = load(path)
    assert torch.equal(dataset.train.pixels, TRAIN.pixels)
    assert torch.equal(dataset.train.labels, TRAIN.labels)


ROLES = {
    ("train", "images"): "x_train trainX train_images training_imgs cifar10_train_data",
    ("test", "images"): "X_test test-data test.pixels",
    ("train", "labels"): "y_train trainLabels train_data_targets",
    ("test", "labels"): "y_test test_label",
    None: "test_label_names x_val fog train train_test_x labels",
}


def test_role_of_an_array_is_in_its_name():
    assert {name: arrays._role_of(name) for names in ROLES.values() for name in names.split()} == {
        name: role for role, names in ROLES.items() for name in names.split()
    }


def with_arrays(tmp_path, **changes):
    content = writers.arrays_of(TRAIN, TEST)
    content |= {name: change(content[name]) if name in content else change for name, change in changes.items()}
    np.savez(tmp_path / "cifar10.npz", **{name: array for name, array in content.items() if array is not None})
    return tmp_path / "cifar10.npz"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": lambda a: a / np.float32(255)}, r"x_train.npy: is float32 \(31, 32, 32, 3\), CIFAR-10 has images"),
        ({"x_train": lambda a: a.astype(np.int8)}, "has images int8"),
        ({"x_train": lambda a: a[:, :31]}, r"has images uint8 \(31, 31, 32, 3\)"),
        ({"x_train": lambda a: a[:30]}, "x_train.npy, y_train.npy: has 30 images and 31 labels"),
        ({"y_train": lambda a: np.eye(10)[a[:, 0]]}, "has one-hot labels: save the number of each class"),
        ({"y_test": lambda a: a + np.uint8(1)}, "x_test.npy, y_test.npy: has labels from 1 to 10, there are 0 to 9"),
        ({"y_test": lambda a: a.astype(float)}, r"has labels float64 \(12, 1\)"),
        ({"y_test": lambda a: a - np.int64(1)}, "has labels from -1 to 8"),
        ({"y_test": lambda a: np.array([{}] * 12, dtype=object)}, "cifar10.npz: can't be read: .*allow_pickle=False"),
        ({"x_test": lambda a: a[:0], "y_test": lambda a: a[:0]}, "has 0 images and 0 labels"),
        ({"train_images": np.zeros((31, 3072), np.uint8)}, "holds the train images, as .*x_train.npy does"),
        ({"x_test": lambda a: None}, "no array is named as the images of test"),
    ],
)
def test_arrays_of_anything_else_are_refused(changes, message, tmp_path):
    refused(with_arrays(tmp_path, **changes), message)


def test_all_that_is_wrong_with_arrays_is_told(tmp_path):
    path = with_arrays(tmp_path, y_train=lambda a: a + 1, y_test=lambda a: a + 2)
    told = refused(path, "2 problems, they are named above")
    assert [text.split(": has")[0][-30:] for text in told] == [
        "npz/x_train.npy, y_train.npy",
        "10.npz/x_test.npy, y_test.npy",
    ] or len(told) == 2


def test_rows_of_pixels_side_by_side_are_refused(tmp_path):
    smooth = (
        torch.arange(32).mul(8)[None, None, :, None].expand(31, 3, 32, 32) // torch.tensor([1, 2, 4])[:, None, None]
    )
    smooth = smooth.to(torch.uint8)
    flat = smooth.permute(0, 2, 3, 1).reshape(-1, 3072).numpy()
    refused(with_arrays(tmp_path, x_train=lambda a: flat), "has the three colours of a pixel side by side")
    load(with_arrays(tmp_path, x_train=lambda a: smooth.flatten(1).numpy()))


def claim(shape, kind="|u1"):
    """The start of a .npy file that says it holds an array of this shape."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


@pytest.mark.parametrize(
    "shape", [(10**12, 3072), (120_001, 3072), (50_000, 10**9), (10**30,), (), (2**62, 0), (-1, 3072)]
)
@pytest.mark.parametrize("within", [False, True])
def test_array_can_claim_no_memory_out_of_the_blue(shape, within, tmp_path):
    writers.write_npy(tmp_path, TRAIN, TEST)
    if within:
        with zipfile.ZipFile(tmp_path / "train.npz", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", claim(shape) + bytes(9))
        (tmp_path / "train_images.npy").unlink()
    else:
        (tmp_path / "train_images.npy").write_bytes(claim(shape) + bytes(9))
    refused(tmp_path, r"images.npy: is uint8 .*, CIFAR-10 has images")


def test_damaged_npz_is_refused(tmp_path):
    path = writers.write_npz(tmp_path, TRAIN, TEST)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused(path, "cifar10.npz: can't be read: .*CRC")
    path.write_bytes(content[:-2000])
    refused(path, "cifar10.npz: not a form this program reads, or damaged")


# ---- the binary and the Matlab version -------------------------------------------------------------------------------


def test_all_bad_binary_batches_are_told(tmp_path):
    folder = writers.write_binary(tmp_path, TRAIN, TEST) / "cifar-10-batches-bin"
    (folder / "data_batch_2.bin").write_bytes((folder / "data_batch_2.bin").read_bytes()[:-1])
    (folder / "data_batch_4.bin").write_bytes(b"\x0a" + bytes(3072))
    told = refused(tmp_path, "2 problems")
    assert "data_batch_2.bin: has 18,437 bytes, no multiple of the 3,073 that an image has" in told[0]
    assert "data_batch_4.bin: has labels from 10 to 10" in told[1]
    (folder / "test_batch.bin").unlink()
    for number in (2, 4):
        (folder / f"data_batch_{number}.bin").unlink()
    refused(tmp_path, "cifar-10-batches-bin: holds no test images")


def test_binary_batch_that_is_too_large_is_refused_unread(tmp_path):
    folder = writers.write_binary(tmp_path, TRAIN, TEST) / "cifar-10-batches-bin"
    with open(folder / "test_batch.bin", "r+b") as file:
        file.truncate(3073 * 10**6)  # of nothing on the disk
    refused(tmp_path, "test_batch.bin: is larger than any file of CIFAR-10")


def test_matlab_files_are_read_without_compression_too(tmp_path):
    dataset = load(writers.write_matlab(tmp_path, TRAIN, TEST, compressed=False))
    assert torch.equal(dataset.train.pixels, TRAIN.pixels)
    assert torch.equal(dataset.test.labels, TEST.labels)


def matlab(*elements):
    return arrays.MATLAB.ljust(124) + b"\x00\x01IM" + b"".join(elements)


def element(kind, body):
    return np.array([kind, len(body)], "<u4").tobytes() + body


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (matlab(), "it lacks uint8 KeyError: 'data'"),
        (matlab(element(15, b"x" * 20)), "zlib.error|error: Error -3"),
        (matlab(element(15, zlib.compress(bytes(2**28)))), "it lacks uint8"),
        (matlab(element(14, element(6, bytes(8)))), "ValueError"),
        (matlab(np.array([14, 2**32 - 1], "<u4").tobytes()), "ValueError"),
        (b"MATLAB 7.3 MAT-file", "it lacks uint8"),
    ],
)
def test_matlab_file_of_anything_else_is_refused(content, reason, tmp_path):
    folder = writers.write_matlab(tmp_path, TRAIN, TEST) / "cifar-10-batches-mat"
    (folder / "data_batch_5.mat").write_bytes(content)
    refused(tmp_path, f"data_batch_5.mat: is no batch of CIFAR-10 in Matlab's format 5: .*({reason})")


def test_matlab_file_unpacks_to_no_more_than_a_batch(tmp_path, monkeypatch):
    folder = writers.write_matlab(tmp_path, TRAIN, TEST)
    monkeypatch.setattr(arrays, "MOST_BYTES", 5000)
    assert len(refused(folder, "6 problems")) == 6


def test_more_images_than_cifar10_could_have_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(forms, "MOST_IMAGES", 42)
    for name in ("binary", "matlab archive", "npz", "parquet"):
        refused(writers.LOSSLESS[name](tmp_path / name, TRAIN, TEST), "holds more than 42 images")
    monkeypatch.undo()
    monkeypatch.setattr(encoded, "MOST_IMAGES", 42)
    refused(writers.write_folder_archive(tmp_path / "tgz", TRAIN, TEST), "holds more than 42 images")


# ---- archives --------------------------------------------------------------------------------------------------------


def repack(path, extra, content=b""):
    """Adds a member to an archive."""
    with tarfile.open(path) as archive:
        members = [(member, archive.extractfile(member).read() if member.isfile() else b"") for member in archive]
    with tarfile.open(path, "w:gz") as archive:
        for member, body in [*members, (extra, content)]:
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))


def member(name, kind=tarfile.REGTYPE, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize("write", [writers.write_folder_archive, writers.write_binary_archive])
@pytest.mark.parametrize(
    "extra",
    [
        member("../../evil"),
        member("/tmp/evil"),
        member("cifar10/train/cat/.."),
        member("cifar10/train/cat/1.png", tarfile.SYMTYPE, "/etc/passwd"),
        member("cifar10/train/cat/1.png", tarfile.LNKTYPE, "x"),
        member("cifar10/train/cat/1.png", tarfile.CHRTYPE),
        member("cifar10/train/cat/1.png", tarfile.FIFOTYPE),
    ],
    ids=lambda info: f"{info.name} {info.type}",
)
def test_archive_with_other_members_is_refused_and_nothing_extracted(write, extra, tmp_path):
    path = write(tmp_path / "data", TRAIN, TEST)
    repack(path, extra)
    before = {*tmp_path.rglob("*"), path.parent / ".lock"}
    refused(path, f"{path.name} holds '{extra.name}', which is neither a file nor a folder below it")
    assert {*tmp_path.rglob("*")} == before


def test_archive_can_claim_no_memory_out_of_the_blue(tmp_path, monkeypatch):
    path = writers.write_folder_archive(tmp_path / "data", TRAIN, TEST)
    whole = path.read_bytes()
    monkeypatch.setattr(containers, "MOST_BYTES", 5000)
    repack(path, member("cifar10/large"), bytes(6000))
    refused(path, "'cifar10/large' is larger than any file of CIFAR-10")
    path.write_bytes(whole)
    repack(path, member("cifar10/" + "x" * 6000))  # whose name is in a header of its own
    refused(path, "is larger than any file of CIFAR-10")
    path.write_bytes(whole)
    monkeypatch.setattr(containers, "MOST_UNPACKED", 100_000)
    refused(path, "unpacks to more than any archive of CIFAR-10")


@pytest.mark.parametrize("write", [writers.write_folder_archive, writers.write_binary_archive])
def test_damaged_archive_is_refused(write, tmp_path):
    path = write(tmp_path / "data", TRAIN, TEST)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-6], whole[:-8] + b"1234" + whole[-4:]):
        path.write_bytes(content)
        refused(path, f"{path.name}( can't be read as an archive|: not a form this program reads, or damaged)")


@pytest.mark.parametrize("write", [writers.write_folder_archive, writers.write_binary_archive])
def test_archive_with_a_file_twice_is_refused(write, tmp_path):
    path = write(tmp_path / "data", TRAIN, TEST)
    with tarfile.open(path) as archive:
        name, content = next(
            (m.name, archive.extractfile(m).read()) for m in archive if m.name[-4:] in (".png", ".bin")
        )
    repack(path, member(name), content)
    refused(path, "holds several images of one name|batch.*bin: is there twice")


def test_archive_of_other_images_is_refused(tmp_path):
    path = writers.write_folder_archive(tmp_path / "data", TRAIN, TEST)
    grey = io.BytesIO()
    Image.new("L", (32, 32)).save(grey, "PNG")
    repack(path, member("cifar10/train/cat/grey.png"), grey.getvalue())
    repack(path, member("cifar10/test/cow/1.png"), writers.png(TRAIN.pixels[0]))
    repack(path, member("cifar10/train/cat/._00001.png"), b"which a Mac adds")
    told = refused(path, "2 problems")
    assert any("cifar10.tgz/cifar10/train/cat/grey.png: is L 32×32" in text for text in told)
    assert any("cifar10.tgz/cifar10/test/cow/1.png: not a class of CIFAR-10" in text for text in told)


# ---- Parquet ---------------------------------------------------------------------------------------------------------


def write_table(folder, split, images, labels, column="img"):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    folder.mkdir(exist_ok=True)
    parquet.write_table(pa.table({column: images, "label": labels}), folder / f"{split}-00000.parquet")


def test_older_parquet_files_are_read(tmp_path):
    for column in ("image", "img"):
        for split, images in (("train", TRAIN), ("test", TEST)):
            encoded_images = [writers.png(pixels) for pixels in images.pixels]
            encoded_images = encoded_images if column == "image" else [{"bytes": image} for image in encoded_images]
            write_table(tmp_path / column, split, encoded_images, images.labels.tolist(), column)
        assert torch.equal(load(tmp_path / column).train.pixels, TRAIN.pixels)


def test_parquet_files_of_anything_else_are_refused(tmp_path):
    good = {"bytes": writers.png(TRAIN.pixels[0]), "path": "a.png"}
    small = io.BytesIO()
    Image.new("RGB", (31, 32)).save(small, "PNG")
    write_table(tmp_path, "test", [good], [3])
    cases = [
        ([good, {"bytes": small.getvalue(), "path": ""}], [1, 2], "row 1: is RGB 31×32"),
        ([good, {"bytes": b"text", "path": ""}], [1, 2], "row 1: can't be read as an image"),
        ([good, {"bytes": None, "path": "a.png"}], [1, 2], "holds no images in itself"),
        ([good, None], [1, 2], "holds no images in itself"),
        ([good], [10], "has labels from 10 to 10"),
        ([good], [None], "has labels"),
        ([good], ["cat"], "has labels"),
        ([3], [3], "holds no images in itself"),
    ]
    for images, labels, message in cases:
        write_table(tmp_path, "train", images, labels)
        refused(tmp_path, f"train-00000.parquet.*{message}")
    write_table(tmp_path, "train", [good], [3], "fine_img")
    refused(tmp_path, "has the columns fine_img, label; images are read from img and label")
    (tmp_path / "train-00000.parquet").write_bytes(b"PAR1" + bytes(100))
    (tmp_path / "validation.parquet").write_bytes(b"PAR1")
    told = refused(tmp_path, "train-00000.parquet: can't be read")
    assert "validation.parquet: passed over, as its name says neither train nor test" in told[0]


def test_small_parquet_file_cannot_unpack_to_any_size(tmp_path, monkeypatch):
    large = writers.png(TRAIN.pixels[0]) + bytes(900_000)
    for split in ("train", "test"):
        write_table(tmp_path, split, [large] * 64, [1] * 64, "image")  # the file has it once
    told = refused(tmp_path, "2 problems")
    assert all("unpacks to more than any file of CIFAR-10" in text for text in told)
    assert (tmp_path / "train-00000.parquet").stat().st_size < 100_000
    monkeypatch.setattr(encoded, "MOST_BYTES", 2**30)
    monkeypatch.setattr(encoded, "MOST_UNPACKED", 800_000)  # the file itself says that it has more
    monkeypatch.setattr(encoded, "_decode", lambda *args: pytest.fail("it was unpacked"))
    refused(tmp_path, "2 problems")


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    for name in ("train", "test"):
        (tmp_path / f"{name}.parquet").write_bytes(b"PAR1")
    for name in ("pyarrow", "pyarrow.parquet"):
        monkeypatch.setitem(sys.modules, name, None)  # its import raises
    refused(tmp_path, "test.parquet: Parquet files need the package pyarrow: pip install pyarrow")


# ---- Kaggle's --------------------------------------------------------------------------------------------------------


def test_kaggles_labelled_images_are_split_once_and_for_all(tmp_path):
    folder = writers.write_kaggle(tmp_path / "data", make_images(60, 1), TEST)
    said = []
    dataset = load(folder, notice=said.append)
    assert (len(dataset.train), len(dataset.test)) == (50, 10)
    assert dataset.test.labels.bincount().tolist() == [1] * 10
    rows = torch.cat([dataset.train.pixels, dataset.test.pixels]).flatten(1).tolist()
    assert sorted(rows) == sorted(make_images(60, 1).pixels.flatten(1).tolist())
    assert "Kaggle's test images have no labels; 10 of the 60 training images take their place" in said[0]
    (folder / ".cache-kaggle.npz").unlink()
    assert load(folder).digest == dataset.digest
    assert [encoded.count_kaggle_tests(n) for n in (50_000, 49_999, 60, 2)] == [10_000, 8333, 10, 1]


def test_all_that_is_wrong_with_kaggles_labels_is_told(tmp_path):
    folder = writers.write_kaggle(tmp_path / "data", TRAIN, TEST)
    with open(folder / "trainLabels.csv", "a", encoding="utf-8") as file:
        file.write("32,cat\n33,cow\n7,dog\nx,dog\n../8,dog\n9\n")
    told = refused(folder, "trainLabels.csv: 6 problems")
    for text in (
        "line 34: 'cow' is not a class", "line 35: image 7 has a label already", "line 36: is no number and label",
        "line 37: is no", "line 38: is no", "train: lacks 1 images that have labels, such as 32.png",
    ):  # fmt: skip
        assert any(text in line for line in told)
    (folder / "trainLabels.csv").write_text("no,labels\n", encoding="utf-8")
    refused(folder, "trainLabels.csv: is not the line id,label and those of 2 images or more, at most 120,000")
