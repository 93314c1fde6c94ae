"""An LLM that writes: its server is killed and restarted, its replies are damaged."""

import random
import signal
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from tests.faults.changes import WITH_LLM, changed
from tests.faults.scene import (
    _CONTEXT,
    Scene,
    Tried,
    flip_a_bit,
    parts_in,
    refusal,
    removed,
    summary,
    wait_until,
)
from tests.models.faulty_server import FAULTS, MODEL, FaultyServer, rewrite


def serve(port: int) -> None:
    """The stand-in, for ever."""
    with FaultyServer(reply=rewrite, latency=0.02, port=port):
        signal.pause()


class Server:
    """A stand-in for an LLM's server, in a process that can be killed."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.start()

    def start(self) -> None:
        self._process = _CONTEXT.Process(target=serve, args=(self.port,), daemon=True)
        self._process.start()
        for _ in range(6000):
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the server does not start")

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@contextmanager
def scene_with_server(folder: Path) -> Iterator[tuple[Scene, Server]]:
    """A run in which an LLM writes as well."""
    own = folder / "operators"
    own.mkdir(parents=True)
    (own / "telegram.jinja").write_text("Write a telegram.\n{{ prompt }}\n")
    entry = {"kind": "paraphrase", "preserves": ["meaning", "numbers", "answer"]}
    (own / "operators.yaml").write_text(yaml.safe_dump({"telegram": entry}))
    server = Server()
    try:
        yield Scene(folder, _settings(server.port, own)), server
    finally:
        server.kill()


def _settings(port: int, operators: Path) -> dict[str, Any]:
    return {
        "verify": {"min_similarity": -1},
        "generate": {
            "batch_parents": 2,
            "per_round": 3,
            "per_parent": 6,
            "policy_max_new_tokens": 4,
            "operators_from": str(operators),
            "operators": ["telegram", "typos"],
        },
        "generator": {
            "name": MODEL,
            "engine": "server",
            "url": f"http://127.0.0.1:{port}/v1",
            "structured": False,
            "in_flight": 4,
        },
    }


def restarts(scene: Scene, server: Server, rng: random.Random, count: int) -> Iterator[Tried]:
    """The server is killed in mid-run, and comes back: the run goes on, to the same bytes."""
    stages = ("parents", "candidates")
    for number in range(count):
        stage = stages[number % len(stages)]
        with removed(scene.folder / f"restarted{number}") as out:
            attempt = scene.start(out)
            wait_until(attempt, lambda o=out, s=stage: bool(parts_in(o, s)))
            server.kill()
            time.sleep(rng.uniform(0, 1))
            server.start()
            code = attempt.wait()
            problem = "" if code == scene.code else f"exit code {code}: {attempt.said()[-1500:]}"
            yield Tried("server restarted", stage, problem or scene.differs(out))


ANY = "any of these"


def http(scene: Scene, server: Server, rng: random.Random, count: int) -> Iterator[Tried]:
    """Requests fail at first, in every way of HTTP: the same bytes, and nothing paid twice."""
    kinds = (ANY, *FAULTS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        server.kill()
        faulty = FaultyServer(partial(fail_at_first, kind), rewrite, port=server.port)
        with removed(scene.folder / f"http{number}") as out:
            with faulty:
                attempt = scene.start(out)
                code = attempt.wait()
            server.start()
            problem = "" if code == scene.code else f"exit code {code}: {attempt.said()[-1500:]}"
            problem = problem or scene.differs(out) or _wrong_accounts(out, scene.whole, faulty)
            yield Tried("HTTP", kind, problem)


def fail_at_first(kind: str, prompt: str, attempt: int) -> str:
    """The fault of every other prompt's first request."""
    mark = zlib.crc32(prompt.encode())
    if attempt or mark % 2:
        return ""
    return FAULTS[mark // 2 % len(FAULTS)] if kind == ANY else kind


def _wrong_accounts(out: Path, whole: Path, faulty: FaultyServer) -> str:
    """Where counts and costs are not the undisturbed run's, or more replies were sent."""
    found, expected = summary(out), summary(whole)
    wrong = [name for name in ("counts", "generation") if found[name] != expected[name]]
    if wrong:
        return f"{wrong} differ: {[found[name] for name in wrong]}"
    asked = sum(account["requests"] for account in expected["generation"].values())
    paid = faulty.replied.total() - faulty.replied["Say hello."]
    return "" if paid == asked else f"{paid} replies were sent to {asked} requests"


def replies(scene: Scene, server: Server, rng: random.Random, count: int) -> Iterator[Tried]:
    """The journal of replies is damaged: named, with the fix, since it costs money to do over."""
    for number in range(count):
        with removed(scene.copy(f"replies{number}", before="candidates")) as out:
            journal = out / "stages" / "replies.sqlite"
            flip_a_bit(journal, rng)
            attempt = scene.start(out)
            problem = ""
            if attempt.wait() != scene.code:
                problem = refusal(attempt, f"{journal} is damaged", "delete it")
                journal.unlink()
            # The card counts the replies that are there.
            problem = problem or scene.resumed(out, but=["README.md"])
            yield Tried("bit flipped", "replies.sqlite", problem)


def templates(scene: Scene, server: Server, rng: random.Random, count: int) -> Iterator[Tried]:
    """An operator's template is another one when the run goes on: refused, with its name."""
    return changed(scene, rng, count, WITH_LLM)
