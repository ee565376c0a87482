"""The download of the official archive: it goes on where it broke off, in this run or an earlier one."""

from __future__ import annotations

import errno
import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tqdm import tqdm

from runner.config import DATA_URL_VARIABLE
from runner.errors import RunnerError

ATTEMPTS = 4
TIMEOUT = 20  # seconds without a byte


class DownloadError(RunnerError):
    """CIFAR-10 could not be downloaded."""


def download(target: Path, url: str = "", notice: Callable[[str], None] = print) -> None:
    """Downloads the official archive to ``target``, going on where an earlier attempt broke off.

    What has arrived is kept beside ``target`` with the ending ``.part``; ``target`` itself appears only once its
    MD5 is right.

    Raises:
        DownloadError: the source is down, or what it sends has another MD5.
    """
    # It takes a second to import, and most runs find their images.
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import calculate_md5

    url = url or CIFAR10.url
    advice = (
        f"put {CIFAR10.filename}, {CIFAR10.base_folder}/ or image folders into {target.parent} yourself, or name "
        f"another source with --data-url or ${DATA_URL_VARIABLE}; --dataset synthetic needs no download"
    )
    part = target.with_name(target.name + ".part")
    notice(f"downloading CIFAR-10 (163 MiB) from {url}")
    for attempt in range(1, ATTEMPTS + 1):
        resumed = part.exists()
        try:
            _fetch(url, part)
            found = calculate_md5(part)
            if found == CIFAR10.tgz_md5:
                part.replace(target)
                return
            part.unlink()
            problem = f"what came has MD5 {found}, not {CIFAR10.tgz_md5}"
            final = not resumed  # a part that another source began can be what is wrong
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem, final = getattr(error, "reason", error), _is_final(error)
        if final or attempt == ATTEMPTS:
            raise DownloadError(f"{url}: {problem}; {advice}")
        notice(f"{url}: {problem}; attempt {attempt + 1} of {ATTEMPTS} follows")
        time.sleep(attempt)


def _is_final(error: Exception) -> bool:
    """Whether the same request would fail again within seconds.

    So it is where there is no such host, page or scheme, no one listens, or this machine's disk is to blame.
    """
    if isinstance(error, urllib.error.HTTPError):
        return error.code < 500
    if isinstance(error, urllib.error.URLError):
        return isinstance(error.reason, (socket.gaierror, ConnectionRefusedError, FileNotFoundError, str))
    here = {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EROFS,
        errno.EACCES,
        errno.EPERM,
        errno.ENOENT,
        errno.ENOTDIR,
    }
    return isinstance(error, ValueError) or getattr(error, "errno", None) in here


def _fetch(url: str, part: Path) -> None:
    """Appends to ``part`` what is still missing of ``url``.

    Raises:
        OSError: the connection failed, stalled or broke off.
    """
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(
        url, headers={"User-Agent": "ex1", **({"Range": f"bytes={have}-"} if have else {})}
    )
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416:  # nothing is missing
            return
        raise
    with response:
        resumed = response.status == 206
        length = response.headers.get("Content-Length")
        total = int(length) + (have if resumed else 0) if length else None
        with (
            open(part, "ab" if resumed else "wb") as file,
            tqdm(
                total=total,
                initial=have if resumed else 0,
                unit="B",
                unit_scale=True,
                desc=part.stem,
                disable=None,
            ) as bar,
        ):
            while block := response.read(1 << 16):
                file.write(block)
                bar.update(len(block))
            if total is not None and file.tell() < total:
                raise OSError(f"the connection broke off after {file.tell():,} of {total:,} bytes")
