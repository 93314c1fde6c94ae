"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from seamaug.log import logger, terminal
from seamaug.units import human_count, human_seconds

_LOG_EVERY = 20.0  # seconds between log lines where there is no terminal


class Progress:
    """Counts of one stage with rate and time left; `advance` is cheap to call."""

    def __init__(self, stage: str, total: float | None, unit: str) -> None:
        self.stage, self.total, self.unit = stage, total, unit
        self.done = 0.0
        self.note = ""
        self._start = self._logged = time.monotonic()
        self._resumed = 0.0

    def advance(self, count: float, note: str = "", *, resumed: bool = False) -> None:
        """`count` more are done; those read from an earlier run do not count for the rate."""
        self.done += count
        self._resumed += count if resumed else 0
        self.note = note
        if not sys.stderr.isatty() and time.monotonic() - self._logged >= _LOG_EVERY:
            self._logged = time.monotonic()
            logger.info(self.line())

    def to(self, done: float, note: str = "", *, resumed: bool = False) -> None:
        """Set the count itself."""
        self.advance(done - self.done, note, resumed=resumed)

    def line(self) -> str:
        """`score 1,280/1,993 seeds, 21.3/s, 33 s left`."""
        rate = (self.done - self._resumed) / max(time.monotonic() - self._start, 1e-6)
        parts = [f"{self.stage} {_number(self.done)}"]
        if self.total is not None:
            parts[0] += f"/{_number(self.total)}"
        parts[0] += f" {self.unit}"
        parts.append(f"{human_count(rate)}/s" if rate >= 10 else f"{rate:.1f}/s")
        if self.total is not None and rate > 0 and self.done < self.total:
            parts.append(f"{human_seconds((self.total - self.done) / rate)} left")
        return ", ".join(parts + ([self.note] if self.note else []))


@contextmanager
def progress(stage: str, total: float | None, unit: str, *, quiet: bool) -> Iterator[Progress]:
    """Show the progress of a stage for the length of the block."""
    state = Progress(stage, total, unit)
    if quiet or not sys.stderr.isatty():
        yield state
    else:
        with _bar(state):
            yield state
    if not quiet:
        taken = human_seconds(time.monotonic() - state._start)
        logger.info(f"{stage}: {_number(state.done)} {unit} in {taken}")


def _number(count: float) -> str:
    """Money has cents."""
    return f"{count:,.0f}" if count == int(count) else f"{count:,.2f}"


@contextmanager
def _bar(state: Progress) -> Iterator[None]:
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    class View:
        def __rich__(self) -> Any:
            grid = Table.grid(padding=(0, 1))
            bar = ProgressBar(total=state.total, completed=state.done, width=24)
            grid.add_row(bar, state.line())
            return grid

    with Live(View(), console=terminal(), refresh_per_second=4, transient=True):
        yield
