"""Folders of images, their cache, and single images."""

import os
import shutil
import struct
import zipfile
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import datasets
from data import Images
from datasets import cache, cifar10, image_folder
from runner.config import Config
from runner.errors import DataError
from tests.helpers.images import listening, load_images


def test_image_folder_is_read_in_official_order_of_classes(folder):
    (folder / "train" / "cat" / "notes.txt").write_text("not an image", encoding="utf-8")
    (folder / "train" / ".hidden").mkdir()
    dataset = load_images("cifar10", folder)
    assert dataset.classes == cifar10.CLASSES
    assert dataset.train.labels.tolist() == [label for label in range(10) for _ in range(2)]
    for index, name in ((0, "airplane/any name 8.PNG"), (3, "Automobile/any name 9.PNG"), (6, "cat/any name 8.PNG")):
        expected = np.asarray(Image.open(folder / "train" / name)).transpose(2, 0, 1)
        assert np.array_equal(dataset.train.pixels[index].numpy(), expected)


def test_image_folder_has_a_name_of_its_own(folder):
    first = load_images("cifar10", folder)
    Image.new("RGB", (32, 32)).save(folder / "test" / "dog" / "one more.jpg")
    second = load_images("cifar10", folder)
    assert len({first.slug, second.slug, "cifar10"}) == len({first.name, second.name, "CIFAR-10"}) == 3
    assert first.is_cifar10


def test_cache_is_used_until_the_folder_changes(folder, monkeypatch):
    first = load_images("cifar10", folder)
    monkeypatch.setattr(image_folder, "decode", lambda *args: pytest.fail("decoded again"))
    assert load_images("cifar10", folder).digest == first.digest
    monkeypatch.undo()
    changes = [
        lambda: Image.new("RGB", (32, 32)).save(folder / "train" / "dog" / "new.png"),
        lambda: (folder / "train" / "dog" / "new.png").unlink(),
        lambda: Image.new("RGB", (32, 32), "red").save(folder / "train" / "dog" / "any name 8.PNG"),
        lambda: shutil.move(folder / "train" / "dog" / "any name 8.PNG", folder / "train" / "cat" / "moved.png"),
    ]
    digests = [first.digest]
    for change in changes:
        change()
        digests.append(load_images("cifar10", folder).digest)
    assert digests[2] == digests[0]
    assert len(set(digests)) == 4


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("train_pixels", np.zeros((20, 3, 32, 31), np.uint8)),
        ("train_pixels", np.zeros((20, 3, 32, 32), np.float32)),
        ("train_pixels", np.zeros((19, 3, 32, 32), np.uint8)),
        ("test_labels", np.arange(1, 11)),
        ("test_labels", -np.arange(10)),
        ("test_labels", np.array([{}] * 10, dtype=object)),
    ],
)
def test_cache_of_what_cannot_be_images_is_made_anew(folder, name, array):
    first = load_images("cifar10", folder)
    cache = folder / ".cache-folder.npz"
    with np.load(cache) as content:
        arrays = dict(content) | {name: array}
    np.savez(cache, **arrays)
    assert load_images("cifar10", folder).digest == first.digest


def test_cache_part_of_killed_run_is_written_over(folder):
    (folder / ".cache-folder.npz.part").write_bytes(b"half of it")
    load_images("cifar10", folder)
    assert {path.name for path in folder.iterdir()} == {".lock", ".cache-folder.npz", "train", "test"}


@pytest.mark.parametrize("damage", [b"", b"garbage", "half"])
def test_damaged_cache_is_made_anew(folder, damage):
    first = load_images("cifar10", folder)
    cache = folder / ".cache-folder.npz"
    cache.write_bytes(cache.read_bytes()[:5000] if damage == "half" else damage)
    assert load_images("cifar10", folder).digest == first.digest


def test_image_folder_that_cannot_be_written_is_read(folder):
    # Folders in the place of the two files stand for missing permission, which would not bind root.
    (folder / ".lock").mkdir()
    (folder / ".cache-folder.npz").mkdir()
    told = []
    assert len(load_images("cifar10", folder, warn=told.append).train) == 20
    assert "not cached" in told[0]
    assert {path.name for path in folder.iterdir()} == {".lock", ".cache-folder.npz", "train", "test"}


def test_image_folder_errors_name_the_path(folder):
    def refused(match):
        with pytest.raises(DataError, match=match):
            load_images("auto", folder)

    cat = folder / "train" / "cat"
    good = (cat / "any name 8.PNG").read_bytes()
    Image.new("RGB", (32, 31)).save(cat / "any name 8.PNG")
    refused("cat/any name 8.PNG: is RGB 32×31")
    Image.new("L", (32, 32)).save(cat / "any name 8.PNG")
    refused("cat/any name 8.PNG: is L 32×32")
    (cat / "any name 8.PNG").write_text("no image", encoding="utf-8")
    refused("cat/any name 8.PNG: can't be read as an image")
    (cat / "any name 8.PNG").write_bytes(good[:200])
    refused("cat/any name 8.PNG: can't be read as an image")
    (cat / "any name 8.PNG").write_bytes(good)
    (folder / "train" / "cow").mkdir()
    refused("train/cow: not a class of CIFAR-10")
    (folder / "train" / "cow").rmdir()
    shutil.rmtree(folder / "test" / "frog")
    refused("test: has no folder of images for frog")
    (folder / "test" / "frog").mkdir()
    refused("test/frog: no image in it")


def test_all_that_is_wrong_with_a_folder_is_named_at_once(folder):
    def refused(problems):
        told = []
        with pytest.raises(DataError, match=f"{folder}: {len(problems)} problems, they are named above"):
            load_images("auto", folder, warn=told.append)
        assert told == [f"{folder}/{problem}" for problem in problems]

    # Classes and kinds of files.
    (folder / "train" / "cow").mkdir()
    (folder / "train" / "plane").mkdir()
    shutil.rmtree(folder / "test" / "frog")
    (folder / "test" / "ship" / "any name 9.PNG").unlink()
    (folder / "test" / "truck" / "folder.png").mkdir()
    os.mkfifo(folder / "test" / "truck" / "pipe.png")
    refused(
        [
            f"train/cow: not a class of CIFAR-10; the classes are {', '.join(cifar10.CLASSES)}",
            f"train/plane: a class with two folders, the other is {folder}/train/airplane",
            "test: has no folder of images for frog",
            "test/ship: no image in it (PNG or JPEG)",
            "test/truck/folder.png is not a regular file",
            "test/truck/pipe.png is not a regular file",
        ]
    )
    shutil.rmtree(folder / "train" / "cow")
    shutil.rmtree(folder / "train" / "plane")
    shutil.copytree(folder / "train" / "frog", folder / "test" / "frog")
    shutil.copytree(folder / "train" / "ship", folder / "test" / "ship", dirs_exist_ok=True)
    (folder / "test" / "truck" / "folder.png").rmdir()
    (folder / "test" / "truck" / "pipe.png").unlink()

    # Images.
    (folder / "train" / "cat" / "any name 8.PNG").write_text("no image", encoding="utf-8")
    Image.new("L", (32, 32)).save(folder / "test" / "dog" / "any name 9.PNG")
    refused(
        [
            "train/cat/any name 8.PNG: can't be read as an image: it is no PNG, JPEG",
            "test/dog/any name 9.PNG: is L 32×32, CIFAR-10 is RGB 32×32",
        ]
    )


def test_many_bad_images_are_named_up_to_twenty(folder):
    for image in folder.glob("*/*/*.PNG"):
        image.write_text("no image", encoding="utf-8")
    told = []
    with pytest.raises(DataError, match="30 problems, the first 20 are named above"):
        load_images("auto", folder, warn=told.append)
    assert len(told) == 20


def test_links_are_followed_to_files_and_nowhere_else(folder, tmp_path):
    image = folder / "train" / "cat" / "any name 8.PNG"
    reference = load_images("cifar10", folder).digest
    image.rename(tmp_path / "elsewhere.png")
    image.symlink_to(tmp_path / "elsewhere.png")
    assert load_images("cifar10", folder).digest == reference
    for target, message in [
        (tmp_path / "nowhere", "No such file"),
        (image, "Too many levels of symbolic links"),
        (tmp_path, "not a regular file"),
        ("/dev/zero", "not a regular file"),
    ]:
        image.unlink()
        image.symlink_to(target)
        with pytest.raises(DataError, match=f"cat/any name 8.PNG.*{message}"):
            load_images("auto", folder)
    image.unlink()
    os.mkfifo(image)
    with pytest.raises(DataError, match=r"cat/any name 8.PNG is not a regular file"):
        load_images("auto", folder)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n0 0 32 32 rectfill\n%%EOF\n"


def test_image_for_an_interpreter_is_refused(folder, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args: pytest.fail("it was interpreted"))
    image = folder / "train" / "cat" / "any name 8.PNG"
    image.write_bytes(EPS)
    assert Image.open(image).size == (32, 32), "Pillow takes it for no image anyway"
    with pytest.raises(DataError, match=r"cat/any name 8.PNG: can't be read as an image"):
        load_images("auto", folder)
    with pytest.raises(DataError, match="can't be read as an image"):
        image_folder.read_any_image(image)


def test_image_folder_that_is_not_whole_is_pointed_out(folder):
    told = []
    load_images("cifar10", folder, warn=told.append)
    assert told == [
        f"{folder}/train holds 20 images, CIFAR-10 has 50,000: is it whole?",
        f"{folder}/test holds 10 images, CIFAR-10 has 10,000: is it whole?",
    ]


def test_read_any_image_makes_32_by_32(tmp_path):
    image = Image.new("RGBA", (300, 100), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (150, 0, 300, 100))
    image.save(tmp_path / "wide.png")
    pixels = image_folder.read_any_image(tmp_path / "wide.png")
    assert pixels.shape == (3, 32, 32)
    assert pixels[:, 16, 2].tolist() == [255, 255, 255]  # transparent becomes white
    assert pixels[:, 16, 29].tolist() == [255, 0, 0]
    Image.new("L", (5, 7), 9).save(tmp_path / "grey.png")
    assert image_folder.read_any_image(tmp_path / "grey.png").unique().tolist() == [9]
    deep = Image.fromarray(np.full((4, 4), 257 * 100, dtype=np.uint16))
    deep.save(tmp_path / "deep.png")
    assert image_folder.read_any_image(tmp_path / "deep.png").unique().tolist() == [100]
    Image.new("F", (4, 4), 0.5).save(tmp_path / "float.tiff")
    with pytest.raises(DataError, match=r"float\.tiff: has floating-point pixels"):
        image_folder.read_any_image(tmp_path / "float.tiff")
    (tmp_path / "text.png").write_text("text", encoding="utf-8")
    with pytest.raises(DataError, match="text.png"):
        image_folder.read_any_image(tmp_path / "text.png")


def test_folder_stands_for_the_images_in_it(tmp_path):
    for name in ("b.JPG", "a.webp", ".hidden.png", "notes.txt", "sub/c.png", ".git/d.png", "empty/.DS_Store"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    problems = []
    found = image_folder.find_images(str(tmp_path), problems)
    assert found == [str(tmp_path / name) for name in ("a.webp", "b.JPG", "sub/c.png")]
    assert image_folder.find_images("not there.png", problems) == ["not there.png"]
    assert not problems
    assert image_folder.find_images(str(tmp_path / "empty"), problems) == []
    assert problems == [f"{tmp_path}/empty: no image in it (PNG, JPEG, GIF, BMP, TIFF, WEBP, PPM)"]


def test_what_must_not_be_read_is_named_once(tmp_path, monkeypatch):
    def denied(path, *args, **kwargs):
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "scandir", denied)
    monkeypatch.setattr("builtins.open", denied)
    problems = []
    assert image_folder.find_images(str(tmp_path), problems) == []
    assert problems == [f"{tmp_path}: Permission denied"]
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError) as caught:
        image_folder.read_any_image(tmp_path / "a.png")
    assert str(caught.value) == f"{tmp_path}/a.png: can't be read as an image: Permission denied"


def test_image_that_is_not_there_is_named_once(tmp_path):
    for path, reason in ((tmp_path / "no.png", ": No such file or directory"), (tmp_path, " is not a regular file")):
        with pytest.raises(DataError) as caught:
            image_folder.read_any_image(path)
        assert str(caught.value) == f"{path}{reason}"


def test_read_any_image_leaves_cifar_images_unchanged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(image_folder.read_any_image(tmp_path / "a.png").numpy(), pixels.transpose(2, 0, 1))


def png(width, height, depth, rows):
    """A PNG of RGB pixels with so many bits a channel, from its rows as bytes."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, depth, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def rotated():
    exif = Image.Exif()
    exif[image_folder.ORIENTATION] = 6
    return {"exif": exif}


RGB = Image.new("RGB", (32, 32))
UNLIKE_CIFAR = {
    "deep.png": (lambda path: path.write_bytes(png(32, 32, 16, (b"\0" + bytes(192)) * 32)), "has 16 bits a channel"),
    "moving.png": (
        lambda path: RGB.save(path, save_all=True, append_images=[RGB.point(lambda _: 9)]),
        "several frames",
    ),
    "key.png": (lambda path: RGB.save(path, transparency=(0, 0, 0)), "has a transparent colour"),
    "rotated.png": (lambda path: RGB.save(path, **rotated()), "is to be rotated"),
    "rotated.jpg": (lambda path: RGB.save(path, **rotated()), "is to be rotated"),
}


@pytest.mark.parametrize("name", UNLIKE_CIFAR)
def test_image_that_is_made_like_cifars_in_silence_is_refused(folder, name):
    write, said = UNLIKE_CIFAR[name]
    write(folder / "train" / "cat" / name)
    with pytest.raises(DataError, match=f"cat/{name}: .*{said}"):
        load_images("cifar10", folder)


def test_picture_is_read_as_it_is_shown(tmp_path):
    image = RGB.copy()
    image.paste((255, 0, 0), (0, 0, 32, 16))
    image.save(tmp_path / "rotated.png", **rotated())  # its top is to be seen at the right
    pixels = image_folder.read_any_image(tmp_path / "rotated.png")
    assert (pixels[:, 16, 2].tolist(), pixels[:, 16, 29].tolist()) == ([0, 0, 0], [255, 0, 0])
    (tmp_path / "deep.png").write_bytes(png(32, 32, 16, (b"\0" + b"\x64\x01" * 96) * 32))
    assert image_folder.read_any_image(tmp_path / "deep.png").unique().tolist() == [100]
    RGB.point(lambda _: 7).save(tmp_path / "moving.png", save_all=True, append_images=[RGB])
    assert image_folder.read_any_image(tmp_path / "moving.png").unique().tolist() == [7]  # the first


def test_what_is_passed_over_in_a_folder_is_counted_once(folder):
    for name in ("train/cat/a.webp", "test/dog/b.webp", "test/dog/c.BMP", "train/stray.png", "train/cat/.hidden.gif"):
        RGB.save(folder / name)
    (folder / "train" / "cat" / "more").mkdir()
    for loop in (folder / "test" / "loop.txt", folder / "train" / "cat" / "loop.txt"):
        loop.symlink_to(loop)
    told = []
    assert len(load_images("cifar10", folder, warn=told.append).train) == 20
    [line] = [text for text in told if "passed over" in text]
    assert line.startswith(f"{folder}: passed over, as no PNG or JPEG in a class folder: ")
    assert all(f"{kind} (1)" in line for kind in (".png", "folders", ".BMP"))
    assert all(f"{kind} (2)" in line for kind in (".webp", ".txt"))
    assert line.endswith(f", such as {folder}/train/stray.png")


def test_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, monkeypatch, recwarn):
    huge = png(13_000, 13_000, 8, b"")
    (tmp_path / "huge.png").write_bytes(huge)
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    with pytest.raises(DataError, match=r"huge.png: has 13,000×13,000 pixels, more than 64,000,000: scale it down"):
        image_folder.read_any_image(tmp_path / "huge.png")
    assert not recwarn.list


def tiff(bits, sample_format, values):
    """A TIFF of one row of grey pixels, with so many bits each, unsigned (1) or signed (2)."""
    tags = [(256, 4, len(values)), (257, 4, 1), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, 1), (279, 4, len(values) * bits // 8), (339, 3, sample_format)]
    pixels = b"".join(value.to_bytes(max(1, bits // 8), "little") for value in values).ljust(64, b"\0")
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 72) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("bits", "sample_format", "said"), [(32, 1, "32"), (32, 2, "32"), (16, 2, "signed"), (12, 1, "12")]
)
def test_grey_of_unknown_range_is_refused(tmp_path, bits, sample_format, said):
    (tmp_path / "grey.tiff").write_bytes(tiff(bits, sample_format, [200] * 8))
    with pytest.raises(DataError, match=f"grey.tiff: has {said} bits of grey, whose range is unknown"):
        image_folder.read_any_image(tmp_path / "grey.tiff")


def test_grey_of_16_bits_is_scaled(tmp_path):
    (tmp_path / "grey.tiff").write_bytes(tiff(16, 1, [257 * 100] * 8))
    assert image_folder.read_any_image(tmp_path / "grey.tiff").unique().tolist() == [100]


def exchange(a, b):
    """Exchanges the contents of two files in place, which keep their times."""
    times = [(path, path.stat()) for path in (a, b)]
    contents = a.read_bytes(), b.read_bytes()
    b.write_bytes(contents[0])
    a.write_bytes(contents[1])
    for path, status in times:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def rename(a, b):
    a.rename(a.with_name("aside"))
    b.rename(a)
    a.with_name("aside").rename(b)


@pytest.mark.parametrize("how", [exchange, rename])
def test_images_of_one_size_and_time_exchanged_are_noticed(folder, how):
    cat, dog = (folder / "train" / name / "any name 8.PNG" for name in ("cat", "dog"))
    for path in folder.glob("*/*/*"):
        path.write_bytes(path.read_bytes().ljust(4000, b"\0"))
        os.utime(path, (1.5e9, 1.5e9))
    before = load_images("cifar10", folder).digest
    how(cat, dog)
    after = load_images("cifar10", folder).digest
    (folder / ".cache-folder.npz").unlink()
    assert after == load_images("cifar10", folder).digest != before


@pytest.mark.parametrize("fact", ["st_mtime_ns", "st_ctime_ns", "st_size", "st_ino", "name"])
def test_any_fact_of_a_file_that_differs_has_it_decoded_anew(tmp_path, monkeypatch, fact):
    facts = {"st_mtime_ns": 1, "st_ctime_ns": 2, "st_size": 3, "st_ino": 4, "name": 5}
    monkeypatch.setattr(cache, "stat_regular", lambda path: SimpleNamespace(**facts))
    images, decoded = Images(torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.tensor([0])), []

    def read():
        files = [f"cat/{facts['name']}.png"]
        cache.cached(tmp_path, "folder", files, lambda: (decoded.append(fact), (images, images))[1])
        return len(decoded)

    assert (read(), read()) == (1, 1)
    facts[fact] += 1
    assert (read(), read()) == (2, 2)


def test_full_check_says_what_it_finds_and_mends_the_cache(folder):
    def check():
        said, warned = [], []
        with listening(said.append, warned.append):
            config = Config("Q1_1", dataset="cifar10", data_dir=str(folder), batch_size=1, data_check="full")
            digest = datasets.load(config).digest
        return digest, [text for text in said if "anew" in text], [text for text in warned if "anew" in text]

    kept = folder / ".cache-folder.npz"
    reference, said, warned = check()
    assert (said, warned) == ([f"all 30 images were decoded anew: {kept} did not hold them"], [])
    assert check() == (reference, [f"all 30 images were decoded anew: {kept} holds the same"], [])
    with np.load(kept) as content:
        arrays = dict(content)
    arrays["train_pixels"][3, 0, 0, 0] ^= 1
    arrays["test_labels"][0] = 5
    np.savez(kept, **arrays)
    assert load_images("cifar10", folder).digest != reference  # which the full check is for
    assert check() == (
        reference,
        [],
        [f"{kept} held other pixels or labels for 2 of 30 images than their files: made anew"],
    )
    assert load_images("cifar10", folder).digest == reference


def test_links_and_pipes_in_the_place_of_the_cache_are_not_followed(folder, tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("notes", encoding="utf-8")
    (folder / ".cache-folder.npz.part").symlink_to(victim)
    os.mkfifo(folder / ".cache-folder.npz")
    first = load_images("cifar10", folder)
    assert victim.read_text(encoding="utf-8") == "notes"
    assert (folder / ".cache-folder.npz").is_file()
    assert load_images("cifar10", folder).digest == first.digest


def test_compressed_cache_is_decoded_anew(folder):
    first = load_images("cifar10", folder)
    np.savez_compressed(folder / ".cache-folder.npz", fingerprint=np.zeros(1, "S1000000"))
    assert load_images("cifar10", folder).digest == first.digest
    with zipfile.ZipFile(folder / ".cache-folder.npz") as archive:
        assert {member.compress_type for member in archive.infolist()} == {zipfile.ZIP_STORED}
