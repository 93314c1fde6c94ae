"""Row work as Ray Data: models are mapped over a stage's items by a pool of actors.

Ray keeps the actors alive, starts lost ones anew and hands their items to others; the run folder
stays with the process that asked. Items and results travel as bytes, since what a stage makes of a
row is its own affair.
"""

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, NamedTuple

import pyarrow as pa

from seamaug.clock import clock
from seamaug.config import RayConfig, RayStageConfig
from seamaug.errors import ConfigError, ModelError, SeamaugError
from seamaug.log import logger
from seamaug.run.executor import Item, Result, Start

_BLOCKS = 4096
"""Pieces that the items of a stage are handed out in, at most: Ray keeps a record of each."""


class RayExecutor:
    """Maps on the cluster of RAY_ADDRESS, the one this process is in, or else one of its own.

    Raises ConfigError at once where Ray is missing or no node has what a worker needs: Ray itself
    would wait for such a node.
    """

    def __init__(self, config: RayConfig, load: Callable[[], Any]) -> None:
        """`load`: what makes the models of a worker, in that worker."""
        self._config, self._load = config, load
        self._ray = _import_ray()
        self._own = not self._ray.is_initialized()
        if self._own:
            _connect(self._ray)
        self._pools = {
            stage: _pool(self._ray, stage, getattr(config, stage)) for stage in ("embed", "score")
        }

    def close(self) -> None:
        """Leave the cluster, or end it, where this executor entered it."""
        if self._own:
            self._ray.shutdown()

    def map(
        self, stage: str, items: Iterable[Item], start: Start[Item, Result]
    ) -> Iterator[Result]:
        """As `Executor.map`, of all items at once; what a worker's models raise is raised here.

        A lost node is unreachable for longer than Ray tries to reach it, and then the whole job of
        Ray Data ends: what is left of the items is mapped anew.
        """
        items = list(items)
        done, tries = 0, self._config.restarts
        while done < len(items):
            try:
                for result in self._results(stage, items[done:], start):
                    done += 1
                    yield result
            except self._ray.exceptions.ActorUnavailableError as error:
                if not tries:
                    raise _failed(stage, error) from error
                tries -= 1
                logger.warning(f"a Ray worker of stage {stage} is out of reach: others go on")
            except self._ray.exceptions.RayError as error:
                raise _failed(stage, error) from error

    def _results(
        self, stage: str, items: Sequence[Item], start: Start[Item, Result]
    ) -> Iterator[Result]:
        dataset = self._dataset(stage, items, start)
        # No prefetch: it would hold back each result until the next one is there.
        blocks = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        # Closed also where an error ends it: where a thread of Ray Data's outlives the cluster, Ray
        # ends this process, before the error is told.
        with closing(iter(blocks)) as left:
            while True:
                with clock.kind("workers"):
                    block = next(left, None)
                if block is None:
                    return
                for pickled in block["result"]:
                    result = pickle.loads(pickled.as_py())
                    if isinstance(result, SeamaugError):
                        raise result
                    yield result

    def _dataset(self, stage: str, items: Sequence[Item], start: Start[Item, Result]) -> Any:
        data, pool = self._ray.data, self._pools[stage]
        # Once to each node, whose workers share it: it holds the seeds and their vectors.
        shared = self._ray.put((self._load, start))
        dataset = data.from_items(
            [{"item": pickle.dumps(item)} for item in items],
            override_num_blocks=min(len(items), _BLOCKS),
        )
        own = dataset.context  # a copy: other users of Ray Data in this process keep theirs
        own.enable_progress_bars = own.print_on_execution_start = False
        own.execution_options.preserve_order = True
        tries = self._config.restarts
        return dataset.map_batches(
            _Worker,
            fn_constructor_args=([shared], os.getcwd()),
            batch_size=1,
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(size=pool.size),
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            ray_remote_args_fn=lambda: {"max_restarts": tries, "max_task_retries": tries},
        )


def _failed(stage: str, error: Exception) -> ModelError:
    return ModelError(
        f"the Ray workers of stage {stage} failed: {error}\nWhat was finished is kept: run the "
        "same command again, and it resumes. Where workers run out of memory, give each more of "
        f"the cluster (`ray.{stage}`), or lower the models' `batch_tokens`"
    )


class _Worker:
    """An actor: models of its own, and one item after the other.

    Items and results are pickles, as all that Ray carries is: they come from this run's own
    processes over Ray's channels, and from no file. Whoever reaches these can run code anyway.
    """

    def __init__(self, shared: list[Any], folder: str) -> None:
        import ray

        with suppress(OSError):  # on another machine there may be no such folder
            os.chdir(folder)  # paths in the config are relative to it
        self._error: SeamaugError | None = None
        load, start = ray.get(shared[0])
        try:
            self._work = start(load())
        except SeamaugError as error:
            self._error = error

    def __call__(self, batch: pa.Table) -> pa.Table:
        item = pickle.loads(batch["item"][0].as_py())
        return pa.table({"result": pa.array([pickle.dumps(self._of(item))], pa.large_binary())})

    def _of(self, item: Any) -> Any:
        """The result, or an error that the user can act on: Ray would bury it in its own."""
        if self._error:
            return self._error
        try:
            return self._work(item)
        except SeamaugError as error:
            return error


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
        ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = f"the cluster at RAY_ADDRESS={address}" if address else "a cluster on this machine"
        raise ConfigError(
            f"`engine: ray`: {where} cannot be used: {error}; start one by `ray start --head` and "
            "set RAY_ADDRESS to it, or unset RAY_ADDRESS for one of this machine alone"
        ) from None


class _Pool(NamedTuple):
    """How many workers a stage has, and what each takes."""

    size: int
    num_cpus: float
    num_gpus: float


def _pool(ray: Any, stage: str, own: RayStageConfig) -> _Pool:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    most = {name: max(node.get(name, 0) for node in nodes) for name in ("CPU", "GPU")}
    gpus = own.num_gpus if own.num_gpus is not None else min(1, most["GPU"])
    needs = {"CPU": own.num_cpus, "GPU": gpus}
    for name, need in needs.items():
        if need > most[name]:
            raise ConfigError(
                f"`ray.{stage}.num_{name.lower()}s: {need:g}`: no node of the Ray cluster has so "
                f"many, the largest has {most[name]:g}; lower it, or add a node that has them"
            )
    room = sum(
        int(min(node.get(name, 0) // need for name, need in needs.items() if need))
        for node in nodes
    )
    size = own.concurrency or max(1, room)
    if size > room:
        raise ConfigError(
            f"`ray.{stage}`: the Ray cluster has room for {room} workers of {needs['CPU']:g} CPUs "
            f"and {needs['GPU']:g} GPUs each, not for {size}; lower `concurrency` or what a worker "
            "takes, or add a node"
        )
    return _Pool(size, needs["CPU"], needs["GPU"])
