"""Requests to one server, many at a time, in an event loop of their own."""

import asyncio
import json
import math
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from seamaug.models.pace import Pace
from seamaug.models.retries import Fault, GiveUp, TimedOut, Unreachable, pause, said

if TYPE_CHECKING:
    import aiohttp
    from tenacity import RetryCallState

_CONNECT = 10.0
_LARGEST = 256 << 20
"""Bytes of an answer; the largest sound ones hold a few hundred for each of `batch_tokens`."""
_MALFORMED = (KeyError, IndexError, TypeError, ValueError, AttributeError, RecursionError)

Read = Callable[[Any], Any]
"""What an answer's JSON says; raises one of _MALFORMED where it is not as agreed."""
Arrived = SimpleQueue[tuple[int, Any, asyncio.Event] | None]
"""Position, outcome, and what to set once that is safe with whoever asked."""


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

    def __init__(self, url: str, key: str, manners: Manners) -> None:
        self._proxy = _proxy(url)
        self._key = key
        self._manners = manners
        self._pace = Pace(manners.in_flight)
        self._pausing = 0
        self._trouble = ""
        self._reached = False
        self._http: aiohttp.ClientSession | None = None

    async def settle(self, method: str, url: str, body: Any, read: Read) -> Any:
        """What `read` makes of the answer, after as many attempts as it takes; or a Fault."""
        from tenacity import AsyncRetrying, retry_if_exception

        content = None if body is None else json.dumps(body).encode()
        give_up = GiveUp(self._manners.attempts, self._manners.patience)
        retrying = AsyncRetrying(
            retry=retry_if_exception(self._may_pass),
            wait=pause,
            stop=give_up,
            before_sleep=self._note,
            sleep=self._rest,
            reraise=True,
        )
        try:
            return await retrying(self._attempt, give_up, method, url, content, read)
        except Fault as fault:
            fault.attempts = retrying.statistics["attempt_number"]
            return fault

    async def settle_all(
        self, url: str, bodies: Iterable[Any], read: Read, arrived: Arrived, deadline: float
    ) -> None:
        """Position and outcome of each POST into the queue as they come; None at the end.

        Bodies are drawn as they are needed, up to twice as many as may be in flight. None is drawn
        in place of one whose outcome is not safe yet: what a killed process can lose is bounded.
        What is under way at the deadline ends without an outcome, whatever it waits for: an answer,
        its turn, or the next attempt.
        """
        waiting = enumerate(bodies)

        async def work() -> None:
            for position, body in waiting:  # shared: each takes the next one
                outcome, safe = await self.settle("POST", url, body, read), asyncio.Event()
                arrived.put((position, outcome, safe))
                await safe.wait()

        left = None if deadline == math.inf else deadline - time.monotonic()
        try:
            with suppress(TimeoutError):  # of the deadline; those of requests are outcomes
                async with asyncio.timeout(left), asyncio.TaskGroup() as group:
                    # Twice as many: a request that pauses keeps no other back.
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

    def close(self) -> None:
        """Let the connections go; what is not closed is when its owner is gone."""
        if self._http:
            self._closing()

    async def _attempt(
        self, give_up: GiveUp, method: str, url: str, content: bytes | None, read: Read
    ) -> Any:
        asked = time.monotonic()
        async with self._pace.slot():
            give_up.queued += time.monotonic() - asked
            status, later, answer = await self._answer(method, url, content)
            self._reached = True
            if not 200 <= status < 300:
                raise Fault(f"answered {status}: {said(answer, self._key)}", status, later)
            try:
                return read(json.loads(answer))
            except _MALFORMED:
                raise Fault(
                    f"answered with something else than asked: {said(answer, self._key)}"
                ) from None

    async def _answer(
        self, method: str, url: str, content: bytes | None
    ) -> tuple[int, str | None, bytes]:
        """Status, Retry-After and body of an answer."""
        import aiohttp

        try:
            async with (
                asyncio.timeout(self._manners.timeout),
                self._session().request(method, url, data=content, allow_redirects=False) as answer,
            ):
                return answer.status, answer.headers.get("Retry-After"), await _body(answer)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Unreachable(f"cannot be reached ({error})") from None
        except TimeoutError:
            raise TimedOut(f"gave no answer within {self._manners.timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Fault(f"broke off the connection ({error or type(error).__name__})") from None

    def _session(self) -> "aiohttp.ClientSession":
        """Made where it is used: it belongs to the running loop."""
        import aiohttp

        if self._http is None:
            headers = {"Content-Type": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            self._http = aiohttp.ClientSession(
                headers=headers,
                connector=aiohttp.TCPConnector(limit=0),  # the pace is the limit
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT),
                proxy=self._proxy,
            )
            self._closing = weakref.finalize(self, _close, self._http)
        return self._http

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


_THREAD = "seamaug http"


@cache
def loop() -> asyncio.AbstractEventLoop:
    """The event loop of all senders, in a thread that ends with the process."""
    own = asyncio.new_event_loop()
    threading.Thread(target=own.run_forever, name=_THREAD, daemon=True).start()
    return own


async def _body(answer: "aiohttp.ClientResponse") -> bytes:
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > _LARGEST:
            raise Fault(f"answered with more than {_LARGEST >> 20} MiB")
    return bytes(body)


def _close(session: "aiohttp.ClientSession") -> None:
    closing = asyncio.run_coroutine_threadsafe(session.close(), loop())
    if threading.current_thread().name != _THREAD:  # it would wait for itself
        closing.result()


def _proxy(url: str) -> str | None:
    """What the environment names; not by aiohttp's own way, which reads .netrc as well."""
    parts = urlsplit(url)
    bypassed = proxy_bypass(parts.hostname or "")
    return None if bypassed else getproxies().get(parts.scheme)
