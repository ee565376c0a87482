import http.server
import io
import multiprocessing
import os
import pickle
import shutil
import tarfile
import threading
import time
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import CIFAR10

import download
import sources
from download import DownloadError
from sources import DataError
from tests.helpers.official import python2_pickle


def assert_holds(dataset, train, test):
    for images, (pixels, labels) in ((dataset.train, train), (dataset.test, test)):
        assert images.pixels.dtype == torch.uint8
        assert torch.equal(images.pixels, pixels)
        assert torch.equal(images.labels, labels)


def no_notice(text):
    raise AssertionError(f"unexpected: {text}")


# ---- official batches and archive ----


def test_official_batches_are_read_from_the_folder_or_the_one_above(tiny_official):
    folder, train, test = tiny_official
    for data_dir in (folder.parent, folder):
        dataset = sources.load("cifar10", data_dir, notice=no_notice)
        assert_holds(dataset, train, test)
        assert (dataset.name, dataset.slug) == ("CIFAR-10", "cifar10")


def test_torchvision_reads_the_same_from_the_same_batches(tiny_official, monkeypatch):
    folder, train, test = tiny_official
    meta = python2_pickle({"label_names": list(sources.CLASSES)})
    (folder / "batches.meta").write_bytes(meta)
    for name in ("train_list", "test_list"):
        known = sources.TRAIN_BATCHES | sources.TEST_BATCHES
        monkeypatch.setattr(CIFAR10, name, [[file, known[file]] for file, _ in getattr(CIFAR10, name)])
    monkeypatch.setattr(CIFAR10, "meta", CIFAR10.meta | {"md5": md5(meta).hexdigest()})
    for split, (pixels, labels) in ((True, train), (False, test)):
        theirs = CIFAR10(folder.parent, train=split)
        assert np.array_equal(theirs.data, pixels.permute(0, 2, 3, 1).numpy())
        assert theirs.targets == labels.tolist()


def test_an_archive_is_read_without_being_extracted_and_cached(tiny_archive, tiny_official):
    _, train, test = tiny_official
    told = []
    for data_dir in (tiny_archive.parent, tiny_archive):
        assert_holds(sources.load("cifar10", data_dir, notice=told.append), train, test)
    assert told == [f"reading {tiny_archive}"]
    assert {path.name for path in tiny_archive.parent.iterdir() if path.name[0] != "."} == {sources.ARCHIVE}


def test_a_flipped_byte_is_noticed_and_the_file_named(tiny_official, tiny_archive):
    batch = tiny_official[0] / "data_batch_3"
    for path, data_dir in ((batch, batch.parent.parent), (tiny_archive, tiny_archive.parent)):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        for dataset in ("cifar10", "auto"):
            with pytest.raises(DataError, match=f"{path.name}.* is damaged: its MD5 is"):
                sources.load(dataset, data_dir)


def test_a_file_that_is_no_archive_is_not_called_a_damaged_one(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    with pytest.raises(DataError, match=r"README\.md is neither a folder nor"):
        sources.load("auto", tmp_path / "README.md")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_missing_batch_is_named(tiny_official):
    (tiny_official[0] / "test_batch").unlink()
    with pytest.raises(DataError, match="test_batch is missing"):
        sources.load("auto", tiny_official[0].parent)


class Evil:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


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
def test_a_pickle_of_anything_else_runs_no_code(tiny_official, tmp_path, monkeypatch, make, protocol):
    raw = pickle.dumps(make(Evil(tmp_path / "evil was here")), protocol=protocol)
    (tiny_official[0] / "data_batch_1").write_bytes(raw)
    monkeypatch.setitem(sources.TRAIN_BATCHES, "data_batch_1", md5(raw).hexdigest())
    with pytest.raises(DataError, match="data_batch_1 is not a batch of CIFAR-10"):
        sources.load("cifar10", tiny_official[0].parent)
    assert not (tmp_path / "evil was here").exists()


def rewrite(archive, monkeypatch, change):
    """Changes the members of the tiny archive, (TarInfo, content) by name, and makes its new MD5 the known one."""
    with tarfile.open(archive) as tar:
        members = {m.name: (m, tar.extractfile(m).read() if m.isfile() else b"") for m in tar}
    change(members)
    with tarfile.open(archive, "w:gz") as tar:
        for member, content in members.values():
            tar.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive.read_bytes()).hexdigest())


def add(name, kind=tarfile.REGTYPE, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return lambda members: members.update({name: (member, b"")})


BATCH_1 = f"{sources.BATCH_FOLDER}/data_batch_1"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add("../../evil"), "holds '../../evil', which the official archive does not"),
        (add("/tmp/evil"), "holds '/tmp/evil', which"),
        (add(f"{sources.BATCH_FOLDER}/../../evil"), "evil', which"),
        (add(f"{sources.BATCH_FOLDER}/.."), r"\.\.', which"),
        (add(f"{sources.BATCH_FOLDER}/extra", tarfile.SYMTYPE, "/etc/passwd"), "extra', which"),
        (add(BATCH_1, tarfile.SYMTYPE, "/etc/passwd"), "data_batch_1', which"),
        (add(BATCH_1, tarfile.LNKTYPE, f"{sources.BATCH_FOLDER}/data_batch_2"), "data_batch_1', which"),
        (add(BATCH_1, tarfile.CHRTYPE), "data_batch_1', which"),
        (lambda members: members.pop(BATCH_1), "holds no data_batch_1"),
        (add(BATCH_1), "data_batch_1 is damaged: its MD5 is"),
    ],
)
def test_an_archive_with_other_members_is_refused_and_leaves_nothing(tiny_archive, monkeypatch, change, message):
    rewrite(tiny_archive, monkeypatch, change)
    before = set(tiny_archive.parent.parent.rglob("*")) | {tiny_archive.parent / ".lock"}
    with pytest.raises(DataError, match=f"{tiny_archive.name}.*{message}"):
        sources.load("auto", tiny_archive.parent)
    assert set(tiny_archive.parent.parent.rglob("*")) == before


def test_a_truncated_archive_is_refused_before_and_behind_its_md5(tiny_archive, monkeypatch):
    whole = tiny_archive.read_bytes()
    for length in (0, 1, 10, 1000, len(whole) - 1000):
        tiny_archive.write_bytes(whole[:length])
        with pytest.raises(DataError, match=f"{tiny_archive} is damaged: its MD5 is"):
            sources.load("auto", tiny_archive.parent)
        with monkeypatch.context() as patch:
            patch.setattr(CIFAR10, "tgz_md5", md5(whole[:length]).hexdigest())
            with pytest.raises(DataError, match=tiny_archive.name):
                sources.load("auto", tiny_archive.parent)
        assert {path.name for path in tiny_archive.parent.iterdir()} == {tiny_archive.name, ".lock"}


def test_a_batch_that_is_a_pipe_is_refused_and_not_waited_for(tiny_official):
    batch = tiny_official[0] / "data_batch_2"
    batch.unlink()
    os.mkfifo(batch)
    with pytest.raises(DataError, match="data_batch_2 is not a regular file"):
        sources.load("auto", tiny_official[0].parent)


@pytest.mark.parametrize(
    ("raw", "opcode"),
    [(pickle.dumps(bytearray(b"x"), 5), "FRAME"), (b"\x80\x02K\x01r\xff\xff\xff\xff.", "LONG_BINPUT")],
)
def test_a_pickle_can_claim_no_memory_out_of_the_blue(raw, opcode):
    with pytest.raises(DataError, match=f"it holds {opcode}"):
        sources._read_batch("batch", raw, md5(raw).hexdigest())


# ---- folders of images ----


@pytest.fixture
def folder(tmp_path):
    """A folder of PNG images, two of each class for training and one for testing."""
    draws = np.random.default_rng(1)
    names = ["airplane", "Automobile", *sources.CLASSES[2:]]
    for split, n in (("train", 2), ("test", 1)):
        for name in names:
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(n):
                image = Image.fromarray(draws.integers(0, 256, (32, 32, 3), dtype=np.uint8))
                image.save(tmp_path / "images" / split / name / f"any name {9 - i}.PNG")
    return tmp_path / "images"


def test_image_folders_are_read_in_the_official_order_of_classes(folder):
    (folder / "train" / "cat" / "notes.txt").write_text("not an image")
    (folder / "train" / ".hidden").mkdir()
    dataset = sources.load("cifar10", folder)
    assert dataset.classes == sources.CLASSES
    assert dataset.train.labels.tolist() == [label for label in range(10) for _ in range(2)]
    for index, name in ((0, "airplane/any name 8.PNG"), (3, "Automobile/any name 9.PNG"), (6, "cat/any name 8.PNG")):
        expected = np.asarray(Image.open(folder / "train" / name)).transpose(2, 0, 1)
        assert np.array_equal(dataset.train.pixels[index].numpy(), expected)


def test_an_image_folder_never_shares_a_name_with_the_official_images(folder):
    first = sources.load("cifar10", folder)
    Image.new("RGB", (32, 32)).save(folder / "test" / "dog" / "one more.jpg")
    second = sources.load("cifar10", folder)
    assert len({first.slug, second.slug, "cifar10"}) == len({first.name, second.name, "CIFAR-10"}) == 3
    assert first.is_cifar10


def test_jpegs_are_decoded_as_pillow_does(real):
    path = sorted(Path(real.source).glob("test/*plane/*"))
    if not path:
        pytest.skip("needs the real images as a folder of images")
    assert np.array_equal(real.test.pixels[0].numpy(), np.asarray(Image.open(path[0])).transpose(2, 0, 1))
    assert (len(real.train), len(real.test)) == (50_000, 10_000)


def test_the_cache_is_used_until_the_folder_changes(folder, monkeypatch):
    first = sources.load("cifar10", folder)
    monkeypatch.setattr(sources, "_decode", lambda *args: pytest.fail("decoded again"))
    assert sources.load("cifar10", folder).digest == first.digest
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
        digests.append(sources.load("cifar10", folder).digest)
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
def test_a_cache_of_what_cannot_be_images_is_made_anew(folder, name, array):
    first = sources.load("cifar10", folder)
    cache = folder / ".cache-folder.npz"
    with np.load(cache) as content:
        arrays = dict(content) | {name: array}
    np.savez(cache, **arrays)
    assert sources.load("cifar10", folder).digest == first.digest


def test_what_a_killed_run_left_of_a_cache_is_written_over(folder):
    (folder / ".cache-folder.npz.part").write_bytes(b"half of it")
    sources.load("cifar10", folder)
    assert {path.name for path in folder.iterdir()} == {".lock", ".cache-folder.npz", "train", "test"}


@pytest.mark.parametrize("damage", [b"", b"garbage", "half"])
def test_a_damaged_cache_is_made_anew(folder, damage):
    first = sources.load("cifar10", folder)
    cache = folder / ".cache-folder.npz"
    cache.write_bytes(cache.read_bytes()[:5000] if damage == "half" else damage)
    assert sources.load("cifar10", folder).digest == first.digest


def _load_digest(folder, start, results):
    start.wait()
    results.put(sources.load("cifar10", folder).digest)


def test_two_runs_that_start_together_read_the_same(folder):
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=_load_digest, args=(folder, start, results)) for _ in range(2)]
    for process in processes:
        process.start()
    start.set()
    digests = {results.get(timeout=60) for _ in processes}
    for process in processes:
        process.join()
    assert digests == {sources.load("cifar10", folder).digest}
    assert not [path for path in folder.iterdir() if path.name.startswith(".cache-folder.npz.")]


def test_a_folder_that_cannot_be_written_is_read_all_the_same(folder, capsys):
    # Folders in the place of the two files stand for missing permission, which would not bind root.
    (folder / ".lock").mkdir()
    (folder / ".cache-folder.npz").mkdir()
    assert len(sources.load("cifar10", folder).train) == 20
    assert "not cached" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {".lock", ".cache-folder.npz", "train", "test"}


def test_what_is_wrong_with_a_folder_is_said_with_its_path(folder):
    def refused(match):
        with pytest.raises(DataError, match=match):
            sources.load("auto", folder)

    cat = folder / "train" / "cat"
    good = (cat / "any name 8.PNG").read_bytes()
    Image.new("RGB", (32, 31)).save(cat / "any name 8.PNG")
    refused("cat/any name 8.PNG: is RGB 32×31")
    Image.new("L", (32, 32)).save(cat / "any name 8.PNG")
    refused("cat/any name 8.PNG: is L 32×32")
    (cat / "any name 8.PNG").write_text("no image")
    refused("cat/any name 8.PNG: can't be read as an image")
    (cat / "any name 8.PNG").write_bytes(good[:200])
    refused("cat/any name 8.PNG: can't be read as an image")
    (cat / "any name 8.PNG").write_bytes(good)
    (folder / "train" / "cow").mkdir()
    refused("train/cow: not a class of CIFAR-10")
    (folder / "train" / "cow").rmdir()
    shutil.rmtree(folder / "test" / "frog")
    refused("test: has 9 class folders")
    (folder / "test" / "frog").mkdir()
    refused("test/frog: no image in it")


def test_links_are_followed_to_files_and_nowhere_else(folder, tmp_path):
    image = folder / "train" / "cat" / "any name 8.PNG"
    reference = sources.load("cifar10", folder).digest
    image.rename(tmp_path / "elsewhere.png")
    image.symlink_to(tmp_path / "elsewhere.png")
    assert sources.load("cifar10", folder).digest == reference
    for target, message in [
        (tmp_path / "nowhere", "No such file"),
        (image, "Too many levels of symbolic links"),
        (tmp_path, "not a regular file"),
        ("/dev/zero", "not a regular file"),
    ]:
        image.unlink()
        image.symlink_to(target)
        with pytest.raises(DataError, match=f"cat/any name 8.PNG.*{message}"):
            sources.load("auto", folder)
    image.unlink()
    os.mkfifo(image)
    with pytest.raises(DataError, match=r"cat/any name 8.PNG is not a regular file"):
        sources.load("auto", folder)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 32 32\n%%EndComments\n0 0 32 32 rectfill\n%%EOF\n"


def test_a_file_that_pillow_would_give_to_an_interpreter_is_no_image(folder, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args: pytest.fail("it was interpreted"))
    image = folder / "train" / "cat" / "any name 8.PNG"
    image.write_bytes(EPS)
    assert Image.open(image).size == (32, 32), "Pillow takes it for no image anyway"
    with pytest.raises(DataError, match=r"cat/any name 8.PNG: can't be read as an image"):
        sources.load("auto", folder)
    with pytest.raises(DataError, match="can't be read as an image"):
        sources.read_any_image(image)


def test_a_folder_that_is_not_all_of_cifar10_is_pointed_out(folder):
    told = []
    sources.load("cifar10", folder, warn=told.append)
    assert told == [
        f"{folder}/train holds 20 images, CIFAR-10 has 50,000: is it whole?",
        f"{folder}/test holds 10 images, CIFAR-10 has 10,000: is it whole?",
    ]


# ---- download ----


class Source(http.server.BaseHTTPRequestHandler):
    """Serves ``content``; breaks off after ``most`` bytes, and answers ranges unless ``ranges`` is off."""

    content, most, ranges, errors = b"", None, True, 0
    asked: list = []

    def do_GET(self):
        asked = self.headers.get("Range")
        type(self).asked.append(asked)
        if type(self).errors:
            type(self).errors -= 1
            return self.send_error(503)
        if self.path != "/cifar.tar.gz":
            return self.send_error(404)
        start = int(asked[6:-1]) if asked and self.ranges else 0
        if asked and start >= len(self.content):
            return self.send_error(416)
        body = self.content[start:]
        self.send_response(206 if asked and self.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: self.most])

    def log_message(self, *args):
        pass


@pytest.fixture
def source(tiny_archive, monkeypatch):
    """A web server that has the tiny archive, and its handler class."""
    handler = type("Handler", (Source,), {"content": tiny_archive.read_bytes(), "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    yield f"http://127.0.0.1:{server.server_port}/cifar.tar.gz", handler
    server.shutdown()
    server.server_close()


def test_the_archive_is_downloaded_once_from_the_source_that_is_named(source, tiny_official, tmp_path):
    url, handler = source
    for _ in range(2):
        assert_holds(sources.load("auto", tmp_path / "new" / "data", url), *tiny_official[1:])
    assert handler.asked == [None]


def test_of_two_runs_that_start_together_one_downloads(source, tmp_path, monkeypatch):
    url, handler = source
    fetch, arrived, told = download._fetch, threading.Event(), []

    def fetch_late(*args):
        arrived.set()
        threading.Event().wait(0.5)
        fetch(*args)

    monkeypatch.setattr(download, "_fetch", fetch_late)
    loads = []
    first = threading.Thread(target=lambda: loads.append(sources.load("cifar10", tmp_path, url)))
    first.start()
    assert arrived.wait(10)
    loads.append(sources.load("cifar10", tmp_path, url, notice=told.append))
    first.join()
    assert told[0].startswith("waiting for another run")
    assert handler.asked == [None]
    assert loads[0].digest == loads[1].digest


def test_without_a_source_the_official_one_is_asked(source, tmp_path, monkeypatch):
    monkeypatch.setattr(CIFAR10, "url", source[0])
    assert len(sources.load("cifar10", tmp_path / "new").train) == 50


@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_breaks_off_goes_on(source, tmp_path, ranges):
    url, handler = source
    handler.most, handler.ranges = len(handler.content) * 2 // 5, ranges
    if not ranges:
        with pytest.raises(DownloadError, match="broke off after"):
            sources.load("cifar10", tmp_path, url)
        assert not (tmp_path / sources.ARCHIVE).exists()
        handler.most = None
    assert len(sources.load("cifar10", tmp_path, url).train) == 50
    if ranges:
        assert handler.asked == [None, f"bytes={handler.most}-", f"bytes={2 * handler.most}-"]
    assert not list(tmp_path.glob("*.part"))


def test_a_later_run_goes_on_with_what_an_earlier_one_left(source, tmp_path):
    url, handler = source
    (tmp_path / f"{sources.ARCHIVE}.part").write_bytes(handler.content[:1000])
    sources.load("cifar10", tmp_path, url)
    assert handler.asked == ["bytes=1000-"]


def test_a_complete_part_needs_no_more_than_a_question(source, tmp_path):
    url, handler = source
    (tmp_path / f"{sources.ARCHIVE}.part").write_bytes(handler.content)
    assert len(sources.load("cifar10", tmp_path, url).train) == 50


def test_a_part_of_something_else_is_thrown_away(source, tmp_path):
    url, handler = source
    (tmp_path / f"{sources.ARCHIVE}.part").write_bytes(b"x" * 1000)
    sources.load("cifar10", tmp_path, url)
    assert handler.asked == ["bytes=1000-", None]


def test_a_source_that_is_busy_is_asked_again(source, tmp_path):
    url, handler = source
    handler.errors = 2
    assert len(sources.load("cifar10", tmp_path, url).train) == 50


def test_a_download_that_cannot_be_written_is_not_tried_again(source, tmp_path, monkeypatch):
    def full(url, part):
        tries.append(part)
        raise OSError(28, "No space left on device")

    tries = []
    monkeypatch.setattr(download, "_fetch", full)
    with pytest.raises(DownloadError, match="No space left on device"):
        sources.load("cifar10", tmp_path, source[0])
    assert len(tries) == 1


def test_a_source_with_other_content_is_refused_and_nothing_kept(source, tmp_path):
    url, handler = source
    handler.content = handler.content[:-1] + b"?"
    with pytest.raises(DownloadError, match="what came has MD5 .*--data-url"):
        sources.load("cifar10", tmp_path, url)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("cifar")] == []


@pytest.mark.parametrize(
    "url", ["{url}/nowhere", "http://127.0.0.1:9/x", "nonsense", "http://a b/", "file:///does/not/exist"]
)
def test_a_source_that_is_not_there_fails_at_once_or_leaves_the_synthetic_set(source, small_synthetic, tmp_path, url):
    url = url.format(url=source[0])
    with pytest.raises(DownloadError, match="--dataset synthetic"):
        sources.load("cifar10", tmp_path, url)
    assert len(source[1].asked) <= 1
    told = []
    assert not sources.load("auto", tmp_path, url, warn=told.append).is_cifar10
    assert len(told) == 1
    assert "could not be downloaded" in told[0]


def test_the_known_archive_is_the_official_one():
    assert CIFAR10.tgz_md5 == "c58f30108f718f92721af3b95e74349a"
    assert (CIFAR10.filename, CIFAR10.base_folder) == (sources.ARCHIVE, sources.BATCH_FOLDER)


def test_the_known_batches_are_the_official_ones():
    assert dict(CIFAR10.train_list) == sources.TRAIN_BATCHES
    assert dict(CIFAR10.test_list) == sources.TEST_BATCHES


# ---- single images ----


def test_any_image_becomes_32_by_32(tmp_path):
    image = Image.new("RGBA", (300, 100), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (150, 0, 300, 100))
    image.save(tmp_path / "wide.png")
    pixels = sources.read_any_image(tmp_path / "wide.png")
    assert pixels.shape == (3, 32, 32)
    assert pixels[:, 16, 2].tolist() == [255, 255, 255]  # transparent becomes white
    assert pixels[:, 16, 29].tolist() == [255, 0, 0]
    Image.new("L", (5, 7), 9).save(tmp_path / "grey.png")
    assert sources.read_any_image(tmp_path / "grey.png").unique().tolist() == [9]
    deep = Image.fromarray(np.full((4, 4), 257 * 100, dtype=np.uint16))
    deep.save(tmp_path / "deep.png")
    assert sources.read_any_image(tmp_path / "deep.png").unique().tolist() == [100]
    Image.new("F", (4, 4), 0.5).save(tmp_path / "float.tiff")
    with pytest.raises(DataError, match=r"float\.tiff: has floating-point pixels"):
        sources.read_any_image(tmp_path / "float.tiff")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(DataError, match="text.png"):
        sources.read_any_image(tmp_path / "text.png")


def test_a_cifar_image_passes_through_unchanged(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert np.array_equal(sources.read_any_image(tmp_path / "a.png").numpy(), pixels.transpose(2, 0, 1))
