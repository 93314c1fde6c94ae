"""A model's server as the caller's thread sees it: answers, or errors that say what to do."""

import asyncio
import importlib
import math
import os
import time
from collections.abc import Coroutine, Generator, Iterable, Sequence
from contextlib import closing
from queue import Empty, SimpleQueue
from typing import Any, NoReturn

from seamaug.config import LanguageModelConfig
from seamaug.errors import ModelError
from seamaug.log import logger
from seamaug.models.retries import Fault, Unreachable
from seamaug.models.sender import Arrived, Manners, Read, Sender, loop

SCORING = Manners(in_flight=8, attempts=6, timeout=600.0, patience=1800.0)
"""Each request holds `batch_tokens`, so eight keep a server's queue filled."""
HEARTBEAT = 12.0
"""Seconds without an answer after which the log says what is waited for."""


def _as_it_is(answer: Any) -> Any:
    return answer


class Client:
    """A model's server; errors name its url and what to do."""

    def __init__(
        self, config: LanguageModelConfig, role: str, manners: Manners | None = None
    ) -> None:
        if config.url is None:
            raise ModelError(f"`{role}.engine: server` needs `{role}.url`")
        self.role = role
        self.model = config.served_name or config.name
        self._url = config.url.rstrip("/")
        self.name = f"the {role} server {self._url}"
        self._key = _key(config, role)
        _require(role)
        try:
            importlib.import_module("yarl").URL(self._url)
        except ValueError as error:
            raise ModelError(f"`{role}.url` {self._url}: {error}") from None
        self._sender = Sender(self._url, self._key, manners or SCORING)

    def card(self, *, required: bool = True) -> dict[str, Any]:
        """What the server says of the model: `id`, `root`, `max_model_len`.

        Raises ModelError if it serves no model of that name. Not required (hosted ones need not
        list their models), there is nothing where it does not say.
        """
        cards = self._run(self._sender.settle("GET", self._at("/models"), None, _by_name))
        if isinstance(cards, Fault):
            if not required and cards.lasting and cards.status not in (401, 403):
                return {}
            self.fail(cards)
        if required and self.model not in cards:
            self.refuse(
                f"serves {', '.join(cards) or 'no model'}, not {self.model}; set "
                f"`{self.role}.served_name` to the name that it was started with"
            )
        return dict(cards.get(self.model, {}))

    def post(self, path: str, body: dict[str, Any], read: Read = _as_it_is) -> Any:
        """What `read` makes of the answer to one body, or a Fault."""
        ((_, answer),) = self.stream(path, [body], read)
        return answer

    def post_all(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """Answers to all bodies, in their order; the first failure ends the rest."""
        answers: list[Any] = [None] * len(bodies)
        with closing(self.stream(path, bodies)) as stream:
            for position, answer in stream:
                if isinstance(answer, Fault):
                    self.fail(answer)
                answers[position] = answer
        return answers

    def stream(
        self,
        path: str,
        bodies: Iterable[dict[str, Any]],
        read: Read = _as_it_is,
        deadline: float = math.inf,
    ) -> Generator[tuple[int, Any], None, None]:
        """Position of each body with what `read` makes of its answer, or a Fault, as they arrive.

        The model's name is added to each body. A path that begins with `//` is one beside /v1.
        Bodies are drawn in the thread that sends, as they are needed. Where this ends early, what
        is under way ends with it; at the `deadline`, a `time.monotonic` value, it does so itself.
        """
        arrived: Arrived = SimpleQueue()
        named = (self._named(body) for body in bodies)
        sending = asyncio.run_coroutine_threadsafe(
            self._sender.settle_all(self._at(path), named, read, arrived, deadline), loop()
        )
        try:
            while (item := self._next(arrived)) is not None:
                position, outcome, safe = item
                yield position, outcome
                loop().call_soon_threadsafe(safe.set)  # the caller has stored it: it asks for more
            sending.result()  # raises what was no server's fault
        finally:
            sending.cancel()

    def close(self) -> None:
        """Let its connections go."""
        self._sender.close()

    def refuse(self, reason: str) -> NoReturn:
        """Raise ModelError: role, url, and the reason with what to do."""
        raise ModelError(f"{self.name} {self.redacted(reason)}")

    def fail(self, fault: Fault) -> NoReturn:
        """Raise ModelError for what the server did, with what to do about it."""
        times = f" ({fault.attempts} attempts)" if fault.attempts > 1 else ""
        fix = ""
        if isinstance(fault, Unreachable):
            fix = f"; start it (vllm serve {self.model}) or correct `{self.role}.url`"
        elif fault.status in (401, 403):
            fix = (
                "; name the environment variable that holds the right key in "
                f"`{self.role}.api_key_env`"
            )
        elif fault.status == 404:
            fix = (
                f"; `{self.role}.url` ends in /v1, `{self.role}.served_name` is the model's name "
                "there, and a reward model is served with --runner pooling"
            )
        elif not fault.lasting:
            fix = "; once it is well, the same command goes on"
        self.refuse(f"{fault.reason}{times}{fix}")

    def redacted(self, text: str) -> str:
        """A text without the key, which a server may repeat."""
        return text.replace(self._key, "***") if self._key else text

    def _at(self, path: str) -> str:
        base = self._url.removesuffix("/v1") if path.startswith("//") else self._url
        return f"{base}/{path.lstrip('/')}"

    def _named(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"model": self.model, **body}

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        future = asyncio.run_coroutine_threadsafe(work, loop())
        since = time.monotonic()
        while True:
            try:
                return future.result(HEARTBEAT)
            except TimeoutError:
                self._tell(since)

    def _next(self, arrived: Arrived) -> tuple[int, Any, asyncio.Event] | None:
        """What arrives next; while nothing does, the log says what is waited for."""
        since = time.monotonic()
        while True:
            try:
                return arrived.get(timeout=HEARTBEAT)
            except Empty:
                self._tell(since)

    def _tell(self, since: float) -> None:
        seconds = time.monotonic() - since
        logger.warning(
            f"{self.name}: no answer for {seconds:.0f} s; {self.redacted(self._sender.state())}"
        )


def served_model(config: LanguageModelConfig, role: str) -> dict[str, Any]:
    """What a server runs under the configured name, as it says itself.

    `served`: folder or hub id, `unknown` where it does not say (a hosted generator need not even
    list its models). `max_length`: tokens that it takes, or fewer if the config says so; it decides
    which texts are too long. Not there where neither says.
    """
    client = Client(config, role)
    try:
        card = client.card(required=role != "generator")
    finally:
        client.close()
    limits = [n for n in (config.max_length, card.get("max_model_len")) if n]
    served = {"served": str(card.get("root") or "unknown")}
    return {**served, "max_length": min(limits)} if limits else served


def _by_name(cards: Any) -> dict[str, dict[str, Any]]:
    return {str(card["id"]): dict(card) for card in cards["data"]}


def _require(role: str) -> None:
    try:
        importlib.import_module("aiohttp")
        importlib.import_module("tenacity")
    except ImportError as error:
        raise ModelError(
            f"`{role}.engine: server` needs {error.name}: pip install 'seamaug[server]'"
        ) from None


def _key(config: LanguageModelConfig, role: str) -> str:
    if config.api_key_env is None:
        return ""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key:
        raise ModelError(
            f"the environment variable that `{role}.api_key_env` names is not set; export it with "
            "the server's key"
        )
    return key
