"""Feeds mutated input to everything that reads any: it must be read, or refused with a clear error.

python tests/fuzz.py 200000         # that many inputs over all targets, see also: make fuzz
python tests/fuzz.py 1000 checkpoint --seed 7

An input that raises anything but the program's own errors, takes longer than 20 seconds, or crashes the process ends
the fuzzing; so does memory that grows. hypothesis makes the mutations, and reduces an input that fails to a small one.
"""

import argparse
import base64
import contextlib
import functools
import gzip
import io
import itertools
import json
import os
import re
import shutil
import signal
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from hashlib import md5
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.pop("CIFAR10_URL", None)

import numpy as np
import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

import data
import ex1
import models
import runner.tables
import utils
from datasets import cifar10, image_folder, others, published
from experiments import probes
from report import charts, overview, page, plots, results, sequential, tables
from runner import checkpoint, cli, config, files, machine, records, resume, rng
from runner.config import Config
from runner.errors import RunnerError
from runner.lock import FolderLock
from runner.run import open_run
from runner.step import TrainStep
from tests.helpers import forms, internals
from tests.helpers.fake_runs import fake_baselines, fake_run
from tests.helpers.images import listening, load_images, make_images
from tests.helpers.others import write_cifar10_1, write_cifar10_c
from tests.helpers.published import WRITE

SECONDS_AN_INPUT = 20
INPUTS_A_ROUND = 500  # hypothesis remembers what it tried within a round
GROWTH = 150  # MiB

# ---- mutations ----

mutations = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "insert", "delete", "truncate", "repeat"]),
        st.one_of(st.floats(0, 1), st.floats(0, 0.03), st.floats(0.97, 1)),  # what matters is often at the ends
        st.binary(min_size=1, max_size=12),
    ),
    min_size=1,
    max_size=5,
)


def mutate(content: bytes, changes: list) -> bytes:
    """``content`` with ``changes``: what to do, where (as a fraction), and with which bytes."""
    result = bytearray(content)
    for what, where, how in changes:
        at = min(int(where * len(result)), max(len(result) - 1, 0))
        if what == "flip" and result:
            result[at] ^= 1 << how[0] % 8
        elif what == "set":
            result[at : at + len(how)] = how
        elif what == "insert":
            result[at:at] = how
        elif what == "delete":
            del result[at : at + how[0]]
        elif what == "truncate":
            del result[at:]
        elif what == "repeat":
            result[at:at] = result[at : at + how[0]] * (how[-1] % 16)
    return bytes(result)


# ---- targets ----


def drawn(**strategies):
    """Marks a function as one that makes an input of what is drawn, and has it read."""

    def mark(function):
        function.strategies = strategies
        return function

    return mark


def tiny_batch() -> bytes:
    from tests.helpers.official import python2_pickle

    pixels = np.random.default_rng(0).integers(0, 256, (1, 3072), dtype=np.uint8)
    return python2_pickle({"batch_label": "a", "labels": [3], "data": pixels, "filenames": ["a"]})


@functools.cache
def tiny_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in (*cifar10.TRAIN_BATCHES, *cifar10.TEST_BATCHES, "batches.meta"):
            member = tarfile.TarInfo(f"{cifar10.BATCH_FOLDER}/{name}")
            member.size = 700
            tar.addfile(member, io.BytesIO(bytes(700)))
    return buffer.getvalue()


@contextlib.contextmanager
def known_md5(content: bytes):
    """Has ``content`` taken for the official archive, so that what is behind the check is reached."""
    before, cifar10.ARCHIVE_MD5 = cifar10.ARCHIVE_MD5, md5(content).hexdigest()
    yield
    cifar10.ARCHIVE_MD5 = before


def fuzz_archive(folder: Path):
    path = folder / cifar10.ARCHIVE
    compressed = gzip.compress(tiny_tar())

    @drawn(changes=mutations, inside=st.booleans())
    def target(changes, inside):
        content = gzip.compress(mutate(tiny_tar(), changes), 1) if inside else mutate(compressed, changes)
        path.write_bytes(content)
        with known_md5(content), refused_or_read():
            load_images("cifar10", folder)
        with refused_or_read():
            load_images("cifar10", folder)
        (folder / ".cache-archive.npz").unlink(missing_ok=True)

    return target


def fuzz_batch(folder: Path):
    batch = tiny_batch()

    @drawn(changes=mutations)
    def target(changes):
        content = mutate(batch, changes)
        with refused_or_read():
            images = cifar10._unpickle("data_batch_1", content, md5(content, usedforsecurity=False).hexdigest())
            assert images.pixels.shape == (len(images), 3, 32, 32)
            assert set(images.labels.tolist()) <= set(range(10))

    return target


def fuzz_image(folder: Path):
    path = folder / "image.png"
    draws = np.random.default_rng(0)
    image = Image.fromarray(draws.integers(0, 256, (32, 32, 3), dtype=np.uint8))
    encoded = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        encoded.append(buffer.getvalue())

    @drawn(changes=mutations, kind=st.integers(0, len(encoded) - 1))
    def target(changes, kind):
        path.write_bytes(mutate(encoded[kind], changes))
        with refused_or_read():
            assert image_folder._decode_file(str(path)).shape == (3, 32, 32)
        with refused_or_read():
            assert image_folder.read_any_image(path).shape == (3, 32, 32)

    return target


def fuzz_folder(folder: Path):
    names = [*cifar10.CLASSES, "airplane", "automobile", "cow", ".hidden", "CAT", "ship ", "é\udcff"]
    png = folder / "image"
    Image.new("RGB", (32, 32)).save(png, "PNG")
    kinds = {
        "good": lambda path: path.write_bytes(png.read_bytes()),
        "empty": lambda path: path.write_bytes(b""),
        "text": lambda path: path.write_text("text", encoding="utf-8"),
        "link": lambda path: path.symlink_to(png),
        "broken link": lambda path: path.symlink_to("nowhere"),
        "loop": lambda path: path.symlink_to(path),
        "pipe": os.mkfifo,
        "folder": lambda path: path.mkdir(),
        "device": lambda path: path.symlink_to("/dev/zero"),
    }
    entries = st.tuples(
        st.sampled_from(["train", "test"]),
        st.sampled_from(names),
        st.sampled_from(["a.png", "b.jpg", "c.PNG", ".d.png", "notes.txt", "\n.png"]),
        st.sampled_from(sorted(kinds)),
    )
    number = iter(range(10**9))

    @drawn(entries=st.lists(entries, max_size=6), whole=st.booleans())
    def target(entries, whole):
        with tempfile.TemporaryDirectory(dir=folder, prefix=str(next(number))) as place:
            for split in ("train", "test"):
                for name in cifar10.CLASSES if whole else ():
                    (Path(place) / split / name).mkdir(parents=True)
                    kinds["good"](Path(place) / split / name / "z.png")
            for split, name, file, kind in entries:
                path = Path(place) / split / name / file
                path.parent.mkdir(parents=True, exist_ok=True)
                if not path.is_symlink() and not path.exists():
                    kinds[kind](path)
            with refused_or_read():
                load_images("cifar10", place, "http://127.0.0.1:9/x")
            with refused_or_read():
                dataset = load_images("folder", place)
                for images in (dataset.train, dataset.test):
                    assert set(images.labels.tolist()) <= set(range(len(dataset.classes)))

    return target


def fuzz_form(write):
    """Files of a form that ``write`` writes, one of which is damaged, in an archive also before it is packed."""

    def make(folder: Path):
        data_dir = write(folder / "data", make_images(12, 1), make_images(10, 2))
        place = data_dir.parent if data_dir.is_file() else data_dir
        contents = {path: path.read_bytes() for path in sorted(place.rglob("*")) if path.is_file()}
        if data_dir.is_file():
            contents = {data_dir: contents[data_dir]}

        @drawn(changes=mutations, which=st.sampled_from(sorted(contents)), inside=st.booleans())
        def target(changes, which, inside):
            if inside and which.suffix in (".tgz", ".gz"):
                which.write_bytes(gzip.compress(mutate(gzip.decompress(contents[which]), changes), 1))
            else:
                which.write_bytes(mutate(contents[which], changes))
            with refused_or_read():
                dataset = load_images("cifar10", data_dir, "http://127.0.0.1:9/x")
                for images in (dataset.train, dataset.test):
                    assert images.pixels.shape == (len(images), 3, 32, 32)
                    assert set(images.labels.tolist()) <= set(range(10))
            which.write_bytes(contents[which])
            for cache in place.rglob(".cache-*"):
                cache.unlink()

        return target

    return make


def fuzz_others(write):
    """Images to test a trained network on as ``write`` writes them, one file of which is damaged."""

    def make(folder: Path):
        write(folder / "there", make_images(10))
        contents = {path: path.read_bytes() for path in sorted((folder / "there").iterdir())}

        @drawn(changes=mutations, which=st.sampled_from(sorted(contents)))
        def target(changes, which):
            which.write_bytes(mutate(contents[which], changes))
            with refused_or_read(), listening():
                for part in others.find(folder / "there", cifar10.CLASSES).parts:
                    assert part.images.pixels.shape == (len(part.images), 3, 32, 32)
                    assert set(part.images.labels.tolist()) <= set(range(10))
            which.write_bytes(contents[which])

        return target

    return make


def fuzz_published(kind):
    """Files of another data set as torchvision leaves them, one of which is damaged, and has the MD5 that is asked."""

    def make(folder: Path):
        WRITE[kind](folder, make_images(12, 1), make_images(10, 2))
        contents = {path: path.read_bytes() for path in sorted(folder.iterdir())}
        source = published.SETS[kind]

        @drawn(changes=mutations, which=st.sampled_from(sorted(contents)), inside=st.booleans())
        def target(changes, which, inside):
            packed = inside and which.suffix == ".gz"
            content = mutate(gzip.decompress(contents[which]) if packed else contents[which], changes)
            which.write_bytes(gzip.compress(content, 1) if packed else content)
            if which.suffix == ".gz":  # or the unpacked file would be read
                which.with_suffix("").unlink()
            known = {path.name: md5(path.read_bytes()).hexdigest() for path in folder.iterdir()}
            as_known = mock.patch.dict(published.SETS, {kind: source._replace(md5=source.md5 | known)})
            with as_known, refused_or_read():
                dataset = load_images(kind, folder)
                for images in (dataset.train, dataset.test):
                    assert images.pixels.shape == (len(images), 3, 32, 32)
                    assert set(images.labels.tolist()) <= set(range(len(dataset.classes)))
            for path, content in contents.items():
                path.write_bytes(content)

        return target

    return make


@functools.cache
def a_checkpoint() -> dict:
    rng.seed_everything(0)
    model = models.build("Q1_4")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(torch.zeros(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    row = dict.fromkeys(checkpoint.ROW, 0.5) | {"epoch": 1}
    metrics = {"images": 0, "loss_sum": 0.0, "correct": 0, "logits": [torch.zeros(4, 10)], "steps": 1, "seconds": 0.1}
    dataset = {"name": "CIFAR-10", "slug": "cifar10", "sha256": "0", "seed": None, "classes": list(cifar10.CLASSES)}
    return {
        "version": checkpoint.VERSION,
        "config": vars(Config("Q1_4", epochs=2, device="cpu")).copy(),
        "machine": {"threads": 1, "precision": "fp32", "versions": {}},
        "dataset": dataset,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": rng.rng_state(torch.device("cpu")),
        "history": [row],
        "metrics": metrics,
    }


@functools.cache
def this_machine() -> dict:
    return machine.describe(machine.Machine(torch.device("cpu"), "fp32", 1))


def use_checkpoint(folder: Path):
    """Reads a checkpoint for every use there is."""
    with refused_or_read():
        resume.describe(folder)
    with refused_or_read():
        loaded = probes.load_run(str(folder), "last", {}, ex1.validate)
        loaded.model(torch.zeros(1, 3, 32, 32))
        checkpoint.position(loaded.saved)
    with refused_or_read(), listening():
        setting = resume.resumed_config(str(folder), {})
        with open_run(setting, a_checkpoint()["dataset"], str(folder)) as run:
            run.machine = this_machine()
            model = models.build("Q1_4")
            step = TrainStep(model, torch.optim.SGD(model.parameters(), lr=0.1))
            state = ex1.TrainState(step, torch.device("cpu"))
            if run.saved:
                loader = data.Loader(make_images(12), data.TRAIN, setting.batch_size)
                ex1.restore(state, run.saved, run, loader)
            assert all([str(state.metrics), str(state.history), run.last_checkpoint_text, run.resume_command])


def fuzz_checkpoint(folder: Path):
    buffer = io.BytesIO()
    torch.save(a_checkpoint(), buffer)
    archive = buffer.getvalue()
    sealed = checkpoint._add_checksum(archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as content:
        parts = [(name, content.read(name)) for name in content.namelist()]
    pickled = next(name for name, _ in parts if name.endswith("data.pkl"))

    def repacked(changes):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as content:
            for name, part in parts:
                content.writestr(name, mutate(part, changes) if name == pickled else part)
        return buffer.getvalue()

    @drawn(changes=mutations, how=st.sampled_from(["damaged", "forged", "pickle forged"]))
    def target(changes, how):
        if how == "damaged":  # the checksum must tell
            content = mutate(sealed, changes)
            (folder / "last.pt").write_bytes(content)
            if content != sealed:
                with contextlib.suppress(RunnerError):
                    checkpoint.load(folder)
                    raise AssertionError("the damage was not noticed")
        else:  # somebody has made the checksum right again
            forged = repacked(changes) if how == "pickle forged" else mutate(archive, changes)
            (folder / "last.pt").write_bytes(checkpoint._add_checksum(forged))
            use_checkpoint(folder)

    return target


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}),
    st.integers(-3, 300).map(lambda n: torch.zeros(max(n, 0))), st.lists(st.integers(), max_size=3),
)  # fmt: skip


def json_paths(content, path=()):
    """All places in dictionaries and lists, each as its keys."""
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from json_paths(value, (*path, key))


def with_value(content, path, value, drop=False):
    """A copy of ``content`` with another value in a place, or none."""
    if not path:
        return value
    copy = content.copy()
    if len(path) == 1 and drop:
        del copy[path[0]]
    else:
        copy[path[0]] = with_value(copy[path[0]], path[1:], value, drop)
    return copy


def fuzz_content(folder: Path):
    """Checkpoints that are whole, with other values in them."""

    places = [path for path in json_paths(a_checkpoint()) if path and "key" not in path[:-1]]

    @drawn(path=st.sampled_from(places), value=scalars, drop=st.booleans())
    def target(path, value, drop):
        buffer = io.BytesIO()
        torch.save(with_value(a_checkpoint(), path, value, drop), buffer)
        (folder / "last.pt").write_bytes(checkpoint._add_checksum(buffer.getvalue()))
        use_checkpoint(folder)

    return target


def fuzz_json(folder: Path):
    settings = {"settings": a_checkpoint()["config"], "data": a_checkpoint()["dataset"]}
    settings |= {"machine": a_checkpoint()["machine"], "parameters": 1, "macs": 1}
    test = utils.EvalMetrics(1.0, torch.eye(10, dtype=torch.int64), 0.5)
    metrics = {"epochs": 1, "test": test.as_dict(cifar10.CLASSES)}

    @drawn(changes=mutations)
    def target(changes):
        (folder / files.CONFIG).write_bytes(mutate(json.dumps(settings, indent=1).encode(), changes))
        with refused_or_read():
            resume.resumed_config(str(folder), {})
        (folder / files.METRICS).write_bytes(mutate(json.dumps(metrics, indent=1).encode(), changes))
        with refused_or_read():
            result = records.read_metrics(folder)["test"]
            assert 0 <= result["accuracy"] <= 1
            assert all(utils.result_lines(result))

    return target


def fuzz_tables(folder: Path):
    """A study that is kept as tables, one of its files changed."""
    confusion = [[900 * (i == j) + 10 for j in range(10)] for i in range(10)]
    for run in (fake_run(folder, model, epochs=2, confusion=confusion) for model in ("Q1_1", "Q1_4")):
        files.write_json(run / files.TRANSFER, {"epoch": 2, "weights": "last", "test_accuracy": {"none": 0.5}})
    kept = {path: path.read_bytes() for path in tables.keep(folder)[0]}
    shutil.rmtree(folder / "cifar10")

    @drawn(path=st.sampled_from(sorted(kept)), changes=mutations)
    def target(path, changes):
        runner.tables._read.cache_clear()  # which goes by the time of a file
        for each, content in kept.items():
            each.write_bytes(mutate(content, changes) if each == path else content)
        with refused_or_read():
            for run_set in results.read_run_sets(folder):
                for run in run_set.finished:
                    assert 0 <= run.test <= 100
                    results.read_run_json(run, files.TRANSFER, dict, [])

    return target


def fuzz_commands(folder: Path):
    flags = [config.flag_of(name) for name in config.FIELDS]
    flags += ["--evaluate", "--predict", "--from", "--resume", "--weights", "--quiet", "--debug", "--list-models", "-h"]
    values = ["Q1_1", "q2-2", "Q1_99", "0", "1", "-1", "nan", "inf", "1e400", "1e-400", "99999999999999999999", "0.5"]
    values += ["fixed", "per-image", "none", "auto", "holdout", "best", "", " ", "--", "-", "é", "%s", "%(prog)s", "{}"]
    values += [
        "/dev/null",
        "nowhere.py",
        "x" * 5000,
        "x" * 300,
        "\0",
        "\udcff",
        "1_0",
        "０",
        "١",
        "~",
        "~/x",
        "~nobody/x",
    ]
    word = st.one_of(
        st.sampled_from(flags), st.sampled_from(values), st.text(max_size=8),
        st.tuples(st.sampled_from(flags), st.sampled_from(values)).map("=".join),
    )  # fmt: skip

    @drawn(argv=st.lists(word, max_size=8), sensible=st.booleans())
    def target(argv, sensible):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code = cli.parse(["--model-name", "Q1_1", *argv] if sensible else argv) and 0
            except SystemExit as stopped:
                code = stopped.code
        assert code == 0 or (code == 2 and "ex1.py: error: " in err.getvalue())

    return target


def fuzz_names(folder: Path):
    """Names of runs, each with many settings: they name a folder, and no other run's."""
    numbers = {
        field.name: st.integers(field.metadata["low"], field.metadata["high"] or 10**6)
        for field in config.FIELDS.values()
        if field.type is int and field.metadata["names_run"] and field.name not in ("limit", "holdout", "patience")
    }
    numbers |= {"lr": st.floats(1e-9, 9), "weight_decay": st.floats(0, 1), "label_smoothing": st.floats(0, 1)}
    some = {"val": st.just("holdout"), "init": st.just("kaiming"), "val_shuffle": st.sampled_from(config.SHUFFLES)}
    seen: dict[str, str] = {}
    letters = st.text(st.characters(categories=["L", "Nd"], include_characters="_-."), max_size=139)

    values = st.fixed_dictionaries({}, optional=numbers | some)

    @drawn(name=letters, values=values, seed=st.integers(0, config.MAX_SEED))
    def target(name, values, seed):
        settings = Config.from_given({"model_name": "x" + name, "recipe": "fast", **values, "seed": seed})
        short, full = settings.run_name, settings.full_name
        assert len(f"{short}__run-99.log".encode()) <= 143
        assert not set(short) & set("/:\0")
        assert full == short or "-more-" in short
        assert seen.setdefault(short, full) == full
        (folder / short).touch()
        (folder / short).unlink()

    return target


def fuzz_holder(folder: Path):
    """Notes of who has a lock, where the file system has none."""
    note = json.dumps({"host": "here", "process": 1, "since": "2026-01-02T03:04:05", "system_lock": False}).encode()

    @drawn(changes=mutations, value=scalars, key=st.sampled_from(["host", "process", "since", "system_lock"]))
    def target(changes, value, key):
        forged = json.dumps(
            {**json.loads(note), key: str(value) if isinstance(value, torch.Tensor) else value}
        ).encode()
        for content in (mutate(note, changes), forged):
            (folder / files.HOLDER).write_bytes(content)
            lock = FolderLock(folder)
            is_free = lock.acquire()
            assert is_free or lock.holder
            lock.release()
            assert is_free != (folder / files.HOLDER).exists()

    return target


def fuzz_results(folder: Path):
    """Folders of results that somebody else made: files, links and folders of any kind in any place."""
    outside, template = folder / "outside", folder / "template"
    outside.mkdir()
    (outside / "secret").write_bytes(SECRET)
    for number, shuffle in ((0, "none"), (1, "none"), (0, "per-image"), (0, "block:4")):
        fake_run(template, "Q1_1", number, shuffle, epochs=2, accuracy=30)
    fake_run(template, "Q2_1", epochs=2)
    confusion = [[100 + 800 * (i == j) - 800 * (i == j == 0) for j in range(10)] for i in range(10)]
    fake_run(template, "Q1_2", epochs=2, confusion=confusion)
    slug, cues = "synthetic-colour-1-position-1", {"dataset": "synthetic", "cues": "colour,position"}
    torn = {"cues": ["colour", "position"], "images": 9, "answers": {"colour": 0.5, "position": 0.3, "neither": 0.2}}
    judged = fake_run(template, "Q1_4", slug=slug, epochs=2, **cues)
    files.write_json(judged / files.CONFLICT, {"epoch": 2, "weights": "last", "pairs": [torn]})
    fake_baselines(template / slug)
    fake_baselines(template / "cifar10")
    run, affine = template / "cifar10/Q1_1/Q1_1__shuffle-none__epochs-2__seed-1", template / "cifar10/Q2_1"
    (template / "cifar10/report").mkdir()
    for picture in (template / "cifar10/report" / files.SAMPLES, run / files.SAMPLES, *affine.glob("*")):
        picture = picture / files.TEMPLATES if picture.is_dir() else picture
        picture.write_bytes(internals.blank_png())
    transfer = {"trained_with": "none", "epoch": 2, "weights": "last"}
    files.write_json(run / files.TRANSFER, transfer | {"test_accuracy": dict.fromkeys(config.SHUFFLES, 0.5)})
    scores = dict.fromkeys(("own_mean", "own_sd", "others_sd", "own_highest", "own_lowest"), 0.5)
    matrix = {"network_parameters": 9, "largest_difference": 0.1, "effective_rank": 2.0, "uniform_share": 0.5}
    matrix |= {"scores": scores, "untrained": scores | {"uniform_share": 0.1}, "epoch": 2, "weights": "last"}
    files.write_json(next(affine.glob("*")) / files.MATRIX_FACTS, matrix)
    on = {"epoch": 2, "weights": "last", "name": "CIFAR-10-C", "sha256": "a" * 64, "images": 9, "accuracy": 0.5}
    files.write_json(run / f"{files.ON}cifar10-c-aaaaaaaa.json", on | {"corruptions": {"fog": [0.5] * 5}})
    compared = {"Q1_2": sequential.Comparison(0.5, 0.2)}
    look = sequential.Look(1, 2, 1, 0.5, "Q1_1", compared, [path.name for path in template.glob("cifar10/Q1_[12]/*")])
    sequential.write_look(template / "cifar10", "aaaaaaaa", look)
    names = [str(path.relative_to(template)) for path in sorted(template.rglob("*"))]
    names += [f"cifar10/{name}" for name in ("report.md", "report.html", "gallery.md", "report/parameters.png")]
    contents = {name: (template / name).read_bytes() for name in names if (template / name).is_file()}
    hostile = [
        "../../outside/x",
        "\x1b[2J",
        "# x",
        "$\\frac$",
        "\u202e",
        "a" * 10**4,
        10**400,
        1e308,
        -1,
        7.5,
        "\ud800",
    ]

    def put(path: Path, how: str, value, changes: list) -> None:
        """Puts something else at ``path``."""
        name = str(path.relative_to(place))
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        if how == "mutated":
            path.write_bytes(mutate(contents.get(name, b"x"), changes))
        elif how == "value" and name.endswith(".json"):
            content = json.loads(contents[name])
            keys = list(json_paths(content))
            keys = keys[changes[0][2][0] * len(keys) // 256]
            path.write_text(json.dumps(with_value(content, keys, value)), encoding="utf-8")
        elif how == "value" and name in contents:
            lines = [line.split(b",") for line in contents[name].split(b"\n")]
            cells = lines[int(changes[0][1] * (len(lines) - 1))]
            cells[changes[0][2][0] % len(cells)] = str(value).encode(errors="replace")
            path.write_bytes(b"\n".join(map(b",".join, lines)))
        elif how == "pipe":
            os.mkfifo(path)
        elif how == "folder":
            path.mkdir()
        elif how in links:
            path.symlink_to(links[how])

    links = {
        "link": outside / "secret",
        "link to a folder": outside,
        "endless": "/dev/zero",
        "dangling": outside / "new",
    }
    links |= {"loop": "report", "up": "..", "root": "/"}
    place = folder / "place"
    kinds = st.sampled_from(["mutated", "value", "value", "pipe", "folder", "gone", *links])
    values = scalars.map(lambda value: None if isinstance(value, torch.Tensor) else value) | st.sampled_from(hostile)
    internals.render_no_figures()
    os.fsync = lambda number: None
    made = itertools.count()

    @drawn(odd=st.lists(st.tuples(st.sampled_from(names), kinds, values, mutations), min_size=1, max_size=2))
    def target(odd):
        shutil.copytree(template, place, copy_function=os.link)  # nothing is written in place
        try:
            for name, how, value, changes in odd:
                if all(parent.is_dir() and not parent.is_symlink() for parent in (place / name).parents):
                    put(place / name, how, value, changes)
            composed = contextlib.nullcontext() if next(made) % 100 == 0 else figures_left_out()
            # A page, or a figure, can't be written where there is a folder of its name.
            with refused_or_read(), composed, contextlib.suppress(IsADirectoryError):
                report = overview.write(place).path
                for written in (report, report.with_suffix(".md")):
                    # What draws charts is a library's own text.
                    text = written.read_text(encoding="utf-8").replace(charts.script() or "\0", "")
                    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
                    assert base64.b64encode(SECRET[:9]).decode() not in text
            assert [path.name for path in outside.iterdir()] == ["secret"]
            assert (outside / "secret").read_bytes() == SECRET
        finally:
            shutil.rmtree(place)

    return target


SECRET = b"-----BEGIN PRIVATE KEY-----"


@contextlib.contextmanager
def figures_left_out():
    """Has no figure composed, which takes most of the time of a report."""
    names = [name for name in vars(plots) if name.startswith("plot_") and name != "plot_samples"]
    before = {name: getattr(plots, name) for name in names}
    for name in names:
        setattr(plots, name, lambda path, *args: page.Figure(path, "a figure", b""))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(plots, name, function)


TARGETS = {
    "archive": fuzz_archive,
    "batch": fuzz_batch,
    "image": fuzz_image,
    "folder": fuzz_folder,
    "parquet": fuzz_form(forms.write_parquet),
    "binary": fuzz_form(forms.write_binary_archive),
    "matlab": fuzz_form(functools.partial(forms.write_matlab, compressed=False)),
    "npz": fuzz_form(forms.write_npz),
    "npy": fuzz_form(forms.write_npy),
    "image archive": fuzz_form(forms.write_folder_archive),
    "kaggle": fuzz_form(forms.write_kaggle),
    "cifar10.1": fuzz_others(write_cifar10_1),
    "cifar10-c": fuzz_others(functools.partial(write_cifar10_c, corruptions=["fog"])),
    **{kind: fuzz_published(kind) for kind in WRITE},
    "checkpoint": fuzz_checkpoint,
    "content": fuzz_content,
    "json": fuzz_json,
    "tables": fuzz_tables,
    "results": fuzz_results,
    "holder": fuzz_holder,
    "names": fuzz_names,
    "commands": fuzz_commands,
}

# ---- running them ----


@contextlib.contextmanager
def refused_or_read():
    try:
        yield
    except RunnerError as error:
        if not str(error).strip():
            raise AssertionError("an error without a message") from error


class Hang(BaseException):
    pass


def with_time_limit(function):
    def too_long(number, frame):
        raise Hang(f"an input took more than {SECONDS_AN_INPUT} s")

    @functools.wraps(function)
    def limited(*args, **kwargs):
        signal.signal(signal.SIGALRM, too_long)
        signal.alarm(SECONDS_AN_INPUT)
        try:
            return function(*args, **kwargs)
        finally:
            signal.alarm(0)

    return limited


def memory() -> float:
    """What this process holds in memory now, in MiB."""
    with open("/proc/self/statm", encoding="utf-8") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def fuzz(name: str, inputs: int, first_seed: int) -> str:
    """Feeds ``inputs`` to a target, in rounds, and returns what to say of it.

    Raises:
        Exception: what an input raised.
        MemoryError: memory grew.
    """
    began, early = time.monotonic(), None
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[name](Path(folder))
        rounds = -(-inputs // INPUTS_A_ROUND)
        for number in range(rounds):
            some = min(INPUTS_A_ROUND, inputs - number * INPUTS_A_ROUND)
            limits = settings(max_examples=some, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            seed(first_seed + number)(limits(given(**target.strategies)(with_time_limit(target))))()
            if number == rounds // 5:
                early = memory()
    growth = memory() - early
    if growth > GROWTH:
        raise MemoryError(f"{name}: memory grew by {growth:.0f} MiB")
    seconds = time.monotonic() - began
    return f"{name}: {inputs:,} inputs in {seconds:.0f} s, memory {growth:+.0f} MiB since a fifth of them"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("inputs", type=int, nargs="?", default=200_000, help="over all targets")
    parser.add_argument("targets", nargs="*", metavar="target", help=f"any of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # Pillow has many for damaged files
    chosen = options.targets or list(TARGETS)
    for name in chosen:
        print(fuzz(name, -(-options.inputs // len(chosen)), options.seed), flush=True)
