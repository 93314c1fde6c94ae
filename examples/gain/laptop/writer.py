"""The laptop's stand-in for a user's LLM: a chat server on the loopback that knows the tasks.

What it knows: it understands each request of these kinds, can say it in its other wordings, can
think up another of the same kind, has read in which style each kind is to be answered, and answers
and judges rightly with probability `skill`. What it does not know: which kinds the training data
cover, what the policy says, what the reward model likes, and which prompts are held out.
"""

import json
import random
import re
import threading
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from laptop.kinds import KINDS
from laptop.tasks import Task, words

_FENCE = re.compile(r"\[BEGIN ([A-Z ]+) (\w+)\]\n(.*?)\n\[END \1 \2\]", re.DOTALL)


class Writer:
    """The server; runs for as long as the process does."""

    def __init__(
        self, tasks: Sequence[Task], styles: dict[str, str], skill: float, seed: int
    ) -> None:
        self._tasks = {task.prompt: task for task in tasks}
        self._styles, self._skill, self._seed = styles, skill, seed
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def settings(self) -> dict[str, Any]:
        """Section `generator` of a config that asks it."""
        return {
            "engine": "server",
            "url": f"http://127.0.0.1:{self._server.server_port}/v1",
            "name": "stand-in",
            "structured": True,
            "in_flight": 8,
        }

    def reply(self, content: str, form: Sequence[str], seed: int) -> dict[str, str]:
        """What it says to a message that asks for these fields; the same to the same message."""
        rng = random.Random(f"{self._seed} {seed} {content}")
        texts = {label: text for label, _, text in _FENCE.findall(content)}
        if "REQUEST" not in texts:  # is the server there, and does it hold to a schema?
            return dict.fromkeys(form, "yes")
        task = self._tasks[texts["REQUEST"]]
        if "better" in form:
            return {"better": self._better(task, texts, rng)}
        new = self._another(task, rng) if "response" in form else task.reworded(rng)
        with self._lock:
            self._tasks[new.prompt] = new
        said = self._styles[new.kind].format(new.said(self._skill, rng))
        return {"request": new.prompt, "response": said}

    def _another(self, task: Task, rng: random.Random) -> Task:
        return KINDS[task.kind].task(rng)

    def _better(self, task: Task, texts: dict[str, str], rng: random.Random) -> str:
        golden = words(self._styles[task.kind].format(task.answer))
        right = {name: words(texts[f"RESPONSE {name}"]) == golden for name in "AB"}
        if right["A"] == right["B"]:
            return "T"
        better = "A" if right["A"] else "B"
        return better if rng.random() < self._skill else rng.choice("ABT")


def _handler(writer: Writer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._send({"data": [{"id": "stand-in"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            content = body["messages"][-1]["content"]
            form = body["response_format"]["json_schema"]["schema"]["properties"]
            text = json.dumps(writer.reply(content, list(form), body.get("seed", 0)))
            usage = {"prompt_tokens": len(content) // 4, "completion_tokens": len(text) // 4}
            choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
            self._send({"choices": [choice], "usage": usage})

        def _send(self, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
