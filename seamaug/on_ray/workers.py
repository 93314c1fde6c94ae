"""Workers of a Ray cluster that stay, and are asked again and again.

Not by Ray Data: what depends on earlier answers is asked in turns, and for each turn it would start
its actors anew, and load their models.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence, Sized
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
    until others need their room; what one answers, any would.

    None is asked before it is there: one that Ray finds no room for holds nothing up while others
    work. What is lost with a worker is asked again here, not by Ray, which would wait for the room
    to bring that very worker back.
    """

    def __init__(self, cluster: RayCluster, stage: str, pool: Pool) -> None:
        self.size = pool.size
        self._cluster, self._ray, self._stage = cluster, cluster.ray, stage
        self._there: list[Any] = []
        self._coming: dict[Any, Any] = {}
        self._actor = self._ray.remote(_Worker).options(
            num_cpus=pool.num_cpus, num_gpus=pool.num_gpus, max_restarts=0, max_task_retries=0
        )
        cluster.at_clear(self.end)

    def end(self) -> None:
        """End those that have begun; the next question begins new ones."""
        for worker in (*self._there, *self._coming.values()):
            self._ray.kill(worker)
        self._there, self._coming = [], {}

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
        Raises ModelError where workers are lost more often than `ray.restarts`.
        """
        while len(self._there) + len(self._coming) < min(self.size, len(questions)):
            self._begin()
        waiting = deque(range(len(questions)))
        under_way: dict[Any, tuple[Any, int]] = {}
        tries = self._cluster.restarts
        while True:
            busy = {id(worker) for worker, _ in under_way.values()}
            for worker in [one for one in self._there if id(one) not in busy]:
                if waiting and not may_begin(waiting[0]):
                    waiting.clear()
                if waiting:
                    position = waiting.popleft()
                    under_way[worker.answer.remote(engine, questions[position])] = worker, position
            if not under_way and not waiting:
                return
            ready = self._next([*under_way, *(self._coming if waiting else ())], engine, waiting)
            worker, asked = under_way.pop(ready, (self._coming.get(ready), None))
            try:
                answer = self._result(ready)
            except _LostError as error:
                if not tries:
                    raise
                tries -= 1
                logger.warning(
                    f"a Ray worker with the {engine.role} model is lost ({error.reason})"
                )
                waiting.extendleft([] if asked is None else [asked])
                self._replace(worker, ready)
                continue
            if asked is None:
                self._there.append(self._coming.pop(ready))
            else:
                yield asked, answer

    def _next(self, refs: Sequence[Any], engine: Engine, waiting: Sized) -> Any:
        """The first of these that is done; the log says now and then what is waited for."""
        state = (
            f"{len(self._there)} Ray workers are there, {len(self._coming)} wait for room or "
            f"begin; {len(waiting):,} more batches wait for them"
        )
        with heartbeat(engine.role, partial(str, state)):
            (ready, *_), _ = self._ray.wait(refs, num_returns=1)
        return ready

    def _begin(self) -> None:
        worker = self._actor.remote(os.getcwd())
        self._coming[worker.there.remote()] = worker

    def _replace(self, lost: Any, ref: Any) -> None:
        """Raises ConfigError where none is left, and no node has room for another one."""
        self._ray.kill(lost)  # it may only be out of reach
        self._coming.pop(ref, None)
        self._there = [worker for worker in self._there if worker is not lost]
        if not self._there:
            self._cluster.check_needs(self._stage)
        self._begin()

    def _result(self, ref: Any) -> Any:
        try:
            result = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            raise failed(self._stage, error) from error
        except self._ray.exceptions.RayError as error:
            raise _LostError(str(failed(self._stage, error)), str(error)) from error
        if isinstance(result, SeamaugError):
            raise result
        return result


class _LostError(ModelError):
    """A worker died, or its node does not answer."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason.partition("\n")[0]


class _Worker:
    """An actor with models. Errors that the user can act on are answers: Ray would bury them."""

    def __init__(self, folder: str) -> None:
        enter(folder)
        self._loaded: dict[str, Any] = {}

    def there(self) -> None:
        """It is, once this returns."""

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
