"""How many requests a server has to answer at a time: fewer while it is overloaded."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from seamaug.models.retries import Fault


class Pace:
    """A limit to requests in flight that overload brings down, and that then creeps up again.

    Additive increase, multiplicative decrease, as in TCP: a round of answers adds one, a round of
    refusals halves the limit, and one where only some are refused lowers it in proportion. So what
    the server can take is found, and kept to, without being told. For one event loop.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.limit = float(most)
        self.busy = 0
        self._free = asyncio.Condition()

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """A place among the requests in flight, for the length of the block."""
        async with self._free:
            await self._free.wait_for(lambda: self.busy < int(self.limit))
            self.busy += 1
        try:
            yield
            self.limit = min(self.most, self.limit + 1 / self.limit)
        except Fault as fault:
            if fault.overload:
                self.limit = max(1.0, self.limit - 0.5)
            raise
        finally:
            self.busy -= 1
            async with self._free:
                self._free.notify(2)  # the one that ends, and one more where the limit rose
