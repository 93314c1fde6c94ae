"""A real cluster of two nodes, for the tests of this folder."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

KEY_NAME = "PLANTED_KEY"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """A head without CPUs, where this process is, and a node for two workers."""
    import ray
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        patch.setenv(
            KEY_NAME, "sk-planted-0123456789"
        )  # workers have the environment of their node
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
        try:
            nodes.add_node(num_cpus=2)
            ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
            yield nodes
        finally:
            ray.shutdown()
            nodes.shutdown()


@pytest.fixture
def add_node(cluster: Any) -> Iterator[Callable[..., Any]]:
    """Adds a node to the cluster, for one test; it is gone before the next one."""
    import ray

    def alive() -> int:
        return sum(node["Alive"] for node in ray.nodes())

    before, added = alive(), []

    def add(**resources: Any) -> Any:
        added.append(cluster.add_node(**resources))
        return added[-1]

    yield add
    for node in set(added) & set(cluster.list_all_nodes()):
        cluster.remove_node(node)
    assert until(lambda: alive() == before)


def until(true: Callable[[], bool]) -> bool:
    """Whether it becomes true, within the time that Ray takes to see that a node is gone."""
    end = time.monotonic() + 120
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


def loads_nothing(patch: pytest.MonkeyPatch) -> None:
    """From here on this process, unlike its workers, can load no language model."""
    for module in ("policy", "reward"):
        patch.setattr(f"seamaug.models.{module}.load_model", None)
