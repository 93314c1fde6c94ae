"""What all measures begin with: prompts, cut in parts, and a clock."""

import gzip
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from seamaug.resources import resource

PART = 256  # candidates per part: 32 parents with 8 variants each


def prompts_of(folder: Path | None, count: int) -> list[str]:
    """Different prompts from the files, or else made of the bundled seeds' words."""
    found: dict[str, None] = {}
    for path in sorted(folder.glob("*.jsonl.gz")) if folder else ():
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for line in stream:
                if len(found) < count:
                    found[json.loads(line)["prompt"]] = None
    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        bundled = [json.loads(line)["prompt"].split() for line in stream]
    rng, pool = random.Random(0), [word for text in bundled for word in text]
    while len(found) < count:
        found[" ".join(rng.choices(pool, k=len(rng.choice(bundled))))] = None
    return list(found)


def clocked(work: Callable[[], Any]) -> dict[str, float]:
    """Wall and processor seconds; the machine may do other work meanwhile."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }


def in_parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), PART):
        yield items[start : start + PART]


def peak_gib() -> float:
    """The most that was resident, of this program alone: the kernel's ru_maxrss begins with that of
    the process which started it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (found,) = (line for line in lines if line.startswith("VmHWM"))
    return round(int(found.split()[1]) / 2**20, 2)
