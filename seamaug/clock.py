"""Where the seconds go: exclusive wall-clock time by kind of work.

Time inside a nested block counts for the inner block alone, so the kinds sum to the whole.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


class Clock:
    """Adds up exclusive seconds per (stage, kind); not thread-safe."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start anew: a process may run several jobs."""
        self.seconds: dict[tuple[str, str], float] = defaultdict(float)
        self._stack: list[tuple[str, str]] = [("start", "orchestration")]
        self._since = time.perf_counter()

    def _charge(self) -> None:
        now = time.perf_counter()
        self.seconds[self._stack[-1]] += now - self._since
        self._since = now

    @contextmanager
    def _block(self, key: tuple[str, str]) -> Iterator[None]:
        self._charge()
        self._stack.append(key)
        try:
            yield
        finally:
            self._charge()
            self._stack.pop()

    def stage(self, name: str) -> AbstractContextManager[None]:
        """A stage of the flow; what no kind claims in it is orchestration."""
        return self._block((name, "orchestration"))

    def kind(self, name: str) -> AbstractContextManager[None]:
        """Work of one kind (`policy`, `tokenizer`, `index`, ...) within the current stage."""
        return self._block((self._stack[-1][0], name))

    def report(self) -> dict[str, dict[str, float]]:
        """Seconds by stage and kind, in the order in which the stages began."""
        self._charge()
        stages: dict[str, dict[str, float]] = {}
        for (stage, kind), seconds in self.seconds.items():
            stages.setdefault(stage, {})[kind] = round(seconds, 3)
        return stages


clock = Clock()
"""The process's clock: a job resets it when it starts."""
