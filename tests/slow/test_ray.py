"""Batches of runs on a Ray cluster."""

import contextlib
import os
import signal

import pytest

import ex1
import utils
from experiments import sweep
from runner import cli
from tests.helpers.cli import execute, start
from tests.helpers.compare import outcomes_in, same
from tests.helpers.waiting import WaitingModels


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
    assert sum("going on from" in log.read_text() for log in begun) == 1
    assert execute(command_line(*arguments, results="local")) == 0
    assert len(outcomes_in(tmp_path / "local")) == 4
    assert same(outcomes_in(tmp_path / "results"), outcomes_in(tmp_path / "local"))
    assert not list((tmp_path / "results").glob(".batch-*"))


def test_ray_after_signal_goes_on_without_ray(two_nodes, command_line, tmp_path, registry):
    models = WaitingModels(tmp_path, step=120)
    arguments = [*models.arguments(3), "--epochs", "4"]
    on_ray = start(command_line(*arguments, "--engine", "ray", "--ray-address", two_nodes[0].address))
    models.wait_for(2)
    assert len(list((tmp_path / "results").glob("*/*/*/last.pt"))) == 2
    os.kill(on_ray.pid, signal.SIGINT)
    said, _ = on_ray.communicate(timeout=120)
    assert on_ray.returncode == 130, said
    stopped = [log.read_text() for log in (tmp_path / "results").glob("*/*/*.log")]
    assert sum("to go on: " in text for text in stopped) == len(stopped) == 2
    models.let_go()
    assert execute(command_line(*arguments)) == 0
    assert execute(command_line(*arguments, results="straight")) == 0
    assert same(outcomes_in(tmp_path / "results"), outcomes_in(tmp_path / "straight"))


def test_ray_brings_results_from_nodes_with_other_disks(two_nodes, command_line, tmp_path):
    arguments = ["--model-name", "Q1_1,Q1_4", "--epochs", "2"]
    command = cli.parse(command_line(*arguments, "--engine", "ray", "--ray-address", two_nodes[0].address))
    jobs = sweep.plan(command)
    described = utils.describe_dataset(ex1.load_data(jobs[0].config, quiet=True))
    engine = sweep.make_engine(command, described)
    with contextlib.closing(engine):
        engine.token.unlink()
        assert sweep.train_all(jobs, engine, described, sweep.Display(jobs, print, quiet=True)) == ([], [])
    assert all(" epoch 2/2 " in job.log.read_text() for job in jobs)
    assert execute(command_line(*arguments, results="local")) == 0
    assert same(outcomes_in(tmp_path / "results"), outcomes_in(tmp_path / "local"))


def test_ray_names_cluster_that_is_not_there(command_line, capfd):
    pytest.importorskip("ray", reason="needs Ray: pip install -r requirements-optional.txt")
    arguments = ["--model-name", "Q1_1,Q1_4", "--engine", "ray", "--ray-address", "127.0.0.1:1"]
    assert execute(command_line(*arguments)) == 2
    assert "--ray-address 127.0.0.1:1: " in capfd.readouterr().err.splitlines()[-1]
