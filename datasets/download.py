"""The download of the official archive: it goes on where it broke off, in this run or an earlier one."""

import contextlib
import http.client
import logging
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from errno import EACCES, EDQUOT, EFBIG, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datasets import cifar10
from runner.config import DATA_URL_VARIABLE
from runner.errors import RunnerError

log = logging.getLogger("ex1")

ATTEMPTS = 4
TIMEOUT = 20  # seconds without a byte
BLOCK = 1 << 16  # bytes read at once, at most
AHEAD = 64  # blocks that may wait to be written
# What a source must send in each window: at less the archive takes more than 4 hours, and another source is the way.
SLOWEST = 10_000  # bytes a second
WINDOW = 60  # seconds; an answer, too, is there by then
DISK_ERRORS = {ENOSPC, EDQUOT, EFBIG, EROFS, EACCES, EPERM, ENOENT, ENOTDIR}  # the same request would fail again


class DownloadError(RunnerError):
    """CIFAR-10 could not be downloaded."""


class WrongContent(Exception):
    """What a source sends is not the official archive."""


def download(target: Path, url: str = "") -> None:
    """Download the official archive to ``target``, going on where an earlier attempt broke off.

    What has arrived is kept beside ``target`` with the ending ``.part``; ``target`` itself appears only once its
    MD5 is right. Raises DownloadError if the source is down or slow, or what it sends is longer or has another MD5.
    """
    url = url or cifar10.URL
    part = target.with_name(target.name + ".part")
    log.info(f"downloading CIFAR-10 (163 MiB) from {url}")
    for attempt in range(1, ATTEMPTS + 1):
        if part.is_symlink() or not part.is_file():
            part.unlink(missing_ok=True)  # a link of somebody's, which nothing is written through
        resumed = part.exists()
        try:
            # fetch what is missing, and let only the official archive appear
            _fetch(url, part)
            md5 = cifar10.md5_of(part)
            if md5 != cifar10.ARCHIVE_MD5:
                raise WrongContent(f"what came has MD5 {md5}, not {cifar10.ARCHIVE_MD5}")
            part.replace(target)
            return
        except WrongContent as error:
            part.unlink(missing_ok=True)
            problem, final = str(error), not resumed  # a part that another source began can be what is wrong
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem, final = str(getattr(error, "reason", error)), _is_final(error)

        # give up, or wait a little longer each time
        if final or attempt == ATTEMPTS:
            raise DownloadError(
                f"{url}: {problem}; put {cifar10.ARCHIVE}, {cifar10.BATCH_FOLDER}/ or image folders into "
                f"{target.parent} yourself, or name another source with --data-url or ${DATA_URL_VARIABLE}; "
                "--dataset synthetic needs no download"
            )
        log.info(f"{url}: {problem}; attempt {attempt + 1} of {ATTEMPTS} follows")
        time.sleep(attempt)


def _is_final(error: Exception) -> bool:
    """Tell whether the same request would fail again: no such host, page or scheme, no listener, or our disk."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code < 500
    if isinstance(error, urllib.error.URLError):
        return isinstance(error.reason, (socket.gaierror, ConnectionRefusedError, FileNotFoundError, str))
    return isinstance(error, ValueError) or getattr(error, "errno", None) in DISK_ERRORS


def _fetch(url: str, part: Path) -> None:
    """Append to ``part`` what is missing of ``url``.

    Raises OSError if the connection failed, stalled, slowed down or broke off, WrongContent if there is more than the
    official archive has.
    """
    # ask for the rest
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "ex1"} | ({"Range": f"bytes={have}-"} if have else {})
    arriving = _receive(urllib.request.Request(url, headers=headers))
    try:
        response = next(arriving)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing
            return
        raise

    # a source that knows no ranges sends all of it again
    with contextlib.closing(arriving):
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        most = f"the official archive has {cifar10.ARCHIVE_BYTES:,}"
        if total and total > cifar10.ARCHIVE_BYTES:
            raise WrongContent(f"it would send {total:,} bytes, {most}")
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            for block in arriving:
                have += len(block)
                if have > cifar10.ARCHIVE_BYTES:
                    raise WrongContent(f"it sends {have:,} bytes or more, {most}")
                file.write(block)
                bar.update(len(block))
            if total is not None and have < total:
                raise OSError(f"the connection broke off after {have:,} of {total:,} bytes")


class _Recorded(urllib.request.AbstractHTTPHandler):
    """Keeps the connections that it opens, so that another thread can end them."""

    def __init__(self, connections: list[http.client.HTTPConnection]) -> None:
        super().__init__()
        self.connections = connections

    def do_open(self, http_class: Callable[..., Any], req: urllib.request.Request, **options: Any) -> Any:
        def connect(*arguments: Any, **more: Any) -> http.client.HTTPConnection:
            self.connections.append(http_class(*arguments, **more))
            return self.connections[-1]

        return super().do_open(connect, req, **options)


class _Http(_Recorded, urllib.request.HTTPHandler):
    pass


class _Https(_Recorded, urllib.request.HTTPSHandler):
    pass


def _receive(request: urllib.request.Request) -> Generator[Any, None, None]:
    """Yield the answer to ``request``, then blocks of its content.

    A thread waits for them, as where bytes trickle in any single read may take without end. Raises TimeoutError if less
    comes in a window than must, and what that thread raises.
    """
    arrived: queue.Queue = queue.Queue(AHEAD)
    left = threading.Event()
    connections = list[http.client.HTTPConnection]()
    opener = urllib.request.build_opener(_Http(connections), _Https(connections))

    def read() -> None:
        try:
            with opener.open(request, timeout=TIMEOUT) as response:
                arrived.put(response)
                while not left.is_set() and (block := response.read1(BLOCK)):  # which returns what is there
                    arrived.put(block)
            arrived.put(b"")
        except Exception as error:
            arrived.put(error)

    threading.Thread(target=read, daemon=True).start()
    try:
        item, end, received = None, time.monotonic() + WINDOW, 0
        while item != b"":
            # What is left of the window is waited for; then it has to have brought enough, and another begins.
            with contextlib.suppress(queue.Empty):
                item = arrived.get(timeout=max(0, end - time.monotonic()))
                if isinstance(item, Exception):
                    raise item
                if item != b"":
                    yield item
                received += len(item) if isinstance(item, bytes) else SLOWEST * WINDOW  # the answer counts as enough
            if time.monotonic() >= end:
                if received < SLOWEST * WINDOW:
                    raise TimeoutError(f"less than {SLOWEST:,} bytes a second came for {WINDOW} s")
                end, received = time.monotonic() + WINDOW, 0
    finally:
        # The thread may be in an answer that has no end, which is cut off, or wait for room; what it reads next is its
        # last.
        left.set()
        for connection in connections:
            with contextlib.suppress(AttributeError, OSError):  # no socket yet, or none any more
                connection.sock.shutdown(socket.SHUT_RDWR)
        while not arrived.empty():
            arrived.get_nowait()
