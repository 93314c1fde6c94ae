"""A sign of life from an engine that works in silence in this process."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from seamaug.log import logger
from seamaug.units import human_seconds

HEARTBEAT = 30.0
"""Seconds between two lines of the log; a batch of long replies may well take as many."""


@contextmanager
def heartbeat(role: str, state: Callable[[], str]) -> Iterator[None]:
    """While the block runs, the log says now and then for how long, and what `state` returns.

    `state` is called in a thread of its own, so it only reads.
    """
    ended = threading.Event()
    since = time.monotonic()

    def beat() -> None:
        while not ended.wait(HEARTBEAT):
            spent = human_seconds(time.monotonic() - since)
            logger.info(f"the {role} model has been at work for {spent}: {state()}")

    thread = threading.Thread(target=beat, name="seamaug heartbeat", daemon=True)
    try:
        with suppress(RuntimeError):  # no room for a thread: the work can do without
            thread.start()
        yield
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()
