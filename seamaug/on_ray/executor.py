"""Row work as Ray Data: models are mapped over a stage's items by a pool of actors.

Ray keeps the actors alive, starts lost ones anew and hands their items to others; the run folder
stays with the process that asked. Items and results travel as bytes, since what a stage makes of a
row is its own affair.
"""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any
from uuid import uuid4

import pyarrow as pa

from seamaug.clock import clock
from seamaug.errors import SeamaugError
from seamaug.log import logger
from seamaug.on_ray.cluster import RayCluster, enter, failed
from seamaug.run.executor import Item, Result, Start

_BLOCKS = 4096
"""Pieces that the items of a stage are handed out in, at most: Ray keeps a record of each."""


class RayExecutor:
    """Maps on a cluster; raises ConfigError at once where it has no room for the workers."""

    def __init__(self, cluster: RayCluster, load: Callable[[], Any]) -> None:
        """`load`: what makes the models of a worker, in that worker."""
        self._load, self._restarts = load, cluster.restarts
        self._cluster, self._ray = cluster, cluster.ray
        self._pools = {stage: cluster.pool(stage) for stage in ("embed", "score")}

    def map(
        self, stage: str, items: Iterable[Item], start: Start[Item, Result]
    ) -> Iterator[Result]:
        """As `Executor.map`, of all items at once; what a worker's models raise is raised here.

        A lost node is unreachable for longer than Ray tries to reach it, and then the whole job of
        Ray Data ends: what is left of the items is mapped anew.
        """
        items = list(items)
        if items:
            self._cluster.clear()
        done, tries = 0, self._restarts
        while done < len(items):
            try:
                for result in self._results(stage, items[done:], start):
                    done += 1
                    yield result
            except self._ray.exceptions.ActorUnavailableError as error:
                if not tries:
                    raise failed(stage, error) from error
                tries -= 1
                logger.warning(f"a Ray worker of stage {stage} is out of reach: others go on")
            except self._ray.exceptions.RayError as error:
                raise failed(stage, error) from error

    def _results(
        self, stage: str, items: Sequence[Item], start: Start[Item, Result]
    ) -> Iterator[Result]:
        workers: list[str] = []
        dataset = self._dataset(stage, items, start, workers)
        # No prefetch: it would hold back each result until the next one is there.
        blocks = dataset.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
        # Closed also where an error ends it: where a thread of Ray Data's outlives the cluster, Ray
        # ends this process, before the error is told.
        with self._ended(workers), closing(iter(blocks)) as left:
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

    @contextmanager
    def _ended(self, workers: Iterable[str]) -> Iterator[None]:
        """End the actors of these names with the context.

        Ray Data lets go of its actors, and one that is being restarted then, as where its node was
        lost, lives on: its room would be gone for as long as this process lives.
        """
        try:
            yield
        finally:
            for name in workers if self._ray.is_initialized() else ():
                with suppress(ValueError):  # ended, or never begun
                    self._ray.kill(self._ray.get_actor(name))

    def _dataset(
        self, stage: str, items: Sequence[Item], start: Start[Item, Result], workers: list[str]
    ) -> Any:
        """`workers`: gets the names of the actors."""
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

        def of_worker() -> dict[str, Any]:
            workers.append(f"seamaug-{stage}-{uuid4().hex}")
            return {"name": workers[-1], "max_restarts": tries, "max_task_retries": tries}

        tries = self._restarts
        return dataset.map_batches(
            _Worker,
            fn_constructor_args=([shared], os.getcwd()),
            batch_size=1,
            batch_format="pyarrow",
            compute=data.ActorPoolStrategy(size=min(pool.size, len(items))),
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            ray_remote_args_fn=of_worker,
        )


class _Worker:
    """An actor: models of its own, and one item after the other.

    Items and results are pickles, as all that Ray carries is: they come from this run's own
    processes over Ray's channels, and from no file. Whoever reaches these can run code anyway.
    """

    def __init__(self, shared: list[Any], folder: str) -> None:
        import ray

        enter(folder)
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
