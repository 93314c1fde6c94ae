"""A Ray cluster, as a run sees it: for which workers of each stage it has room."""

import logging
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from seamaug.config import RayConfig, RayStageConfig
from seamaug.errors import ConfigError, ModelError

_KNOCK = 10.0
"""Seconds for a cluster's head to take a connection."""


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
        self._held: list[Any] = []
        self._own = not self.ray.is_initialized()
        if self._own:
            _connect(self.ray)

    def close(self) -> None:
        """End the actors that are held; leave the cluster, or end it, where this entered it."""
        try:
            if self.ray.is_initialized():  # else `kill` would start another one
                for actor in self._held:
                    self.ray.kill(actor)
        finally:
            if self._own:
                self.ray.shutdown()

    def hold(self, actor: Any) -> None:
        """An actor that lives until this is closed, whatever still refers to it."""
        self._held.append(actor)

    def pool(self, stage: str) -> Pool:
        """The workers of a stage, a section of the config `ray`.

        Raises ConfigError where no cluster of these nodes has room: Ray itself would wait for it.
        """
        nodes = [node["Resources"] for node in self.ray.nodes() if node["Alive"]]
        own: RayStageConfig = getattr(self._config, stage)
        needs = _needs(stage, own, nodes)
        room = sum(_room(node, needs) for node in nodes)
        size = own.concurrency or (1 if stage == "generate" else max(1, room))
        if size > room:
            raise ConfigError(
                f"`ray.{stage}`: the Ray cluster has room for {room} workers of {needs['CPU']:g} "
                f"CPUs and {needs['GPU']:g} GPUs each, not for {size}; lower `concurrency` or what "
                "a worker takes, or add a node"
            )
        return Pool(size, needs["CPU"], needs["GPU"])


def enter(folder: str) -> None:
    """In a worker: paths in the config are relative to the folder that the run is started in."""
    with suppress(OSError):  # on another machine there may be no such folder
        os.chdir(folder)


def _needs(
    stage: str, own: RayStageConfig, nodes: Sequence[Mapping[str, float]]
) -> dict[str, float]:
    """What a worker takes, which some node has."""
    most = {name: max(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    gpus = own.num_gpus if own.num_gpus is not None else min(1, most["GPU"])
    needs = {"CPU": own.num_cpus, "GPU": gpus}
    for name, need in needs.items():
        if need > most[name]:
            raise ConfigError(
                f"`ray.{stage}.num_{name.lower()}s: {need:g}`: no node of the Ray cluster has so "
                f"many, the largest has {most[name]:g}; lower it, or add a node that has them"
            )
    return needs


def _room(node: Mapping[str, float], needs: Mapping[str, float]) -> int:
    """For how many workers a node has room."""
    found = [_times(node.get("CPU", 0), needs["CPU"])]
    if 0 < needs["GPU"] < 1:  # none has parts of two
        found.append(int(node.get("GPU", 0)) * _times(1, needs["GPU"]))
    elif needs["GPU"]:
        found.append(_times(node.get("GPU", 0), needs["GPU"]))
    return min(found)


def _times(there: float, need: float) -> int:
    # In Ray's own unit: in floats 1 holds 0.1 nine times.
    return round(there * 10_000) // max(1, round(need * 10_000))


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
