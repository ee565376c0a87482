"""The download of the official archive: it goes on where it broke off, in this run or an earlier one."""

import http.client
import logging
import socket
import time
import urllib.error
import urllib.request
from errno import EACCES, EDQUOT, EFBIG, ENOENT, ENOSPC, ENOTDIR, EPERM, EROFS
from pathlib import Path

from tqdm import tqdm

from datasets import cifar10
from runner.config import DATA_URL_VARIABLE
from runner.errors import RunnerError

log = logging.getLogger("ex1")

ATTEMPTS = 4
TIMEOUT = 20  # seconds without a byte
BLOCK = 1 << 16  # bytes read at once
DISK_ERRORS = {ENOSPC, EDQUOT, EFBIG, EROFS, EACCES, EPERM, ENOENT, ENOTDIR}  # the same request would fail again


class DownloadError(RunnerError):
    """CIFAR-10 could not be downloaded."""


def download(target: Path, url: str = "") -> None:
    """Download the official archive to ``target``, going on where an earlier attempt broke off.

    What has arrived is kept beside ``target`` with the ending ``.part``; ``target`` itself appears only once its
    MD5 is right. Raises DownloadError if the source is down, or what it sends has another MD5.
    """
    url = url or cifar10.URL
    part = target.with_name(target.name + ".part")
    log.info(f"downloading CIFAR-10 (163 MiB) from {url}")
    for attempt in range(1, ATTEMPTS + 1):
        resumed = part.exists()
        try:
            # fetch what is missing, and let only the official archive appear
            _fetch(url, part)
            md5 = cifar10.md5_of(part)
            if md5 == cifar10.ARCHIVE_MD5:
                part.replace(target)
                return
            part.unlink()
            problem = f"what came has MD5 {md5}, not {cifar10.ARCHIVE_MD5}"
            final = not resumed  # a part that another source began can be what is wrong
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
    """Append to ``part`` what is missing of ``url``. Raises OSError if the connection failed, stalled or broke off."""
    # ask for the rest
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "ex1"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing
            return
        raise

    # a source that knows no ranges sends all of it again
    with response:
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with (
            open(part, "ab" if have else "wb") as file,
            tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=part.stem, disable=None) as bar,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
            if total is not None and file.tell() < total:
                raise OSError(f"the connection broke off after {file.tell():,} of {total:,} bytes")
