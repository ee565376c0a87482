"""The download of the official archive, from the first fast source; it goes on where it, or an earlier run, stopped."""

import contextlib
import http.client
import logging
import math
import queue
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from errno import EACCES, EDQUOT, EFBIG, EISDIR, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path
from typing import Any

from tqdm import tqdm

from datasets import cifar10, forms
from runner.config import DATA_URL_VARIABLE
from runner.errors import RunnerError

log = logging.getLogger("ex1")

RETRIES = 3  # of sources that failed, of all together
TIMEOUT = 20  # seconds without a byte
BLOCK = 1 << 16  # bytes read at once, at most
AHEAD = 64  # blocks that may wait to be written
# What a source must send in each window while another may be better: at this the archive takes 6 minutes.
ENOUGH = 500_000  # bytes a second
TRIAL = 10  # seconds; an answer, too, is there by then
# The same where no other is better: at less the archive takes more than 4 hours.
SLOWEST = 10_000  # bytes a second
WINDOW = 60  # seconds
DISK_ERRORS = {ENOSPC, EDQUOT, EFBIG, EROFS, EACCES, EPERM, ENOENT, ENOTDIR, EISDIR}  # no source is at fault


class DownloadError(RunnerError):
    """CIFAR-10 could not be downloaded."""


class WrongContent(Exception):
    """What a source would send is not the official archive."""


class TooSlow(TimeoutError):
    """A source sends less than it must."""


@dataclass
class Source:
    """A place that the archive may be had from, and what this run knows of it."""

    url: str
    problem: str = ""  # why it was left last; none as long as it was not asked
    rate: float = 0.0  # bytes a second, when it was asked last
    failures: int = 0
    is_out: bool = False  # the same question would have the same answer

    def worth(self) -> float:
        """Rate it for being asked again: a failure counts like a tenth of the speed."""
        return self.rate / 10**self.failures


def download(target: Path, url: str = "") -> None:
    """Download the official archive to ``target``, from ``url`` or else the first known source that is fast.

    What has arrived is kept beside ``target`` with the ending ``.part``; ``target`` itself appears only once its MD5
    is right. Raises DownloadError if every source is down, hardly sends anything or has something else.
    """
    part = target.with_name(target.name + ".part")
    sources = [Source(each) for each in dict.fromkeys((url, *cifar10.SOURCES)) if each]
    by_hand = f"put it into {target.parent} yourself, as"
    first = f"downloading CIFAR-10 (163 MiB); --dataset synthetic begins at once, or {by_hand} "
    said = first + f"{cifar10.ARCHIVE}, Hugging Face's Parquet files or another form (docs/usage.md); asking "
    senders, is_alone, retries = {"an earlier run"}, False, 0  # who sent what is in ``part``; all must come from one
    while usable := [source for source in sources if not source.is_out]:
        # ask the first that was not asked yet, else the best
        source = min(usable, key=lambda each: (each.problem != "", -each.worth(), each.failures))
        retries += source.failures > 0
        if retries > RETRIES:
            break
        log.info(said + source.url)
        time.sleep(retries if source.failures else 0)

        # fetch what is missing, writing through no link of somebody's, and let only the official archive appear
        try:
            is_ours = part.is_file() and not part.is_symlink() and part.stat().st_size <= cifar10.ARCHIVE_BYTES
            if not is_ours or (is_alone and senders != {source.url}):
                part.unlink(missing_ok=True)
                senders.clear()
            _fetch(source, part, senders, _least(source, usable))
            md5 = cifar10.md5_of(part)
            if md5 == cifar10.ARCHIVE_MD5:
                part.replace(target)
                return
            part.unlink()
            source.problem = f"what came has MD5 {md5}, not {cifar10.ARCHIVE_MD5}"
            source.is_out = senders == {source.url}
            if not source.is_out:  # any of them may have sent the wrong byte: each has to send all of it from now on
                source.problem += f", and came in part from {' and '.join(sorted(senders - {source.url}))}"
                is_alone = True
        except WrongContent as error:
            source.problem, source.is_out = str(error), True
        except (OSError, ValueError, http.client.HTTPException) as error:
            source.problem, source.is_out = str(getattr(error, "reason", error)), _is_final(error)
            source.failures += not isinstance(error, TooSlow) or source.rate < SLOWEST
            if getattr(error, "errno", None) in DISK_ERRORS:
                break
        said = f"{source.url}: {source.problem}; next is asked "

    # name what was tried, a problem of several once
    problems: dict[str, list[str]] = {}
    for source in sources:
        if source.problem:
            problems.setdefault(source.problem, []).append(source.url)
    tried = "; ".join(f"{', '.join(urls)}: {problem}" for problem, urls in problems.items())
    raise DownloadError(
        f"{tried}; {by_hand} {forms.FORMS}; or name another source with --data-url or ${DATA_URL_VARIABLE}; "
        "--dataset synthetic needs no download"
    )


def _least(source: Source, usable: list[Source]) -> float:
    """Tell below how many bytes a second a source is left for another, which happens to each once."""
    if source.problem:
        return 0
    others = [other.worth() if other.problem else math.inf for other in usable if other is not source]
    return min(ENOUGH, max(others, default=0))


def _is_final(error: Exception) -> bool:
    """Tell whether the same request would fail again: no such host, page or scheme, or no listener."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code < 500
    if isinstance(error, urllib.error.URLError):
        return isinstance(error.reason, (socket.gaierror, ConnectionRefusedError, FileNotFoundError, str))
    return isinstance(error, ValueError)


def _fetch(source: Source, part: Path, senders: set[str], least: float) -> None:
    """Write to ``part`` what is missing, from ``source``, which joins ``senders``.

    Raises OSError if the connection failed, broke off, or gave less than ``least`` bytes a second, WrongContent if the
    answer is a page, or is not as long as the official archive.
    """
    # ask for the rest
    have = part.stat().st_size if part.exists() else 0
    if have == cifar10.ARCHIVE_BYTES:
        return
    headers = {"User-Agent": "ex1"} | ({"Range": f"bytes={have}-"} if have else {})
    with contextlib.closing(_receive(urllib.request.Request(source.url, headers=headers), least)) as arriving:
        response = next(arriving)

        # a source that knows no ranges sends all of it again, which is written over what is there
        total, done = cifar10.ARCHIVE_BYTES, have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        if response.headers.get_content_type() == "text/html":
            raise WrongContent("it sends a page, not the archive")
        if length and done + int(length) != total:
            raise WrongContent(f"it would send {done + int(length):,} bytes, the official archive has {total:,}")
        first, begin = done, time.monotonic()
        with (
            open(part, "r+b" if have else "wb") as file,
            tqdm(total=total, initial=first, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            file.seek(first)
            try:
                while done < total and (block := next(arriving, b"")):
                    block = block[: total - done]
                    senders.add(source.url)
                    done += file.write(block)
                    bar.update(len(block))
            finally:
                source.rate = (done - first) / max(time.monotonic() - begin, 1e-3)
    if done < total:
        raise OSError(f"the connection broke off after {done:,} of {total:,} bytes")
    if not first:
        senders.intersection_update({source.url})


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


def _receive(request: urllib.request.Request, least: float) -> Generator[Any, None, None]:
    """Yield the answer to ``request``, then blocks of its content.

    A thread waits for them, as where bytes trickle in any single read may take without end. Raises TooSlow if in a
    window less than ``least`` bytes a second come, or than any source must send, and what that thread raises.
    """
    seconds, least = (TRIAL, least) if least > SLOWEST else (WINDOW, SLOWEST)
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
        item, end, received = None, time.monotonic() + seconds, 0
        while item != b"":
            # What is left of the window is waited for; then it has to have brought enough, and another begins.
            with contextlib.suppress(queue.Empty):
                item = arrived.get(timeout=max(0, end - time.monotonic()))
                if isinstance(item, Exception):
                    raise item
                if item != b"":
                    yield item
                if isinstance(item, bytes):
                    received += len(item)
                else:  # the answer; what it brings is timed from here
                    end, received = time.monotonic() + seconds, 0
            if time.monotonic() >= end:
                if received < least * seconds:
                    rate = received / seconds
                    raise TooSlow(f"{rate / 1000:,.0f} kB/s came for {seconds} s, less than {least / 1000:,.0f}")
                end, received = time.monotonic() + seconds, 0
    finally:
        # The thread may be in an answer that has no end, which is cut off, or wait for room; what it reads next is its
        # last.
        left.set()
        for connection in connections:
            with contextlib.suppress(AttributeError, OSError):  # no socket yet, or none any more
                connection.sock.shutdown(socket.SHUT_RDWR)
        while not arrived.empty():
            arrived.get_nowait()
