"""A chat server on the loopback with OpenAI's API, and with the faults of real ones on demand.

What it replies follows from the request alone; what it did is counted by request.
"""

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any

from seamaug.models.engines import Request
from tests.conftest import Asked

MODEL = "served"
FAULTS = ("429", "429 later", "500", "503", "slow", "cut", "malformed", "truncated", "choices")
SLOW = 1.0  # seconds


def words_of(body: dict[str, Any]) -> str:
    """A reply that tells requests apart."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:12]


def rewrite(body: dict[str, Any]) -> str:
    """What it was shown, with a word more."""
    word = words_of(body)
    if "[BEGIN" not in body["messages"][0]["content"]:
        return word
    asked = Asked(Request("", body["messages"], 0, 1, 1.0))
    response = f"{asked.texts.get('RIGHT RESPONSE')} {word}"
    return asked.reply(request=f"{asked.texts['REQUEST']} {word}", response=response)


class FaultyServer:
    """Replies after `latency` seconds, with the fault that `fault(prompt, attempt)` names, if any.

    attempt: how often this prompt was asked before. A status of 400 and more, such as "400 too
    long", is answered with its text as the message.
    """

    def __init__(
        self,
        fault: Callable[[str, int], str] = lambda prompt, attempt: "",
        reply: Callable[[dict[str, Any]], str] = words_of,
        latency: float = 0.0,
        port: int = 0,
    ) -> None:
        self.port = port
        self.fault, self.reply, self.latency = fault, reply, latency
        self.refused_fields: dict[str, str] = {}
        self.max_model_len: int | None = None
        self.counts_tokens = True
        self.chars_per_token = 0
        """Of prompts, for what it says it read; 0: ten tokens for any."""
        self.lists_models = True
        self.asked: Counter[str] = Counter()
        self.replied: Counter[str] = Counter()
        """Whole replies sent, by prompt: what is paid for."""
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.at_once = self.most_at_once = 0
        self.hold = 0
        """So many requests must be there before any is answered."""
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "FaultyServer":
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def wait_for(self, replies: int, seconds: float = 300.0) -> None:
        """Until it has sent so many whole replies."""
        deadline = time.monotonic() + seconds
        while self.replied.total() < replies:
            assert time.monotonic() < deadline, f"{self.replied.total()} replies of {replies}"
            time.sleep(0.002)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=512)
        )
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        self._started.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0.05))  # for the connections to close
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                path, length = line.split()[1].decode(), 0
                while (header := (await reader.readline()).strip()) != b"":
                    name, _, value = header.decode().partition(":")
                    length = int(value) if name.lower() == "content-length" else length
                    if name.lower() == "authorization":
                        self.keys.add(value.strip())
                content = await reader.readexactly(length)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                try:
                    if not await self._answer(path, json.loads(content or "null"), writer):
                        break
                finally:
                    self.at_once -= 1
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, path: str, body: Any, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection lasts."""
        if path == "/v1/models":
            if not self.lists_models:
                return await _send(writer, 404, {"detail": "Not Found"})
            card = {"id": MODEL, "root": "org/served", "max_model_len": self.max_model_len}
            return await _send(writer, 200, {"data": [card]})
        if path == "/tokenize":
            if not self.counts_tokens:
                return await _send(writer, 404, {"detail": "Not Found"})
            words = sum(len(message["content"].split()) for message in body["messages"])
            return await _send(writer, 200, {"count": words})
        # Nothing is sound but of a chat; of others the path stands for the prompt.
        prompt = body["messages"][-1]["content"] if "messages" in body else path
        attempt = self.asked[prompt]
        self.asked[prompt] += 1
        self.bodies.append(body)
        for field, message in self.refused_fields.items():
            if field in body:
                return await _send(writer, 400, {"error": {"message": message}})
        await asyncio.sleep(self.latency)
        while self.most_at_once < self.hold:
            await asyncio.sleep(0.005)
        return await self._fault_or_reply(self.fault(prompt, attempt), prompt, body, writer)

    async def _fault_or_reply(
        self, fault: str, prompt: str, body: Any, writer: asyncio.StreamWriter
    ) -> bool:
        answer = _completion(self.reply(body))
        if self.chars_per_token:
            read = sum(len(message["content"]) for message in body["messages"])
            answer["usage"]["prompt_tokens"] = read // self.chars_per_token
        data = json.dumps(answer).encode()
        if fault == "cut":
            writer.write(_head(200, len(data)) + data[: len(data) // 2])
            await writer.drain()
            return False
        if fault == "malformed":
            return await _send(writer, 200, b"<html>Bad gateway</html>")
        if fault == "truncated":
            return await _send(writer, 200, data[: len(data) // 2])
        if fault == "choices":
            return await _send(writer, 200, {**answer, "choices": answer["choices"] * 2})
        if fault == "slow":
            await asyncio.sleep(SLOW)
        elif fault:
            status, _, message = fault.partition(" ")
            later = {"Retry-After": "0.05"} if message == "later" else {}
            return await _send(writer, int(status), {"error": {"message": message}}, later)
        await _send(writer, 200, answer)
        self.replied[prompt] += 1
        return True


def _completion(text: str) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}}
    return {
        "choices": [{**choice, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": len(text.split())},
    }


def _head(status: int, length: int, headers: dict[str, str] | None = None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {length}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode()


async def _send(
    writer: asyncio.StreamWriter, status: int, answer: Any, headers: dict[str, str] | None = None
) -> bool:
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    writer.write(_head(status, len(data), headers) + data)
    await writer.drain()
    return True
