"""The LLM that writes, on workers of a Ray cluster.

Not by Ray Data: rounds of candidates depend on each other, and for each it would start its actors
anew, and load the LLM. These actors stay until the run ends.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Any

from seamaug.clock import clock
from seamaug.config import GeneratorConfig
from seamaug.errors import SeamaugError
from seamaug.models.engines import GeneratorEngine, Reply, Request, always
from seamaug.models.generator import alike
from seamaug.models.heartbeat import heartbeat
from seamaug.models.load import load_generator
from seamaug.ray_cluster import RayCluster, failed

STAGE = "generate"


class RayGenerator:
    """A pool of workers, each with the engine that the config names; what one writes, any would.

    Raises ConfigError where the cluster has no room for them, ModelError where the LLM does not
    load there.
    """

    def __init__(self, cluster: RayCluster, config: GeneratorConfig) -> None:
        pool = cluster.pool(STAGE)
        self._ray, self._batches_itself = cluster.ray, config.engine == "vllm"
        tries = cluster.restarts
        worker = self._ray.remote(_Worker).options(
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            max_restarts=tries,
            max_task_retries=tries,
        )
        self._workers = [worker.remote(config, os.getcwd()) for _ in range(pool.size)]
        with heartbeat("generator", lambda: f"{pool.size} Ray workers load it"):
            nodes = self._results(worker.node.remote() for worker in self._workers)
            cluster.hold(dict(zip(self._workers, nodes, strict=True)), pool)
            told = self._results(worker.about.remote() for worker in self._workers)
        self.structured, self.paid, self.mark, self.max_length = told[0]

    def stream(
        self, requests: Sequence[Request], go_on: Callable[[], bool] = always
    ) -> Iterator[tuple[int, Reply]]:
        """Each request's position and reply, as the workers finish them, some at a time."""
        waiting, free = deque(self._groups(requests)), deque(self._workers)
        under_way: dict[Any, tuple[Any, list[int]]] = {}
        while True:
            while free and waiting and go_on():
                worker, group = free.popleft(), waiting.popleft()
                under_way[worker.replies.remote([requests[i] for i in group])] = worker, group
            if not under_way:
                return
            state = f"{len(under_way)} Ray workers are at it, {len(waiting):,} batches wait"
            with clock.kind("generation"), heartbeat("generator", partial(str, state)):
                (ready, *_), _ = self._ray.wait(list(under_way), num_returns=1)
                (replies,) = self._results([ready])
            worker, group = under_way.pop(ready)
            free.append(worker)
            for position, reply in replies:
                yield group[position], reply

    def _groups(self, requests: Sequence[Request]) -> list[list[int]]:
        """Positions of the requests that a worker takes together."""
        if not self._batches_itself:
            return alike(requests)  # as here, so with the same replies
        step = -(-len(requests) // len(self._workers))
        return [
            list(range(start, min(start + step, len(requests))))
            for start in range(0, len(requests), step)
        ]

    def _results(self, refs: Iterable[Any]) -> list[Any]:
        try:
            results: list[Any] = self._ray.get(list(refs))
        except self._ray.exceptions.RayError as error:
            raise failed(STAGE, error) from error
        for result in results:
            if isinstance(result, SeamaugError):
                raise result
        return results


class _Worker:
    """An actor with the LLM. Errors that the user can act on are results: Ray would bury them."""

    def __init__(self, config: GeneratorConfig, folder: str) -> None:
        with suppress(OSError):  # on another machine there may be no such folder
            os.chdir(folder)  # paths in the config are relative to it
        self._config = config

    @cached_property
    def _engine(self) -> GeneratorEngine:
        return load_generator(self._config)

    def node(self) -> str:
        """Where this is."""
        import ray

        return str(ray.get_runtime_context().get_node_id())

    def about(self) -> tuple[Any, ...] | SeamaugError:
        """What the LLM's engine says of itself, once it is loaded."""
        try:
            own = self._engine
        except SeamaugError as error:
            return error
        return own.structured, own.paid, own.mark, own.max_length

    def replies(self, requests: Sequence[Request]) -> list[tuple[int, Reply]] | SeamaugError:
        """Position and reply of each."""
        try:
            return list(self._engine.stream(requests))
        except SeamaugError as error:
            return error
