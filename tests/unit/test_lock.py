"""Locks on folders, with and without those of the system."""

import errno
import json
import multiprocessing
import os
import shutil
import socket
import sys

import pytest

from datasets import cache
from runner import run
from runner.errors import BusyError, RunnerError
from runner.lock import FolderLock
from tests.helpers.images import listening

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs flock")
PROCESSES = multiprocessing.get_context("spawn")


@pytest.fixture(params=[None, errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO, errno.ENOSYS])
def system(request, monkeypatch):
    """A file system whose locks answer with an error; None: one that has locks."""
    import fcntl

    def flock(file, operation):
        raise OSError(request.param, os.strerror(request.param))

    if request.param:
        monkeypatch.setattr(fcntl, "flock", flock)
    return request.param


def holder(folder, host=None, process=None, system_lock=False):
    """Writes who has the lock of a folder."""
    note = {"host": host or socket.gethostname(), "process": process or os.getppid(), "since": "2026-01-02T03:04"}
    (folder / ".holder").write_text(json.dumps(note | {"system_lock": system_lock}), encoding="utf-8")


@pytest.fixture(scope="module")
def ended():
    """The number of a process that is no more."""
    process = PROCESSES.Process()
    process.start()
    process.join()
    return process.pid


def test_lock_is_held_by_one(tmp_path, system):
    warned = []
    first, second = FolderLock(tmp_path), FolderLock(tmp_path)
    with listening(warning=warned.append):
        assert first.acquire()
        assert not second.acquire()
        assert f"process {os.getpid()} on {socket.gethostname()} since 20" in second.holder
        second.release()
        assert not FolderLock(tmp_path).acquire()
        first.release()
        assert {path.name for path in tmp_path.iterdir()} <= {".lock"}
        assert second.acquire()
    assert len(warned) == (2 if system else 0)
    assert all(f"{tmp_path}: its file system has no locks" in text for text in warned)


def test_lock_on_a_folder_that_was_made_anew_is_no_more_ours(tmp_path, system):
    folder = tmp_path / "run"
    folder.mkdir()
    lock = FolderLock(folder)
    with listening():
        assert lock.acquire()
    assert lock.is_ours()
    shutil.rmtree(folder)
    assert not lock.is_ours()
    folder.mkdir()
    (folder / ".lock").touch()
    holder(folder, system_lock=system is None)
    assert not lock.is_ours()
    lock.release()
    assert (folder / ".holder").exists()  # which is another's


def test_dead_process_of_this_machine_holds_nobody_up(tmp_path, system, ended):
    holder(tmp_path, process=ended)
    with listening():
        assert FolderLock(tmp_path).acquire()


@pytest.mark.parametrize("where", [{}, {"host": "node17"}])
def test_lock_without_system_lock_is_kept(tmp_path, system, where):
    holder(tmp_path, **where)
    lock = FolderLock(tmp_path)
    with listening():
        assert not lock.acquire()
        assert f"if that is no more, remove {tmp_path / '.holder'}" in lock.holder
        assert f"process {os.getppid()} on {where.get('host', socket.gethostname())} since 2026-01-02" in lock.holder
        (tmp_path / ".holder").unlink()
        assert lock.acquire()


def test_lock_of_a_system_that_we_do_not_have_is_told_with_its_remedy(tmp_path, system):
    holder(tmp_path, host="node17", system_lock=True)
    lock = FolderLock(tmp_path)
    with listening():
        assert lock.acquire() == (system is None)
    assert system is None or f"remove {tmp_path / '.holder'}" in lock.holder


def test_system_lock_that_is_free_is_nobodys(tmp_path):
    holder(tmp_path, host="node17", system_lock=True)
    assert FolderLock(tmp_path).acquire()


def test_damaged_note_keeps_away_without_system_lock_alone(tmp_path, system):
    (tmp_path / ".holder").write_text("{", encoding="utf-8")
    lock = FolderLock(tmp_path)
    with listening():
        assert lock.acquire() == (system is None)
    assert system is None or f"remove {tmp_path / '.holder'}" in lock.holder


def test_run_of_another_machine_is_named(tmp_path, system):
    holder(tmp_path, host="node17")
    with pytest.raises(BusyError, match="is being trained by process .* on node17 since .* remove"):
        run._lock_first([tmp_path])


def test_reading_waits_with_a_word(tmp_path, system, monkeypatch):
    holder(tmp_path, host="node17")
    warned = []
    monkeypatch.setattr(cache.time, "sleep", lambda seconds: (tmp_path / ".holder").unlink())
    with listening(warning=warned.append), cache.lock(tmp_path):
        pass
    assert "waiting for another run that is reading" in warned[0]
    assert "on node17 since" in warned[0]


def test_failed_lock_leaves_no_folder(tmp_path, monkeypatch):
    def acquire(lock):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(FolderLock, "acquire", acquire)
    with pytest.raises(RunnerError, match="can't be written: No space left"):
        run._new_folder(tmp_path, "run")
    assert list(tmp_path.iterdir()) == []
