"""The LLM that writes, on workers of a Ray cluster."""

from collections.abc import Iterator, Sequence
from functools import partial
from operator import attrgetter

from seamaug.clock import clock
from seamaug.config import GeneratorConfig
from seamaug.models.engines import FREELY, GeneratorEngine, Leave, Reply, Request
from seamaug.models.generator import alike
from seamaug.models.load import load_generator
from seamaug.on_ray.workers import Engine, Workers


class RayGenerator:
    """Workers with the engine that the config names.

    One loads the LLM when this is made, since what cannot be loaded must show at once: raises
    ModelError then.
    """

    def __init__(self, workers: Workers, config: GeneratorConfig) -> None:
        self._workers, self._config = workers, config
        self._engine = Engine(load_generator, config, "generator")
        self.structured, self.paid, self.mark, self.max_length = workers.ask(
            self._engine, attrgetter("structured", "paid", "mark", "max_length")
        )

    def stream(
        self, requests: Sequence[Request], leave: Leave = FREELY
    ) -> Iterator[tuple[int, Reply]]:
        """Each request's position and reply, as the workers finish them, some at a time."""
        groups = groups_of(requests, self._config.engine, self._workers.size)
        asked = [[requests[i] for i in group] for group in groups]
        answers = self._workers.answers(
            self._engine,
            [partial(_replies, group) for group in asked],
            lambda number: leave.begin(asked[number]),
        )
        while True:
            with clock.kind("generation"):
                number, replies = next(answers, (None, ()))
            if number is None:
                return
            for position, reply in replies:
                yield groups[number][position], reply


def groups_of(requests: Sequence[Request], engine: str, workers: int) -> list[list[int]]:
    """Positions of the requests that a worker takes together."""
    if engine != "vllm":
        return alike(requests)  # as here, so with the same replies
    step = max(1, -(-len(requests) // workers))
    return [
        list(range(start, min(start + step, len(requests))))
        for start in range(0, len(requests), step)
    ]


def _replies(requests: Sequence[Request], engine: GeneratorEngine) -> list[tuple[int, Reply]]:
    return list(engine.stream(requests))
