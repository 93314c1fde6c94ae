"""Requests to one server, many at a time, in an event loop of their own."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from seamaug.models.pace import Pace
from seamaug.models.retries import Fault, GiveUp, TimedOut, Unreachable, pause, refusal

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

_CONNECT = 10.0
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError)

Read = Callable[[Any], Any]
"""What an answer's JSON says; raises one of _MALFORMED where it is not as agreed."""
Arrived = SimpleQueue[tuple[int, Any] | None]


@dataclass(frozen=True, slots=True)
class Manners:
    """How a server is treated."""

    in_flight: int
    """Requests at a time, at most."""
    attempts: int
    """Times that one request is sent; what the server puts off (429, 503) does not count."""
    timeout: float
    """Seconds that it may take for an answer."""
    patience: float
    """Seconds for all attempts at one request."""


class Sender:
    """Sends requests and repeats them where that may help; its coroutines run in `loop()`."""

    def __init__(self, key: str, manners: Manners) -> None:
        import httpx

        self._manners = manners
        self._pace = Pace(manners.in_flight)
        self._pausing = 0
        self._trouble = ""
        self._reached = False
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(None, connect=_CONNECT),
            limits=httpx.Limits(max_keepalive_connections=manners.in_flight),
        )

    async def settle(self, method: str, url: str, body: Any, read: Read) -> Any:
        """What `read` makes of the answer, after as many attempts as it takes; or a Fault."""
        from tenacity import AsyncRetrying, retry_if_exception

        content = None if body is None else json.dumps(body).encode()
        retrying = AsyncRetrying(
            retry=retry_if_exception(self._may_pass),
            wait=pause,
            stop=GiveUp(self._manners.attempts, self._manners.patience),
            before_sleep=self._note,
            sleep=self._rest,
            reraise=True,
        )
        try:
            return await retrying(self._attempt, method, url, content, read)
        except Fault as fault:
            fault.attempts = retrying.statistics["attempt_number"]
            return fault

    async def settle_all(
        self, url: str, bodies: Iterable[Any], read: Read, arrived: Arrived
    ) -> None:
        """Position and outcome of each POST into the queue as they come; None at the end.

        A body is drawn when there is room to send it.
        """
        waiting = enumerate(bodies)

        async def work() -> None:
            for position, body in waiting:  # shared: each takes the next one
                arrived.put((position, await self.settle("POST", url, body, read)))

        try:
            async with asyncio.TaskGroup() as group:
                # Twice as many as may be in flight: a request that pauses keeps no other back.
                for _ in range(2 * self._manners.in_flight):
                    group.create_task(work())
        finally:
            arrived.put(None)

    def state(self) -> str:
        """What is under way, for the log."""
        trouble = f", since it {self._trouble}" if self._pausing else ""
        return (
            f"{self._pace.busy:,} requests in flight of {int(self._pace.limit):,} at most, "
            f"{self._pausing:,} waiting to be sent again{trouble}"
        )

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    async def _attempt(self, method: str, url: str, content: bytes | None, read: Read) -> Any:
        async with self._pace.slot():
            response = await self._answer(method, url, content)
            self._reached = True
            if not response.is_success:
                raise refusal(response)
            try:
                return read(response.json())
            except _MALFORMED:
                text = " ".join(response.text.split())[:80]
                raise Fault(f"answered with something else than what was asked: {text}") from None

    async def _answer(self, method: str, url: str, content: bytes | None) -> "httpx.Response":
        import httpx

        try:
            async with asyncio.timeout(self._manners.timeout):
                return await self._http.request(
                    method, url, content=content, headers={"Content-Type": "application/json"}
                )
        except TimeoutError:
            raise TimedOut(f"gave no answer within {self._manners.timeout:g} s") from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise Unreachable(f"cannot be reached ({error})") from None
        except httpx.HTTPError as error:
            raise Fault(f"broke off the connection ({error or type(error).__name__})") from None

    def _may_pass(self, error: BaseException) -> bool:
        """Whether the same request may succeed later.

        A server that was never reached is not there; one that was may be starting anew.
        """
        if isinstance(error, Unreachable):
            return self._reached
        return isinstance(error, Fault) and not error.lasting

    def _note(self, state: "RetryCallState") -> None:
        fault = state.outcome.exception() if state.outcome else None
        self._trouble = str(fault)

    async def _rest(self, seconds: float) -> None:
        self._pausing += 1
        try:
            await asyncio.sleep(seconds)
        finally:
            self._pausing -= 1


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The event loop of all senders, in a thread that ends with the process."""
    own = asyncio.new_event_loop()
    threading.Thread(target=own.run_forever, name="seamaug http", daemon=True).start()
    return own
