"""Where models are mapped over rows: here, or on other machines (on_ray/)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
Start = Callable[[Any], Callable[[Item], Result]]
"""From a worker's models (run_models.py) to what it does with each item."""


class Executor(Protocol):
    """Maps models over items: the same items give the same results wherever that is."""

    def map(
        self, stage: str, items: Iterable[Item], start: Start[Item, Result]
    ) -> Iterator[Result]:
        """The result of each item, in their order, as they are needed or become known.

        stage: `embed` or `score`: the models that are asked, and a section of the config `ray`.
        """
        ...


@dataclass(frozen=True)
class Local:
    """In this process, one item after the other."""

    models: Any

    def map(
        self, stage: str, items: Iterable[Item], start: Start[Item, Result]
    ) -> Iterator[Result]:
        """As the protocol says; nothing is done before it is needed."""
        return map(start(self.models), items)
