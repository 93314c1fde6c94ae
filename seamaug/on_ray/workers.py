"""Workers of a Ray cluster that stay, and are asked again and again.

Not by Ray Data: what depends on earlier answers is asked in turns, and for each turn it would start
its actors anew, and load their models.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from seamaug.errors import ModelError, SeamaugError
from seamaug.log import logger
from seamaug.models.heartbeat import heartbeat
from seamaug.on_ray.cluster import Pool, RayCluster, enter, failed


class Engine(NamedTuple):
    """A model that each worker loads where it is first asked."""

    load: Callable[[Any], Any]
    """From its config to the model; importable, since a worker gets it by its name."""
    config: Any
    role: str


Ask = Callable[[Any], Any]
"""From the model to an answer, as a pickle: `operator.methodcaller` and the like."""


class Workers:
    """The workers of a stage. They begin with the first question, and stay until the run ends, or
    until others need their room; what one answers, any would."""

    def __init__(self, cluster: RayCluster, stage: str, pool: Pool) -> None:
        self.size = pool.size
        self._cluster, self._ray, self._stage = cluster, cluster.ray, stage
        self._begun: list[Any] = []
        tries = cluster.restarts
        self._actor = self._ray.remote(_Worker).options(
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus,
            max_restarts=tries,
            max_task_retries=tries,
        )
        cluster.at_clear(self.end)

    def end(self) -> None:
        """End those that have begun; the next question begins new ones."""
        for worker in self._begun:
            self._ray.kill(worker)
        self._begun = []

    def ask(self, engine: Engine, question: Ask) -> Any:
        """The answer of one worker."""
        ((_, answer),) = self.answers(engine, [question])
        return answer

    def answers(
        self,
        engine: Engine,
        questions: Sequence[Ask],
        may_begin: Callable[[int], bool] = lambda _: True,
    ) -> Iterator[tuple[int, Any]]:
        """Each question's position and answer, as they arrive; a free worker takes the next one.

        may_begin: whether the question at a position may be asked; where it is false, no more are.
        A lost node is unreachable for longer than Ray tries to reach it: another worker takes the
        place of the one that was there.
        """
        while len(self._begun) < min(self.size, len(questions)):
            self._begun.append(self._new())
        waiting, free = deque(range(len(questions))), deque(self._begun)
        under_way: dict[Any, tuple[Any, int]] = {}
        tries = self._cluster.restarts
        while True:
            while free and waiting and may_begin(waiting[0]):
                worker, position = free.popleft(), waiting.popleft()
                under_way[worker.answer.remote(engine, questions[position])] = worker, position
            if not under_way:
                return
            state = f"{len(under_way)} Ray workers are at it, {len(waiting):,} batches wait"
            with heartbeat(engine.role, partial(str, state)):
                (ready, *_), _ = self._ray.wait(list(under_way), num_returns=1)
                worker, position = under_way.pop(ready)
                try:
                    answer = self._result(ready)
                except _UnreachableError:
                    if not tries:
                        raise
                    tries -= 1
                    logger.warning(
                        f"a Ray worker with the {engine.role} model is out of reach: another one "
                        "begins"
                    )
                    waiting.appendleft(position)
                    free.append(self._instead_of(worker))
                    continue
            free.append(worker)
            yield position, answer

    def _new(self) -> Any:
        return self._actor.remote(os.getcwd())

    def _instead_of(self, lost: Any) -> Any:
        self._ray.kill(lost)  # else it comes back, and holds room for nothing
        new = self._new()
        self._begun[self._begun.index(lost)] = new
        return new

    def _result(self, ref: Any) -> Any:
        try:
            result = self._ray.get(ref)
        except self._ray.exceptions.ActorUnavailableError as error:
            raise _UnreachableError(str(failed(self._stage, error))) from error
        except self._ray.exceptions.RayError as error:
            raise failed(self._stage, error) from error
        if isinstance(result, SeamaugError):
            raise result
        return result


class _UnreachableError(ModelError):
    """A worker's node does not answer."""


class _Worker:
    """An actor with models. Errors that the user can act on are answers: Ray would bury them."""

    def __init__(self, folder: str) -> None:
        enter(folder)
        self._loaded: dict[str, Any] = {}

    def answer(self, engine: Engine, question: Ask) -> Any:
        """What the question makes of the model."""
        try:
            return question(self._model(engine))
        except SeamaugError as error:
            return error

    def _model(self, engine: Engine) -> Any:
        name = f"{engine.load.__name__} {engine.config!r}"
        if name not in self._loaded:
            self._loaded[name] = engine.load(engine.config)
        return self._loaded[name]
