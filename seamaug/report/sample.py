"""Samples of a stream that do not depend on how it is cut into batches, and their size."""

import heapq
import json
from collections.abc import Iterable
from typing import Any, Generic, TypeVar

from seamaug.printable import printable

Row = TypeVar("Row")


class Lowest(Generic[Row]):
    """Of a stream of rows, the `size` ones (at least 1) of lowest priority.

    With priorities that have nothing to do with the rows, such as a hash, these are a random
    sample; with the negation of a value, the highest.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._heap: list[tuple[float, int, Row]] = []
        self._taken = 0

    def wants(self, priority: float) -> bool:
        """Whether a row of this priority is among the lowest so far."""
        return len(self._heap) < self._size or -priority > self._heap[0][0]

    def take(self, priority: float, row: Row) -> None:
        """Take a row that is wanted; the one of highest priority goes where there are too many."""
        self._taken += 1
        item = (-priority, self._taken, row)
        if len(self._heap) < self._size:
            heapq.heappush(self._heap, item)
        else:
            heapq.heapreplace(self._heap, item)

    def rows(self) -> list[Row]:
        """The rows, lowest priority first."""
        return [row for _, _, row in sorted(self._heap, key=lambda item: (-item[0], item[1]))]


def embedded(value: Any) -> str:
    """JSON that may stand inside a script element, with a mark for each steering character.

    Nothing in it ends the element, begins a comment or another element, or ends a line of a script.
    """
    text = json.dumps(_shown(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {_shown(key): _shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    return value


def within(rows: Iterable[Row], size: int) -> list[Row]:
    """The first rows whose `embedded` form takes at most `size` bytes together."""
    taken, left = [], size
    for row in rows:
        left -= len(embedded(row).encode()) + 1
        if left < 0:
            break
        taken.append(row)
    return taken


def clipped(text: str, chars: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= chars else text[: chars - 1] + "…"


def rounded(value: float | None) -> float | None:
    """To four digits, since a page is read and not calculated with."""
    return None if value is None else float(f"{value:.4g}")
