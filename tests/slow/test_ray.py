"""Batches of runs on a Ray cluster."""

import contextlib
import os
import signal
from pathlib import Path

import pytest

import datasets
import ex1
from experiments import sweep
from runner import console
from runner.config import EngineConfig
from tests.helpers.cli import configs, execute, start
from tests.helpers.compare import outcomes_in, same
from tests.helpers.paths import PROJECT
from tests.helpers.waiting import WaitingModels

PACKAGES = [path.parent for path in PROJECT.glob("*/__init__.py") if path.parent.name != "tests"]


@pytest.fixture
def two_nodes(monkeypatch):
    """A Ray cluster of two nodes with a CPU each, and the second node."""
    pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-optional.txt")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = nodes.add_node(num_cpus=1)
    yield nodes, second
    nodes.shutdown()


def test_ray_after_node_death_is_bitwise_equal(two_nodes, command_line, tmp_path, registry):
    nodes, second = two_nodes
    models = WaitingModels(tmp_path, step=120)
    arguments = [*models.arguments(4), "--epochs", "4", "--checkpoint-every", "7"]
    on_ray = start(command_line(*arguments, "--engine", "ray", "--ray-address", nodes.address))
    models.wait_for(2)
    begun = list((tmp_path / "results").glob("*/*/*.log"))
    assert len(begun) == 2
    nodes.remove_node(second, allow_graceful=False)
    models.let_go()
    said, _ = on_ray.communicate(timeout=300)
    assert on_ray.returncode == 0, said
    assert "once more" not in said  # it is Ray that starts the run again
    assert sum("going on from" in log.read_text(encoding="utf-8") for log in begun) == 1
    assert execute(command_line(*arguments, results="local")) == 0
    assert len(outcomes_in(tmp_path / "local")) == 4
    assert same(outcomes_in(tmp_path / "results"), outcomes_in(tmp_path / "local"))
    assert not list((tmp_path / "results").glob(".sweep-*"))


def test_ray_after_signal_goes_on_without_ray(two_nodes, command_line, tmp_path, registry):
    models = WaitingModels(tmp_path, step=120)
    arguments = [*models.arguments(3), "--epochs", "4"]
    on_ray = start(command_line(*arguments, "--engine", "ray", "--ray-address", two_nodes[0].address))
    models.wait_for(2)
    assert len(list((tmp_path / "results").glob("*/*/*/last.pt"))) == 2
    os.kill(on_ray.pid, signal.SIGINT)
    said, _ = on_ray.communicate(timeout=120)
    assert on_ray.returncode == 130, said
    stopped = [log.read_text(encoding="utf-8") for log in (tmp_path / "results").glob("*/*/*.log")]
    assert sum("to go on: " in text for text in stopped) == len(stopped) == 2
    models.let_go()
    assert execute(command_line(*arguments)) == 0
    assert execute(command_line(*arguments, results="straight")) == 0
    assert same(outcomes_in(tmp_path / "results"), outcomes_in(tmp_path / "straight"))


def test_ray_brings_results_from_nodes_with_other_disks(two_nodes, command_line, tmp_path):
    arguments = ["--model-name", "Q1_1,Q1_4", "--epochs", "2"]
    jobs = sweep.plan(configs(command_line(*arguments)))
    console.set_up_logging(quiet=True)
    facts = datasets.load(jobs[0].config).facts
    options = EngineConfig("ray", ray_address=two_nodes[0].address)
    engine = sweep.make_engine(options, jobs[0].config, facts, ex1.train)
    with contextlib.closing(engine):
        engine.token.unlink()
        assert sweep.train_all(jobs, engine, facts, sweep.Display(jobs, facts["name"])) == ([], [])
    assert all(" epoch 2/2 " in job.log.read_text(encoding="utf-8") for job in jobs)
    assert execute(command_line(*arguments, results="local")) == 0
    assert same(outcomes_in(tmp_path / "results"), outcomes_in(tmp_path / "local"))


def test_ray_carries_the_code_and_nothing_else(command_line, tmp_path):
    """On a node that does not see the project's folder, every module has to come from what Ray brought there."""
    pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-optional.txt")
    code = [path for package in PACKAGES for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    carried = {str(path.relative_to(PROJECT)) for path in [*PROJECT.glob("*.py"), *code]}
    modules = [name.removesuffix(".py").replace("/", ".") for name in sorted(carried) if name.endswith(".py")]
    modules = [name.removesuffix(".__init__") for name in modules if not name.endswith(".__main__")]
    assert {"ex1", "runner", "datasets.cifar10", "experiments.benchmarks.sections", "report.overview"} <= {*modules}

    def look(project):  # in a process of the node; only what is defined inside goes there
        import importlib
        import sys

        sys.path = [path for path in sys.path if Path(path).resolve() != Path(project)]
        brought = Path.cwd()
        files = [path for path in brought.rglob("*") if path.is_file() and path.suffix != ".pyc"]
        names = {str(path.relative_to(brought)) for path in files}
        return str(brought), names, {importlib.import_module(name).__file__ for name in modules}

    [config] = configs(command_line("--model-name", "Q1_1", "--threads", "1"))
    engine = sweep.make_engine(EngineConfig("ray"), config, datasets.load(config).facts, ex1.train)
    with contextlib.closing(engine):
        brought, names, origins = engine.ray.get(engine.ray.remote(look).remote(str(PROJECT)))
    assert names == carried
    assert brought != str(PROJECT)
    assert all(origin.startswith(brought) for origin in origins)


def test_ray_names_cluster_that_is_not_there(command_line, capfd):
    pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-optional.txt")
    arguments = ["--model-name", "Q1_1,Q1_4", "--engine", "ray", "--ray-address", "127.0.0.1:1"]
    assert execute(command_line(*arguments)) == 2
    assert "--ray-address 127.0.0.1:1: " in capfd.readouterr().err.splitlines()[-1]
