"""Requests to an LLM's server: how near to the ideal rate, and whether one is lost or doubled.

    python benchmarks/generation.py --out benchmarks/results/generation.json

A chat server on the loopback, in a process of its own, takes 200 ms for each reply, whatever it is
asked, so 64 requests in flight can have 320 replies a second and no more. Faults are those of real
servers, drawn by request. Beside it, where it is installed, the `openai` client with a semaphore,
which is what one writes without this package.
"""

import argparse
import asyncio
import importlib.util
import json
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from timing import machine

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from seamaug.config import GeneratorConfig
from seamaug.models.engines import Request
from seamaug.models.generation import Generation
from seamaug.models.journal import Journal
from seamaug.models.load import load_generator
from seamaug.records import text_key, user_message
from tests.models.faulty_server import MODEL, FaultyServer, words_of

IN_FLIGHT = 64
LATENCY = 0.2  # seconds
SHARE = 0.05
FAULTS = ("429", "429 later", "500", "503", "cut", "malformed", "truncated", "choices")
WARM = 64


def fault_of(prompt: str, attempt: int) -> str:
    """A fault in five of a hundred attempts, the same in every run."""
    drawn = int(text_key([prompt, attempt]), 16) / 2**64
    return FAULTS[int(drawn / SHARE * len(FAULTS))] if drawn < SHARE else ""


def serve(told: Connection, faulty: bool) -> None:
    """The server's process: its url, then, when asked, what it did."""
    fault: Callable[[str, int], str] = fault_of if faulty else lambda prompt, attempt: ""
    with FaultyServer(fault=fault, latency=LATENCY) as server:
        told.send(server.url)
        told.recv()
        told.send((dict(server.asked), dict(server.replied), server.most_at_once))


def requests_of(count: int) -> list[Request]:
    return [Request("op", user_message(f"prompt {i}"), i, 64, 0.8) for i in range(count)]


@dataclass
class Timed:
    """What an engine had for its replies, empty where one failed, after a first few of them."""

    texts: list[str]
    seconds: float
    cpu_seconds: float
    """Of this process: the server has its own."""


def ours(url: str, count: int, journal: Path) -> Timed:
    """By this package, with the journal of a run."""
    config = GeneratorConfig(
        name=MODEL, engine="server", url=url, structured=False, in_flight=IN_FLIGHT
    )
    generation = Generation(load_generator(config), config, Journal(journal))
    requests = requests_of(count + WARM)
    generation.write(requests[:WARM])
    start, cpu = time.perf_counter(), time.process_time()
    replies = generation.write(requests[WARM:])
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    generation.close()
    return Timed([reply.text for reply in replies], seconds, cpu_seconds)


def peer(url: str, count: int, journal: Path) -> Timed:
    """By the `openai` client, which has no journal; its own retries, as many as ours."""
    return asyncio.run(_peer(url, requests_of(count + WARM)))


async def _peer(url: str, requests: Sequence[Request]) -> Timed:
    from openai import AsyncOpenAI, OpenAIError

    client = AsyncOpenAI(base_url=url, api_key="none", max_retries=5)
    places = asyncio.Semaphore(IN_FLIGHT)

    async def one(request: Request) -> str:
        async with places:
            try:
                answer = await client.chat.completions.create(
                    model=MODEL,
                    messages=request.messages,
                    seed=request.seed,
                    max_tokens=request.max_new_tokens,
                    temperature=request.temperature,
                    top_p=0.95,
                )
                return answer.choices[0].message.content or ""
            except (OpenAIError, ValueError, AttributeError, TypeError):
                return ""

    await asyncio.gather(*(one(request) for request in requests[:WARM]))
    start, cpu = time.perf_counter(), time.process_time()
    found = await asyncio.gather(*(one(request) for request in requests[WARM:]))
    return Timed(found, time.perf_counter() - start, time.process_time() - cpu)


def measure(
    engine: Callable[[str, int, Path], Timed], count: int, *, faulty: bool
) -> dict[str, Any]:
    """One engine over `count` requests: rate, CPU time, what was lost and what was doubled."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(there, faulty))
    process.start()
    with tempfile.TemporaryDirectory() as folder:
        done = engine(here.recv(), count, Path(folder, "replies.sqlite"))
    here.send(None)
    asked, replied, most = here.recv()
    process.join()
    prompts = [f"prompt {i}" for i in range(WARM, count + WARM)]
    pairs = list(zip(done.texts, expected(prompts), strict=True))
    rate = count / done.seconds
    return {
        "requests": count,
        "seconds": round(done.seconds, 2),
        "replies_per_second": round(rate, 1),
        "of_ideal": round(rate * LATENCY / IN_FLIGHT, 3),
        "cpu_ms_per_request": round(1000 * done.cpu_seconds / count, 3),
        "most_at_once": most,
        "attempts": sum(asked.get(prompt, 0) for prompt in prompts),
        "lost": sum(not text for text, _ in pairs),
        "wrong": sum(bool(text) and text != wanted for text, wanted in pairs),
        "doubled": sum(replied.get(prompt, 0) > 1 for prompt in prompts),
    }


def expected(prompts: Sequence[str]) -> list[str]:
    """What the server replies to each."""
    return [
        words_of(
            {
                "model": MODEL,
                "messages": user_message(prompt),
                "seed": int(prompt.split()[1]),
                "temperature": 0.8,
                "top_p": 0.95,
                "max_tokens": 64,
            }
        )
        for prompt in prompts
    ]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    engines = {"seamaug": ours}
    if importlib.util.find_spec("openai"):
        engines["openai"] = peer
    results: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine("cpu"),
        "in_flight": IN_FLIGHT,
        "latency_seconds": LATENCY,
        **{name: {"without_faults": []} for name in engines},
    }
    for _ in range(options.runs):  # in turns: what else the machine does meets both
        for name, engine in engines.items():
            run = measure(engine, options.requests // 2, faulty=False)
            results[name]["without_faults"].append(run)
    for name, engine in engines.items():
        results[name]["with_faults"] = measure(engine, options.requests, faulty=True)
    options.out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
