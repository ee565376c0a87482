"""The machine's C compiler, and a cache of what it made of our sources."""

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
HEADERS = ("kernels.h", "lanes.h")
# NaN and the order of sums stay as they are written: no -ffast-math. A product and a sum may be one operation.
FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-ffp-contract=fast", "-fPIC", "-shared"]
ARM = platform.machine().lower() in ("arm64", "aarch64")
FLAGS.append("-mcpu=native" if ARM else "-march=native")
SECONDS = 300  # that a compiler may take


class NoCompiler(Exception):
    """Why there is no native step: no compiler, or it fails."""


def find_compiler() -> list[str]:
    """Find the command of a C compiler: ``$CC``, else cc, gcc or clang. Raises NoCompiler if there is none."""
    named = os.environ.get("CC", "").split()
    if named:
        return named
    for name in ("cc", "gcc", "clang"):
        if path := shutil.which(name):
            return [path]
    raise NoCompiler("there is no C compiler: install gcc or clang, or name one in $CC")


def run(command: list[str], text: str = "") -> str:
    """Run a compiler on a source. Raises NoCompiler if it fails."""
    try:
        done = subprocess.run(command, input=text, capture_output=True, encoding="utf-8", errors="replace",
                              timeout=SECONDS)  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise NoCompiler(f"the C compiler {command[0]} can't be run: {error}") from error
    if done.returncode:
        said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr.strip()[:200])
        raise NoCompiler(f"the C compiler {command[0]} fails: {said}")
    return done.stdout


def cache_folders() -> list[Path]:
    """List where compiled steps may be kept, the user's cache folder first."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return [Path(base) / "cifar10-runner"]


def load(source: str, extra: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Compile a source, or take what was made of it before, and load it. Raises NoCompiler if that does not work.

    A file's name is the hash of all that it depends on: the source, the flags, and what the compiler says of itself and
    of this processor. It is written under another name and then renamed, so that runs which start together find it whole.
    """
    command = [*find_compiler(), *FLAGS, *extra]
    target = run([*command, "-dM", "-E", "-x", "c", "-"])
    texts = [source, *((HERE / name).read_text(encoding="utf-8") for name in HEADERS), *command, target]
    name = hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32] + ".so"
    for folder in cache_folders():
        path = folder / name
        if path.exists():
            return ctypes.CDLL(str(path))
        folder.mkdir(parents=True, exist_ok=True)
        handle, new = tempfile.mkstemp(dir=folder, suffix=".tmp")
        os.close(handle)
        run([*command, f"-I{HERE}", "-x", "c", "-", "-o", new, "-lm"], source)
        os.replace(new, path)
        return ctypes.CDLL(str(path))
    raise NoCompiler("")
