"""The runs of a sweep as tasks of a Ray cluster, https://docs.ray.io; Ray decides what runs where.

Ray carries this code to the nodes; packages and images must be there already. A node that sees the results folder of
the sweep, as all do that share it, trains there, so that another node goes on with a run where a dead one left it.
On any other node a run is trained in a temporary folder, and its files are sent to the results folder when it ends.
"""

import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.engines import Job, Train, train_with_log
from runner import checkpoint, files, records
from runner.config import Config, EngineConfig
from runner.errors import BusyError, CheckpointError, RunnerError, UsageError, one_line
from runner.lock import FolderLock, is_gone
from runner.machine import COMMIT_VARIABLE, PROJECT, git_commit

log = logging.getLogger("ex1")

RETRIES = 10  # of a run whose node dies
# A worker may outlive its node by some seconds, and hold the lock of its run.
BUSY_SECONDS, BUSY_TRIES = 2, 60
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class DriverPaths:
    """Where the driver of the sweep works."""

    folder: str  # its working directory
    results: str  # its results folder, absolute
    token: str  # the name of a file in there that shows a node that it is the same folder
    data: str  # its data folder, absolute
    dataset: str  # the kind of data that the runs must be trained on, for ``--dataset``
    command: tuple[str, ...]  # its command line, which the runs' files repeat


class RayTasks:
    """Trains runs as Ray tasks, see ``engines.Engine``. Raises UsageError if Ray or the cluster is not there."""

    def __init__(self, options: EngineConfig, config: Config, facts: dict, train: Train):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise UsageError("--engine ray needs a package that is not installed: pip install ray") from None
        self.ray, self.train, self.stopping = ray, train, False
        self.tasks: dict[Any, Job] = {}

        # The cluster; the code and the commit that it is of go to its nodes.
        address = options.ray_address or os.environ.get("RAY_ADDRESS")
        environment = {
            "working_dir": str(PROJECT),
            "excludes": not_carried(PROJECT),
            "env_vars": {COMMIT_VARIABLE: git_commit() or ""},
        }
        where = {"address": address} if address else {"address": "local", "include_dashboard": False}
        try:
            if address:
                connect(address)
            ray.init(**where, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR)
        except Exception as error:
            raise UsageError(f"--ray-address {address}: {one_line(error)}") from error
        self.name = f"the Ray cluster {address}" if address else "Ray on this machine"

        # The results folder gets a file by which a node sees whether it shares the folder.
        results = Path(config.results_dir).resolve()
        files.make_folder(results)
        remove_tokens_of_dead(results)
        self.token = results / f".sweep-{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
        files.write_file(self.token, "A sweep is at work here.\n")
        self.paths = DriverPaths(
            folder=os.getcwd(),
            results=str(results),
            token=self.token.name,
            data=str(Path(config.data_dir).resolve()),
            dataset=files.dataset_kind(facts),
            command=tuple(sys.argv),
        )
        gpus = options.gpus_per_run or 0
        remote = ray.remote(num_cpus=config.threads, num_gpus=gpus, max_retries=RETRIES, max_calls=1)
        self.task = remote(train_on_node)

    def has_room(self) -> bool:
        return True

    def start(self, job: Job) -> None:
        task = self.task.options(name=job.name).remote(self.train, job.config, str(job.log.resolve()), self.paths)
        self.tasks[task] = job

    def wait(self, seconds: float) -> list[tuple[Job, int]]:
        if not self.tasks:
            return []
        ended = []
        for task in self.ray.wait(list(self.tasks), num_returns=1, timeout=seconds)[0]:
            job = self.tasks.pop(task)
            try:
                code, contents = self.ray.get(task)
                take_back(contents, Path(self.paths.results))
            except self.ray.exceptions.TaskCancelledError:
                code = 128 + signal.SIGINT
            except (self.ray.exceptions.RayError, RunnerError, OSError) as error:
                code = 1
                # The traceback in the worker, and in its last line the error itself.
                lines = str(error).strip().splitlines() or [type(error).__name__]
                lines.append(f"ex1.py: error: {one_line(RunnerError(lines[-1]))}\n")
                with contextlib.suppress(OSError, RunnerError), files.open_log(job.log) as file:
                    file.write("\n".join(lines).encode(errors="backslashreplace"))
            ended.append((job, code))
        return ended

    def stop(self) -> None:
        for task in self.tasks if not self.stopping else ():
            self.ray.cancel(task)
        self.stopping = True

    def close(self) -> None:
        self.ray.shutdown()
        self.token.unlink(missing_ok=True)


def remove_tokens_of_dead(results: Path) -> None:
    """Remove the tokens that sweeps of this machine left in ``results`` when they were killed."""
    host = socket.gethostname()
    for path in results.glob(f".sweep-{host}-*"):
        process = path.name.removeprefix(f".sweep-{host}-").partition("-")[0]
        if process.isdecimal() and is_gone(host, int(process)):
            path.unlink(missing_ok=True)


def take_back(contents: dict[str, bytes], results: Path) -> None:
    """Write the files of a run that a node sent, unless the run is further here, or a process here trains it."""
    for name in [name for name in contents if name.endswith(".log")]:
        files.make_folder((results / name).parent)
        with files.open_log(results / name) as file:
            file.write(contents.pop(name))
    for folder in {results / Path(name).parent for name in contents}:
        sent = {Path(name).name: content for name, content in contents.items() if results / Path(name).parent == folder}
        files.make_folder(folder)
        lock = FolderLock(folder)
        if not lock.acquire():
            log.warning(f"{folder} is trained by {lock.holder}: what a node sent for it is not kept")
            continue
        try:
            with tempfile.TemporaryDirectory(prefix=".sent-", dir=results) as place:
                for name, content in sent.items():
                    (Path(place) / name).write_bytes(content)
                is_further = progress(Path(place)) >= progress(folder)
            # What says that the run is finished comes last.
            for name in sorted(sent, key=lambda name: name == files.METRICS) if is_further else ():
                files.write_file(folder / name, sent[name])
        finally:
            lock.release()


def progress(folder: Path) -> tuple[bool, int, int]:
    """Tell how far a run is, for comparison: whether it is finished, its epochs, and the steps of the next."""
    epochs = steps = 0
    with contextlib.suppress(CheckpointError):
        saved = checkpoint.load_last(folder)[0]
        epochs, steps = len(saved["history"]), saved["metrics"]["steps"]
    return records.is_finished(folder), epochs, steps


def not_carried(project: Path) -> list[str]:
    """List what Ray leaves here, as patterns of .gitignore: all but modules and packages, as it may be large."""
    code = {path.name for path in project.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    other = {path.name for path in project.iterdir()} - (code - {"tests"})
    return [f"/{name}" for name in sorted(other)] + ["__pycache__"]


def connect(address: str) -> None:
    """Raise OSError if nothing listens at HOST:PORT; Ray itself may wait for it without end."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def train_on_node(train: Train, config: Config, log: str, paths: DriverPaths) -> tuple[int, dict[str, bytes]]:
    """Train one run as a Ray task, with what it says in the file ``log``, and return the exit code.

    If this node does not see the results folder, the files for it are returned, too, by their path in there.
    """
    sys.argv = list(paths.command)
    if (Path(paths.results) / paths.token).exists():
        os.chdir(paths.folder)
        for _ in range(BUSY_TRIES):
            code = train_with_log(train, config, log)
            if code != BusyError.exit_code:
                break
            time.sleep(BUSY_SECONDS)
        return code, {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        # Paths of the driver's machine hold for its data, which must be here too, and not for its results.
        model_file = str(Path(paths.folder) / config.model_file) if config.model_file else ""
        config = replace(
            config, results_dir="results", data_dir=paths.data, dataset=paths.dataset, model_file=model_file
        )
        results, log = Path("results"), str(Path("results") / Path(log).relative_to(paths.results))
        files.make_folder(Path(log).parent)
        code = train_with_log(train, config, log)
        written = [path for path in results.rglob("*") if path.is_file() and path.name[0] != "."]
        return code, {str(path.relative_to(results)): path.read_bytes() for path in written}
