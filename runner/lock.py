"""Locks on folders, held by one process at a time, also where the file system has none, as some network ones.

The lock is the system's, on the file ``.lock``, and is free when its process ends, however it does. A second file,
``.holder``, says who has it. Where the system has no locks, that file alone keeps other processes away; one that a dead
process left is recognised on the same machine, and named on any other.
"""

import contextlib
import errno
import json
import logging
import os
import socket
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from runner import files
from runner.errors import RunnerError

log = logging.getLogger("ex1")

# What the system answers where a file system has no locks, or their service is not there.
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EIO}

HOLDER_FIELDS = {"host": str, "process": int, "since": str, "system_lock": bool}


class FolderLock:
    """A lock on a folder that is there."""

    def __init__(self, folder: Path):
        self.folder, self.path = folder, folder / files.HOLDER
        self._system_lock = FileLock(folder / files.LOCK, fallback_to_soft=False)
        self._is_held = False
        self._has_system_lock = True  # whether the file system has locks, as far as is known
        self._note: dict = {}  # what we wrote into .holder
        self._stat: os.stat_result | None = None  # of the locked file; None without the system's lock

    def acquire(self) -> bool:
        """Take the lock; False if another process has it. Raises OSError if the folder can't be written."""
        problem = ""
        try:
            self._system_lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            problem, self._has_system_lock = str(error.strerror), False

        # A process that has a system lock, and is not there any more, has lost it: its note is of no weight.
        holder = self._read_holder()
        if holder and not is_gone(holder["host"], holder["process"]) and (problem or not holder["system_lock"]):
            self._system_lock.release()
            return False
        if problem:
            log.warning(
                f"{self.folder}: its file system has no locks ({problem}); going on without, "
                f"and {files.HOLDER} in it keeps other processes away"
            )

        # Without a system lock the file must not be there yet; that of a dead process makes room.
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        us = {"host": socket.gethostname(), "process": os.getpid(), "since": since, "system_lock": not problem}
        self._note, self._stat = us, None if problem else os.stat(self._system_lock.lock_file)
        try:
            if holder or not problem:
                self.path.unlink(missing_ok=True)
            with open(self.path, "x", encoding="utf-8") as file:
                json.dump(us, file)
        except FileExistsError:
            return False
        except OSError:
            self._system_lock.release()
            raise
        self._is_held = True
        return True

    def release(self) -> None:
        """Give the lock back, if it was taken."""
        if self._is_held and self.is_ours():
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._is_held = False
        self._system_lock.release()

    def is_ours(self) -> bool:
        """Tell whether what is at the folder's path is still the folder that was locked."""
        with contextlib.suppress(OSError):
            if self._stat:  # a file that is held open shares its number with no other
                return os.path.samestat(self._stat, os.stat(self._system_lock.lock_file))
            return self._read_holder() == self._note
        return False

    @property
    def holder(self) -> str:
        """Who has the lock, in words, and what to do if that process is no more."""
        holder = self._read_holder()
        if not holder:
            return "another process" + f"; if there is none, remove {self.path}" * self.path.exists()
        who = f"process {holder['process']} on {holder['host']} since {holder['since']}"
        is_free_by_itself = holder["system_lock"] and self._has_system_lock
        return who if is_free_by_itself else f"{who}; if that is no more, remove {self.path}"

    def _read_holder(self) -> dict | None:
        """Read the note; None if there is none, or one that nobody could have written."""
        with contextlib.suppress(RunnerError):
            content = files.read_json(self.path)
            return content if files.has_fields(content, HOLDER_FIELDS) else None
        return None


def is_gone(host: str, process: int) -> bool:
    """Tell whether a process was on this machine, and is no more."""
    if host != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        pass
    return False
