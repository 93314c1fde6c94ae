"""How many requests a server has to answer at a time: fewer while it is overloaded."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from seamaug.models.retries import Fault

_STEPS = 16
"""Rounds of answers in which the limit climbs from nothing to the most."""


class Pace:
    """A limit to requests in flight that is halved on overload, and then creeps up again.

    As in TCP (additive increase, multiplicative decrease), with a round of answers for the round
    trip: whatever the server can take is found, and kept to, without being told. For one event
    loop.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self.busy = 0
        self._free = asyncio.Condition()
        self._narrowed = 0.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A place among the requests in flight, for the length of the block."""
        async with self._free:
            await self._free.wait_for(lambda: self.busy < int(self.limit))
            self.busy += 1
        begun = time.monotonic()
        try:
            yield
            self.limit = min(self.most, self.limit + self.most / (_STEPS * self.limit))
        except Fault as fault:
            if fault.overload:
                self._narrow(begun)
            raise
        finally:
            self.busy -= 1
            async with self._free:
                self._free.notify(2)  # the one that ends, and one more where the limit rose

    def _narrow(self, begun: float) -> None:
        """Halve the limit, once for all the requests that were under way together."""
        if begun >= self._narrowed:
            self.limit = max(1.0, self.limit / 2)
            self._narrowed = time.monotonic()
