"""A Ray cluster, as a run sees it: for which workers of each stage it has room."""

import logging
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from seamaug.config import RayConfig, RayStageConfig
from seamaug.errors import ConfigError, ModelError

_KNOCK = 10.0
"""Seconds for a cluster's head to take a connection."""
_UNIT = 10_000
"""Parts of a CPU or GPU, as Ray counts them: in floats 1 holds 0.1 nine times."""
_ONE = ("generate", "rescore")
"""Stages that have one worker where the config does not say how many."""


class Pool(NamedTuple):
    """How many workers a stage has, and what each takes."""

    size: int
    num_cpus: float
    num_gpus: float


class RayCluster:
    """The cluster of RAY_ADDRESS, the one this process is in, or else one of its own.

    Raises ConfigError at once where Ray is missing.
    """

    def __init__(self, config: RayConfig) -> None:
        self.restarts = config.restarts
        self.ray = _import_ray()
        self._config = config
        self._staying: list[Callable[[], None]] = []
        self._own = not self.ray.is_initialized()
        if self._own:
            _connect(self.ray)

    def close(self) -> None:
        """End the workers that stay; leave the cluster, or end it, where this entered it."""
        try:
            self.clear()
        finally:
            if self._own:
                self.ray.shutdown()

    def at_clear(self, end: Callable[[], None]) -> None:
        """`end`: what ends workers that otherwise stay."""
        self._staying.append(end)

    def clear(self) -> None:
        """End the workers that stay, so that others have their room."""
        if self.ray.is_initialized():  # else Ray would start another cluster
            for end in self._staying:
                end()

    def pool(self, stage: str, beside: Sequence[Pool] = ()) -> Pool:
        """The workers of a stage, a section of the config `ray`; `beside` is there with them.

        Raises ConfigError where no cluster of these nodes has room: Ray itself would wait for it.
        """
        cpus, gpus = self.check_needs(stage)
        free = self._nodes()
        _fit(free, beside)
        room = sum(node.room(cpus, gpus) for node in free)
        own: RayStageConfig = getattr(self._config, stage)
        pool = Pool(own.concurrency or (1 if stage in _ONE else max(1, room)), cpus, gpus)
        if not _fit(self._nodes(), [pool, *beside]):
            raise ConfigError(
                f"`ray.{stage}`: the Ray cluster has room for {room} workers of {cpus:g} CPUs and "
                f"{gpus:g} GPUs each{' beside the others of the run' * bool(beside)}, not for "
                f"{pool.size}; lower `concurrency` or what a worker takes, or add a node"
            )
        return pool

    def check_needs(self, stage: str) -> tuple[float, float]:
        """CPUs and GPUs of a worker of the stage; raises ConfigError where no node has them."""
        return _needs(stage, getattr(self._config, stage), self._resources())

    def _resources(self) -> list[Mapping[str, float]]:
        return [node["Resources"] for node in self.ray.nodes() if node["Alive"]]

    def _nodes(self) -> "list[_Node]":
        return [_Node(resources) for resources in self._resources()]


def enter(folder: str) -> None:
    """In a worker: paths in the config are relative to the folder that the run is started in."""
    with suppress(OSError):  # on another machine there may be no such folder
        os.chdir(folder)


def _needs(
    stage: str, own: RayStageConfig, nodes: Sequence[Mapping[str, float]]
) -> tuple[float, float]:
    """CPUs and GPUs of a worker, which some node has."""
    most = {name: max(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    gpus = own.num_gpus if own.num_gpus is not None else min(1, most["GPU"])
    for name, need in (("CPU", own.num_cpus), ("GPU", gpus)):
        if need > most[name]:
            raise ConfigError(
                f"`ray.{stage}.num_{name.lower()}s: {need:g}`: no node of the Ray cluster has so "
                f"many, the largest has {most[name]:g}; lower it, or add a node that has them"
            )
    return own.num_cpus, gpus


class _Node:
    """What is free of a node, as Ray places: none has parts of two GPUs."""

    def __init__(self, resources: Mapping[str, float]) -> None:
        self._cpu = round(resources.get("CPU", 0) * _UNIT)
        self._gpus = [_UNIT] * int(resources.get("GPU", 0))

    def place(self, cpus: float, gpus: float) -> bool:
        """Take that, if it is there."""
        cpu, gpu = max(1, round(cpus * _UNIT)), round(gpus * _UNIT)
        part = min(gpu, _UNIT)
        fit = [i for i, free in enumerate(self._gpus) if free >= part][: -(-gpu // _UNIT)]
        if self._cpu < cpu or len(fit) * _UNIT < gpu:
            return False
        self._cpu -= cpu
        for i in fit:
            self._gpus[i] -= part
        return True

    def room(self, cpus: float, gpus: float) -> int:
        """Take that as often as it is there; how often that was."""
        count = 0
        while self.place(cpus, gpus):
            count += 1
        return count


def _fit(nodes: Sequence[_Node], pools: Sequence[Pool]) -> bool:
    """Place their workers, the largest first, until one has no room; whether all have."""
    needs = [(pool.num_gpus, pool.num_cpus) for pool in pools for _ in range(pool.size)]
    return all(
        any(node.place(cpus, gpus) for node in nodes) for gpus, cpus in sorted(needs, reverse=True)
    )


def failed(stage: str, error: Exception) -> ModelError:
    """What ended the workers of a stage, with what to do about it."""
    return ModelError(
        f"the Ray workers of stage {stage} failed: {error}\nWhat was finished is kept: run the "
        "same command again, and it resumes. Where workers run out of memory, give each more of "
        f"the cluster (`ray.{stage}`), or lower the models' `batch_tokens`. What they logged is in "
        "Ray's session folder on their nodes"
    )


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # it would report to its makers
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError(
            f"`engine: ray` needs Ray ({error}): pip install 'seamaug[ray]'"
        ) from None
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # it tells of each stage in ten lines
    return ray


def _connect(ray: Any) -> None:
    address = os.environ.get("RAY_ADDRESS")
    try:
        if address:
            _knock(address)
        # Without an address Ray would enter whatever cluster was last started on this machine.
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR")
    except (OSError, RuntimeError, ValueError) as error:
        where = f"the cluster at RAY_ADDRESS={address}" if address else "a cluster on this machine"
        raise ConfigError(
            f"`engine: ray`: {where} cannot be used: {error}; start one by `ray start --head` and "
            "set RAY_ADDRESS to it, or unset RAY_ADDRESS for one of this machine alone"
        ) from None


def _knock(address: str) -> None:
    """Raise OSError where nothing listens: Ray itself would try for minutes, then end the process.

    An address that is not HOST:PORT is left to Ray.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK).close()
