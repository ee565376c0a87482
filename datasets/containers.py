"""Files of a data set, in folders or in a .tar.gz: read one after the other, within bounds, and never extracted."""

import contextlib
import gzip
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from datasets.cache import stat_regular
from runner.errors import DataError, one_line

MOST_BYTES = 32 * 2**20  # of a file that is read whole: a batch has 31 million or fewer
MOST_UNPACKED = 2**29  # bytes of an archive: those of CIFAR-10 have about 200 million

Files = Iterator[tuple[str, Callable[[], bytes]]]  # the name of each, and what reads it


def open_files(paths: list[str], is_archive: bool) -> Files:
    """Go through the files at ``paths``, or through those in the archive that is the only one."""
    return members(Path(paths[0])) if is_archive else ((path, partial(_read, path)) for path in paths)


def _read(path: str) -> bytes:
    if stat_regular(path).st_size > MOST_BYTES:
        raise DataError(f"{path}: is larger than any file of CIFAR-10")
    with open(path, "rb") as file:
        return file.read(MOST_BYTES)


class BrokenArchive(DataError):
    """An archive that can't be read any further."""


class _Member(tarfile.TarInfo):
    """A member, or a header before one, which tarfile would read whole whatever its size."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        member = super().frombuf(buf, encoding, errors)
        if member.size > MOST_BYTES:
            raise tarfile.ReadError(f"{member.name!r} is larger than any file of CIFAR-10")
        return member


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # a damaged archive makes tarfile raise almost any
        raise BrokenArchive(f"{path} can't be read as an archive: {one_line(error)}") from error


def members(path: Path) -> Files:
    """Go through the files in an archive in one pass, none that is hidden; each is to be read before the next.

    Raises DataError if it is damaged, unpacks to too much, or holds what leads out of it.
    """
    unpacked = 0
    too_much = DataError(f"{path} unpacks to more than any archive of CIFAR-10")
    with _explained(path), gzip.open(path) as file, tarfile.open(fileobj=file, mode="r|", tarinfo=_Member) as archive:
        for member in archive:
            archive.members = []  # type: ignore[attr-defined]  # or it would keep all
            parts = [part for part in member.name.split("/") if part not in ("", ".")]
            is_plain = (member.isfile() or member.isdir()) and not member.issparse()
            if not is_plain or member.name[:1] == "/" or ".." in parts:
                raise DataError(f"{path} holds {member.name!r}, which is neither a file nor a folder below it")
            unpacked += member.size + tarfile.BLOCKSIZE
            if unpacked > MOST_UNPACKED:
                raise too_much
            content = archive.extractfile(member)
            if content and not any(part[0] == "." for part in parts):
                yield "/".join(parts), _explained(path)(content.read)
        # The checksum is at the very end.
        while block := file.read(1 << 16):
            unpacked += len(block)
            if unpacked > MOST_UNPACKED:
                raise too_much
