"""The machine's C compiler, and a cache of what it made."""

import contextlib
import ctypes
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from runner.files import write_file

HERE = Path(__file__).resolve().parent
SECONDS = 300  # that a compiler may take; it needs 3 to 5

# NaN and the order of sums stay as they are written: no -ffast-math. A product and a sum may be one operation.
FLAGS = "-std=gnu11 -O3 -fno-math-errno -ffp-contract=fast -fPIC -shared -w".split()
FLAGS.append("-mcpu=native" if platform.machine().lower() in ("arm64", "aarch64") else "-march=native")


class NoNativeStep(Exception):
    """Why there is none."""


def find_compiler() -> list[str]:
    """Find the command of a C compiler: ``$CC``, else cc, gcc, clang or that of the package ziglang.

    Raises NoNativeStep if there is none.
    """
    if sys.platform == "win32":  # where compilers place vectors on the stack in another way, which was never tried
        raise NoNativeStep("it is for Linux and macOS")
    if command := shlex.split(os.environ.get("CC", "")):
        return command
    if path := shutil.which("cc") or shutil.which("gcc") or shutil.which("clang"):
        return [path]
    if importlib.util.find_spec("ziglang"):
        return [sys.executable, "-m", "ziglang", "cc"]
    raise NoNativeStep("there is no C compiler: install gcc, clang or the package ziglang, or name one in $CC")


def run(command: list[str], source: str = "") -> str:
    """Run a compiler on a source and return what it prints. Raises NoNativeStep if it fails."""
    try:
        done = subprocess.run(command, input=source, capture_output=True, encoding="utf-8", errors="replace",
                              timeout=SECONDS)  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise NoNativeStep(f"the C compiler {command[0]} can't be run: {error}") from error
    if done.returncode:
        lines = done.stderr.splitlines() or ["it says nothing"]
        why = next((line for line in lines if "error" in line), lines[0])
        raise NoNativeStep(f"the C compiler {command[0]} fails: {why.strip():.200}")
    return done.stdout


def cache_folder() -> Path:
    """Name the folder of the user's cache that compiled steps are kept in."""
    home = Path(os.path.expanduser("~"), "Library/Caches" if sys.platform == "darwin" else ".cache")
    places = [Path(os.environ.get("XDG_CACHE_HOME", "")), home, Path(os.devnull)]  # the last one for who has no home
    return next(place for place in places if place.is_absolute()) / "cifar10-runner"


def load(source: str, *options: str) -> ctypes.CDLL:
    """Compile a source, or take what was made of it before, and load it. Raises NoNativeStep if that does not work.

    The name in the cache is the hash of all that the result depends on: the source, the options, and what the compiler
    says of itself and of the processor. A file comes there whole or not at all, so that several runs may start
    together; where none can be kept, it is loaded from a temporary folder.
    """
    command = [*find_compiler(), *FLAGS, *options]
    target = run([*command, "-dM", "-E", "-x", "c", "-"])  # what it predefines: its version, the instruction sets
    texts = [source, (HERE / "kernels.h").read_text(encoding="utf-8"), *command, target]
    kept = cache_folder() / (hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32] + ".so")
    with contextlib.suppress(OSError):
        return ctypes.CDLL(str(kept))
    try:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, kept.name)
            run([*command, f"-I{HERE}", "-x", "c", "-", "-o", str(made), "-lm"], source)
            with contextlib.suppress(OSError):
                kept.parent.mkdir(parents=True, exist_ok=True)
                write_file(kept, made.read_bytes())
            return ctypes.CDLL(str(made))
    except OSError as error:
        raise NoNativeStep(f"what the C compiler made can't be loaded: {error}") from error
