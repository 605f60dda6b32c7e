"""Embedding on a Ray cluster of this machine: as a local run, even when a worker is lost."""

import os
import signal
import subprocess
import threading
import time

import numpy as np
import pandas as pd
import pytest

from forametric.data.collection import Collection
from forametric.data.embeddings import read_vectors
from forametric.errors import InputError
from forametric.model import ray_cluster as cluster
from forametric.model.embed_collection import embed_to_file, run_settings
from forametric.model.model import Model
from forametric.utils.manifest import Manifest
from tests.support.cli import forametric_process

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def two_machines():
    """Ray's own stand-in for a cluster: two nodes with a processor each."""
    os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
    from ray.cluster_utils import Cluster

    settings = {"num_cpus": 1, "object_store_memory": 100_000_000, "include_dashboard": False}
    nodes = Cluster(initialize_head=True, head_node_args=settings)
    nodes.add_node(num_cpus=1, object_store_memory=100_000_000)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


def _rows(path):
    table, vectors = read_vectors(path)
    return dict(zip(table["id"], vectors, strict=True))


def test_a_cluster_gives_the_rows_of_a_local_run(model_folder, many, two_machines, tmp_path):
    """With the images behind an address, and one worker killed on the way."""
    shells = Collection.open(many)
    local = embed_to_file(Model.load(model_folder), shells, tmp_path / "local.parquet")
    work = tmp_path / "v.unfinished"
    killed = []

    def kill_one_worker():
        while not list(work.glob("part-*.parquet")):
            time.sleep(0.02)
        listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True).stdout
        found = [line.split()[0] for line in listed.splitlines() if "ray::MapWorker" in line]
        killed.extend(found[:1])
        for worker in found[:1]:
            os.kill(int(worker), signal.SIGKILL)

    killer = threading.Thread(target=kill_one_worker, daemon=True)
    killer.start()
    skipped = cluster.embed_on_cluster(
        str(model_folder),
        str(many),
        str(tmp_path / "v"),
        two_machines.address,
        images=f"file://{shells.images}",
    )
    killer.join(10)
    assert len(killed) == 1
    assert skipped.to_dict("records") == local.to_dict("records")
    assert len(skipped) == 1
    here, there = _rows(tmp_path / "local.parquet"), _rows(tmp_path / "v")
    assert here.keys() == there.keys()
    assert len(here) == 2299
    assert all(np.allclose(here[i], there[i], atol=1e-5) for i in here)
    table, _ = read_vectors(tmp_path / "v")
    assert isinstance(table, pd.DataFrame)
    assert len(table) == len(here), "no row is doubled"
    assert not work.exists()


def test_what_an_earlier_run_has_made_is_kept(model_folder, many, two_machines, tmp_path):
    work = tmp_path / "v.unfinished"

    def run():
        return cluster.embed_on_cluster(model_folder, many, tmp_path / "v", two_machines.address)

    run()
    (tmp_path / "v").rename(work)
    settings = run_settings(Model.load(model_folder), Collection.open(many))
    Manifest(run=settings).write(work)
    first, second, *_ = sorted(work.glob("part-*.parquet"))
    second.unlink()
    before = first.stat().st_mtime_ns
    run()
    assert (tmp_path / "v" / first.name).stat().st_mtime_ns == before
    assert (tmp_path / "v" / second.name).is_file()
    with pytest.raises(InputError, match="exists already"):
        run()


def test_a_cluster_that_is_not_there_is_named(model_folder, shells_folder, tmp_path):
    """In a process of its own: this one has joined a cluster and stays there."""
    asked = ["--cluster", "127.0.0.1:1", "-o", tmp_path / "v"]
    done = forametric_process("embed", model_folder, shells_folder, *asked)
    assert done.returncode == 2
    assert "no Ray cluster answers at 127.0.0.1:1" in done.stderr
