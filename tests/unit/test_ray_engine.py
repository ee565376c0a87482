"""What nodes of a Ray cluster send, without Ray."""

import multiprocessing
import os
import shutil
import socket
import sys

import pytest
import torch

from experiments import ray_engine
from runner import checkpoint
from runner.lock import FolderLock
from tests.helpers.images import listening


@pytest.fixture
def sent(saved_run, tmp_path):
    """The files of a finished run of one epoch, as a node sends them, and the folder where they belong."""
    results = tmp_path / "results"
    contents = {
        str(path.relative_to(results)): path.read_bytes() for path in saved_run.iterdir() if path.name[0] != "."
    }
    return contents | {f"{saved_run.relative_to(results)}.log": b"said there\n"}, saved_run


def lead(folder, epochs=0, steps=0):
    """Makes a run one that is not finished, and so much further."""
    (folder / "metrics.json").unlink()
    saved = torch.load(folder / "last.pt", weights_only=True)
    saved["history"] += [saved["history"][-1] | {"epoch": 2 + number} for number in range(epochs)]
    saved["metrics"]["steps"] += steps
    saved["config"]["epochs"] = 9
    checkpoint.save(folder / "last.pt", {key: value for key, value in saved.items() if key != "version"})


def test_files_of_a_node_are_kept(sent, tmp_path):
    contents, folder = sent
    shutil.rmtree(folder)
    log = folder.with_name(f"{folder.name}.log")
    log.write_text("said here\n", encoding="utf-8")
    ray_engine.take_back(dict(contents), tmp_path / "results")
    assert {path.name for path in folder.iterdir()} - {".lock"} == {name.rpartition("/")[2] for name in contents} - {
        log.name
    }
    assert log.read_text(encoding="utf-8") == "said here\nsaid there\n"
    assert list((tmp_path / "results").glob(".sent-*")) == []


@pytest.mark.parametrize("how", [{"epochs": 3}, {"steps": 7}], ids=str)
def test_files_of_a_node_replace_no_run_that_is_further(sent, tmp_path, how):
    contents, folder = sent
    lead(folder, **how)
    before = (folder / "last.pt").read_bytes()
    unfinished = {name: content for name, content in contents.items() if not name.endswith("metrics.json")}
    ray_engine.take_back(dict(unfinished), tmp_path / "results")
    assert (folder / "last.pt").read_bytes() == before
    ray_engine.take_back(dict(contents), tmp_path / "results")
    assert (folder / "metrics.json").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs flock")
def test_files_of_a_node_replace_no_run_that_is_locked(sent, tmp_path):
    contents, folder = sent
    (folder / "metrics.json").unlink()
    lock, warned = FolderLock(folder), []
    assert lock.acquire()
    with listening(warning=warned.append):
        ray_engine.take_back(dict(contents), tmp_path / "results")
    assert not (folder / "metrics.json").exists()
    assert "is trained by process" in warned[0]


def test_only_tokens_of_dead_sweeps_are_removed(tmp_path):
    process = multiprocessing.get_context("spawn").Process()
    process.start()
    process.join()
    here, names = socket.gethostname(), [".sweep-another-1-x", "report.md"]
    names += [f".sweep-{here}-{os.getpid()}-x", f".sweep-{here}-{process.pid}-x"]
    for name in names:
        (tmp_path / name).touch()
    ray_engine.remove_tokens_of_dead(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(names[:-1])
