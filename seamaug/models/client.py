"""JSON over HTTP to a model's server: a few requests at a time, repeated where that may help."""

import importlib
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NoReturn

from seamaug.config import ScorerConfig
from seamaug.errors import ModelError

if TYPE_CHECKING:
    import httpx
    from tenacity import RetryCallState

IN_FLIGHT = 8
"""Requests at a time; each holds `batch_tokens`, so this many keep a server's queue filled."""
ATTEMPTS = 6
"""Times that one request is sent."""
PAUSE = 0.5
"""Seconds before the second attempt, on average; doubled each time."""
LONGEST_PAUSE = 300.0
"""Seconds: a server that asks for more is not waited for any longer."""
ANSWER = 600.0
"""Seconds that a server may take for an answer; it has other clients."""
_CONNECT = 10.0


class Client:
    """A model's server; errors name its url and what to do. Its methods may run in threads."""

    def __init__(self, config: ScorerConfig, role: str) -> None:
        if config.url is None:
            raise ModelError(f"`{role}.engine: server` needs `{role}.url`")
        self.role = role
        self.model = config.served_name or config.name
        self._url = config.url.rstrip("/")
        self.name = f"the {role} server {self._url}"
        self._key = _key(config, role)
        self._reached = False
        try:
            self._httpx = importlib.import_module("httpx")
            importlib.import_module("tenacity")
        except ImportError as error:
            raise ModelError(
                f"`{role}.engine: server` needs {error.name}: pip install 'seamaug[server]'"
            ) from None
        try:
            self._http: httpx.Client = self._httpx.Client(
                headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
                timeout=self._httpx.Timeout(ANSWER, connect=_CONNECT),
            )
            self._httpx.URL(self._url)
        except (self._httpx.InvalidURL, ValueError) as error:
            raise ModelError(f"`{role}.url` {self._url}: {error}") from None

    def card(self) -> dict[str, Any]:
        """What the server says of the model: `id`, `root`, `max_model_len`.

        Raises ModelError if it serves no model of that name.
        """
        cards = self._json("GET", "/models")
        try:
            by_name = {str(card["id"]): dict(card) for card in cards["data"]}
        except (KeyError, TypeError, ValueError):
            self.refuse("does not list its models as OpenAI's API does")
        if self.model not in by_name:
            self.refuse(
                f"serves {', '.join(by_name) or 'no model'}, not {self.model}; set "
                f"`{self.role}.served_name` to the name that it was started with"
            )
        return by_name[self.model]

    def post_all(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """Answers to all bodies, in their order; the model's name is added to each.

        A path that begins with `//` is one beside /v1. The first failure ends the rest.
        """
        failed = threading.Event()

        def post(body: dict[str, Any]) -> Any:
            return self._json("POST", path, {"model": self.model, **body}, failed)

        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            futures = [pool.submit(post, body) for body in bodies]
            try:
                return [future.result() for future in futures]
            except BaseException:
                failed.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def close(self) -> None:
        """Let its connections go."""
        self._http.close()

    def refuse(self, reason: str) -> NoReturn:
        """Raise ModelError: role, url, and the reason with what to do."""
        raise ModelError(f"{self.name} {self._redacted(reason)}")

    def _json(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        failed: threading.Event | None = None,
    ) -> Any:
        from tenacity import (
            Retrying,
            retry_if_exception,
            sleep_using_event,
            stop_after_attempt,
            stop_when_event_set,
        )

        failed = failed or threading.Event()
        base = self._url.removesuffix("/v1") if path.startswith("//") else self._url
        url = f"{base}/{path.lstrip('/')}"
        retrying = Retrying(
            retry=retry_if_exception(self._may_pass),
            wait=_pause,
            stop=stop_after_attempt(ATTEMPTS) | stop_when_event_set(failed),
            sleep=sleep_using_event(failed),
            reraise=True,
        )
        try:
            response: httpx.Response = retrying(self._send, method, url, body)
        except self._httpx.HTTPStatusError as error:
            self._refuse_status(error.response, path)
        except self._httpx.TimeoutException:
            self.refuse(f"gave no answer within {self._http.timeout.read:g} s, {ATTEMPTS} times")
        except self._httpx.HTTPError as error:
            self.refuse(
                f"cannot be reached ({error}); start it (vllm serve {self.model}) or correct "
                f"`{self.role}.url`"
            )
        try:
            return response.json()
        except ValueError:
            self.refuse(f"answered {path} with something that is not JSON; is it vLLM's?")

    def _send(self, method: str, url: str, body: dict[str, Any] | None) -> Any:
        response = self._http.request(method, url, json=body)
        response.raise_for_status()
        self._reached = True
        return response

    def _may_pass(self, error: BaseException) -> bool:
        """Whether the same request may succeed later.

        A server that was never reached is not there; one that was may be starting anew.
        """
        if isinstance(error, self._httpx.HTTPStatusError):
            status = error.response.status_code
            return status in (408, 429) or status >= 500
        if isinstance(error, self._httpx.ConnectError):
            return self._reached
        return isinstance(error, self._httpx.TransportError)

    def _refuse_status(self, response: "httpx.Response", path: str) -> NoReturn:
        status, said = response.status_code, _said(response)
        if status in (401, 403):
            self.refuse(
                f"refuses the key ({status}); name the environment variable that holds the right "
                f"one in `{self.role}.api_key_env`"
            )
        if status == 404:
            self.refuse(
                f"has no {path.lstrip('/')} ({said}); `{self.role}.url` ends in /v1, and a reward "
                "model is served with --runner pooling"
            )
        if status == 429 or status >= 500:
            self.refuse(
                f"answered {status} to {ATTEMPTS} attempts: {said}; once it is well, the same "
                "command goes on"
            )
        self.refuse(f"answered {status}: {said}")

    def _redacted(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def served_model(config: ScorerConfig, role: str) -> str:
    """The folder or hub id of what a server runs under the configured name, as it says itself."""
    client = Client(config, role)
    try:
        return str(client.card().get("root") or "unknown")
    finally:
        client.close()


def _key(config: ScorerConfig, role: str) -> str:
    if config.api_key_env is None:
        return ""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ModelError(
            f"the environment variable that `{role}.api_key_env` names is not set; export it with "
            "the server's key"
        )
    return key


def _said(response: "httpx.Response") -> str:
    """What a server says is wrong, in one short line."""
    try:
        body = response.json()
        text = str((body.get("error") or body)["message"])
    except (ValueError, KeyError, TypeError, AttributeError):
        text = response.text
    return " ".join(text.split())[:300] or "no reason given"


def _pause(state: "RetryCallState") -> float:
    """Seconds to wait: what the server asks for, else twice as long each time, with jitter.

    Without jitter all requests that failed together would come again together.
    """
    from tenacity import wait_random_exponential

    error = state.outcome.exception() if state.outcome else None
    response = getattr(error, "response", None)
    asked = _retry_after(response.headers.get("Retry-After")) if response is not None else None
    backoff = PAUSE / 2 + wait_random_exponential(multiplier=PAUSE, max=30)(state)
    return backoff if asked is None else min(asked + backoff - PAUSE / 2, LONGEST_PAUSE)


def _retry_after(value: str | None) -> float | None:
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
