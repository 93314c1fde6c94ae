"""What becomes of a request that failed: whether to send it again, when, and what to say."""

import json
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenacity import RetryCallState

PAUSE = 0.5
"""Seconds before the second attempt, on average; doubled each time."""
LONGEST_PAUSE = 300.0
"""Seconds: a server that asks for more is not waited for any longer."""
_LONGEST_BACKOFF = 30.0
_BUSY = (429, 503)


class Fault(Exception):  # noqa: N818 - what the server did, not an error of ours
    """A request without a usable answer, and why, in a few words.

    status: of the server's answer; 0 where there was none. later: its Retry-After header.
    """

    def __init__(self, reason: str, status: int = 0, later: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.later = later
        self.attempts = 1

    @property
    def lasting(self) -> bool:
        """Whether the same request would fail again."""
        return 300 <= self.status < 500 and self.status not in (408, 409, 425, 429)

    @property
    def busy(self) -> bool:
        """Whether the server says that it would answer later."""
        return self.status in _BUSY

    @property
    def overload(self) -> bool:
        """Whether fewer requests at a time may help.

        A 500 may be one request's own fault, but servers answer so too where memory or workers run
        out, and what it alone lowers the answers to others raise again. A connection that breaks
        off says nothing of load: servers close idle ones at any time, also under a request.
        """
        return self.busy or self.status >= 500 or isinstance(self, TimedOut)


class Unreachable(Fault):
    """No server is there."""


class TimedOut(Fault):
    """The server took too long for an answer."""


def said(content: bytes, key: str) -> str:
    """What a server says is wrong, in one short line, without the key that it may repeat."""
    try:
        body: Any = json.loads(content)
        text = str((body.get("error") or body)["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        text = content.decode("utf-8", "replace")
    text = text.replace(key, "***") if key else text  # before a cut could leave a part of it
    return " ".join(text.split())[:300] or "no reason given"


class GiveUp:
    """When tenacity is to stop: after `attempts` faults, or where `patience` seconds would pass.

    Busy is no fault: what a server puts off is asked for again as long as patience lasts. Nor is a
    server that was there and is gone: it may be starting anew, which takes a large model minutes.
    Patience is with the server: while a request waits for its turn, it does not run out.
    """

    def __init__(self, attempts: int, patience: float) -> None:
        self._attempts, self._patience = attempts, patience
        self._faults = 0
        self.queued = 0.0
        """Seconds that the request waited for its turn."""

    def __call__(self, state: "RetryCallState") -> bool:
        """Whether the attempt that just failed was the last."""
        fault = state.outcome.exception() if state.outcome else None
        waits = isinstance(fault, Unreachable) or (isinstance(fault, Fault) and fault.busy)
        self._faults += not waits
        waited = (state.seconds_since_start or 0.0) - self.queued
        late = waited + state.upcoming_sleep > self._patience
        return late or self._faults >= self._attempts


def pause(state: "RetryCallState") -> float:
    """Seconds to wait: what the server asks for, else twice as long each time, with jitter.

    Without jitter all requests that failed together would come again together.
    """
    from tenacity import wait_random_exponential

    fault = state.outcome.exception() if state.outcome else None
    asked = _seconds(fault.later) if isinstance(fault, Fault) else None
    backoff = PAUSE / 2 + wait_random_exponential(multiplier=PAUSE, max=_LONGEST_BACKOFF)(state)
    return backoff if asked is None else min(asked + backoff - PAUSE / 2, LONGEST_PAUSE)


def _seconds(value: str | None) -> float | None:
    """Seconds from a Retry-After header: a number, or a date."""
    if value is None:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
