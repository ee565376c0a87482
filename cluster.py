"""The runs of a batch as tasks of a Ray cluster, https://docs.ray.io; Ray decides what runs where.

Ray carries this code to the nodes; packages and images must be there already. A node that sees the results folder of
the batch, as all do that share it, trains there, so that another node goes on with a run where a dead one left it.
On any other node a run is trained in a temporary folder, and its files are sent to the results folder when it ends.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

import batch
import runs
import utils
from commands import Batch, Command
from runner import files
from runner.config import Config
from runner.errors import BusyError, RunnerError, UsageError, one_line

RETRIES = 10  # of a run whose node dies
# A worker may outlive its node by some seconds, and hold the lock of its run.
BUSY_SECONDS, BUSY_TRIES = 2, 60
CONNECT_SECONDS = 10


@dataclass(frozen=True)
class Place:
    """Where the driver of the batch works.

    Attributes:
        folder: its working directory.
        results: its results folder, absolute.
        token: the name of a file in there that shows a node that it is the same folder.
        data: its data folder, absolute.
        dataset: the kind of data that the runs must be trained on, for ``--dataset``.
        command: its command line, which the runs' files repeat.
    """

    folder: str
    results: str
    token: str
    data: str
    dataset: str
    command: tuple[str, ...]


class RayTasks:
    """Trains runs as Ray tasks, as many at a time as there are CPUs and GPUs for; see ``batch.Engine``.

    Raises:
        UsageError: Ray is not installed, or the cluster can't be reached.
    """

    def __init__(self, options: Batch, config: Config, described: dict):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            import ray
        except ImportError:
            raise UsageError("--engine ray needs a package that is not installed: pip install ray") from None
        self.ray, self.tasks, self.stopping = ray, {}, False
        address = options.ray_address or os.environ.get("RAY_ADDRESS")
        environment = {
            "working_dir": str(utils.PROJECT),
            "excludes": [f"/{path.name}" for path in utils.PROJECT.iterdir() if path.suffix != ".py"],
            "env_vars": {utils.COMMIT_VARIABLE: utils.git_commit() or ""},
        }
        where = {"address": address} if address else {"address": "local", "include_dashboard": False}
        try:
            if address:
                connect(address)
            ray.init(**where, runtime_env=environment, log_to_driver=False, logging_level="error")
        except Exception as error:
            raise UsageError(f"--ray-address {address}: {one_line(error)}") from error
        self.name = f"the Ray cluster {address}" if address else "Ray on this machine"
        results = Path(config.results_dir).resolve()
        self.token = results / f".batch-{uuid.uuid4().hex}"
        files.make_folder(results)
        files.write_file(self.token, "A batch of runs is at work here.\n")
        self.place = Place(
            folder=os.getcwd(),
            results=str(results),
            token=self.token.name,
            data=str(Path(config.data_dir).resolve()),
            dataset=runs.kind_of_data(described),
            command=tuple(sys.argv),
        )
        self.train = ray.remote(
            num_cpus=config.threads, num_gpus=options.gpus_per_run, max_retries=RETRIES, max_calls=1
        )(train_on_node)

    def has_room(self) -> bool:
        return True

    def start(self, job: batch.Job) -> None:
        task = self.train.options(name=job.name).remote(job.command, str(job.log.resolve()), self.place)
        self.tasks[task] = job

    def wait(self, seconds: float) -> list[tuple[batch.Job, int]]:
        if not self.tasks:
            return []
        ended = []
        for task in self.ray.wait(list(self.tasks), num_returns=1, timeout=seconds)[0]:
            job = self.tasks.pop(task)
            try:
                code, contents = self.ray.get(task)
                for name in sorted(contents, key=lambda name: Path(name).name == runs.METRICS):  # it says: finished
                    files.make_folder((path := Path(self.place.results) / name).parent)
                    files.write_file(path, contents[name])
            except self.ray.exceptions.TaskCancelledError:
                code = 128 + signal.SIGINT
            except (self.ray.exceptions.RayError, OSError) as error:
                code = 1
                # The traceback in the worker, and in its last line the error itself.
                lines = str(error).strip().splitlines() or [type(error).__name__]
                with contextlib.suppress(OSError), open(job.log, "a") as log:
                    print(*lines, f"ex1.py: error: {one_line(RunnerError(lines[-1]))}", sep="\n", file=log)
            ended.append((job, code))
        return ended

    def stop(self) -> None:
        for task in self.tasks if not self.stopping else ():
            self.ray.cancel(task)
        self.stopping = True

    def close(self) -> None:
        self.ray.shutdown()
        self.token.unlink(missing_ok=True)


def connect(address: str) -> None:
    """Sees whether something listens at HOST:PORT; Ray itself may wait for it without end.

    Raises:
        OSError: nothing does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def train_on_node(command: Command, log: str, place: Place) -> tuple[int, dict[str, bytes]]:
    """The Ray task that trains one run.

    Args:
        log: the file that gets what the run says, absolute.

    Returns:
        The exit code, and the files for the results folder by their path in there, if this node does not see it.
    """
    sys.argv = list(place.command)
    if (Path(place.results) / place.token).exists():
        os.chdir(place.folder)
        for _ in range(BUSY_TRIES):
            code = batch.train_with_log(command, log)
            if code != BusyError.exit_code:
                break
            time.sleep(BUSY_SECONDS)
        return code, {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        given = command.given | {"results_dir": "results", "data_dir": place.data, "dataset": place.dataset}
        if "model_file" in given:
            given["model_file"] = str(Path(place.folder) / given["model_file"])
        results, log = Path("results"), str(Path("results") / Path(log).relative_to(place.results))
        files.make_folder(Path(log).parent)
        code = batch.train_with_log(replace(command, given=given), log)
        written = [path for path in results.rglob("*") if path.is_file() and path.name != ".lock"]
        return code, {str(path.relative_to(results)): path.read_bytes() for path in written}
