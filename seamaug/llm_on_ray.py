"""The LLM that writes, on workers of a Ray cluster.

Not by Ray Data: rounds of candidates depend on each other, and for each it would start its actors
anew, and load the LLM. These actors stay until the run ends.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any

from seamaug.clock import clock
from seamaug.config import GeneratorConfig
from seamaug.errors import ModelError, SeamaugError
from seamaug.log import logger
from seamaug.models.engines import FREELY, GeneratorEngine, Leave, Reply, Request
from seamaug.models.generator import alike
from seamaug.models.heartbeat import heartbeat
from seamaug.models.load import load_generator
from seamaug.ray_cluster import RayCluster, enter, failed

STAGE = "generate"


class RayGenerator:
    """A pool of workers, each with the engine that the config names; what one writes, any would.

    They begin with the first request: until then others may need their room. Before, one loads the
    LLM and ends, since what cannot be loaded must show at once.

    Raises ConfigError where the cluster has no room for them, ModelError where the LLM does not
    load there.
    """

    def __init__(self, cluster: RayCluster, config: GeneratorConfig) -> None:
        self._cluster, self._ray, self._config = cluster, cluster.ray, config
        self._pool = cluster.pool(STAGE)
        self._workers: list[Any] = []
        tries = cluster.restarts
        self._make = self._ray.remote(_Worker).options(
            num_cpus=self._pool.num_cpus,
            num_gpus=self._pool.num_gpus,
            max_restarts=tries,
            max_task_retries=tries,
        )
        first = self._begun()
        with heartbeat("generator", lambda: "a Ray worker waits for room, or loads it"):
            self.structured, self.paid, self.mark, self.max_length = self._result(
                first.about.remote()
            )
        self._ray.kill(first)

    def stream(
        self, requests: Sequence[Request], leave: Leave = FREELY
    ) -> Iterator[tuple[int, Reply]]:
        """Each request's position and reply, as the workers finish them, some at a time.

        A lost node is unreachable for longer than Ray tries to reach it: another worker takes the
        place of the one that was there.
        """
        if not self._workers:
            self._workers = [self._begun() for _ in range(self._pool.size)]
        waiting, free = deque(self._groups(requests)), deque(self._workers)
        under_way: dict[Any, tuple[Any, list[int]]] = {}
        tries = self._cluster.restarts
        while True:
            while free and waiting and leave.begin([requests[i] for i in waiting[0]]):
                worker, group = free.popleft(), waiting.popleft()
                under_way[worker.replies.remote([requests[i] for i in group])] = worker, group
            if not under_way:
                return
            state = f"{len(under_way)} Ray workers are at it, {len(waiting):,} batches wait"
            with clock.kind("generation"), heartbeat("generator", partial(str, state)):
                (ready, *_), _ = self._ray.wait(list(under_way), num_returns=1)
                worker, group = under_way.pop(ready)
                try:
                    replies = self._result(ready)
                except _UnreachableError:
                    if not tries:
                        raise
                    tries -= 1
                    logger.warning("a Ray worker with the LLM is out of reach: another one begins")
                    waiting.appendleft(group)
                    free.append(self._instead_of(worker))
                    continue
            free.append(worker)
            for position, reply in replies:
                yield group[position], reply

    def _begun(self) -> Any:
        worker = self._make.remote(self._config, os.getcwd())
        self._cluster.hold(worker)
        return worker

    def _instead_of(self, lost: Any) -> Any:
        self._ray.kill(lost)  # else it comes back, and holds room for nothing
        new = self._begun()
        self._workers[self._workers.index(lost)] = new
        return new

    def _groups(self, requests: Sequence[Request]) -> list[list[int]]:
        """Positions of the requests that a worker takes together."""
        if self._config.engine != "vllm":
            return alike(requests)  # as here, so with the same replies
        step = max(1, -(-len(requests) // self._pool.size))
        return [
            list(range(start, min(start + step, len(requests))))
            for start in range(0, len(requests), step)
        ]

    def _result(self, ref: Any) -> Any:
        try:
            result = self._ray.get(ref)
        except self._ray.exceptions.ActorUnavailableError as error:
            raise _UnreachableError(str(failed(STAGE, error))) from error
        except self._ray.exceptions.RayError as error:
            raise failed(STAGE, error) from error
        if isinstance(result, SeamaugError):
            raise result
        return result


class _UnreachableError(ModelError):
    """A worker's node does not answer."""


class _Worker:
    """An actor with the LLM. Errors that the user can act on are results: Ray would bury them."""

    def __init__(self, config: GeneratorConfig, folder: str) -> None:
        enter(folder)
        self._config = config

    @cached_property
    def _engine(self) -> GeneratorEngine:
        return load_generator(self._config)

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
