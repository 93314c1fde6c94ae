"""Processes that are stopped: kill -9 at any instant, Ctrl-C, SIGTERM."""

import os
import random
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from tests.faults.scene import Scene, Tried, removed, stage_of, within

_OPERATIONS = 300
"""About as many as a whole run does in its folder."""


def kills(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """kill -9 at random instants, and at the narrow moments between two file operations.

    A run is killed, and resumed, and killed, until it gets through; then the next one begins.
    """
    done, number = 0, 0
    while done < count:
        number += 1
        with removed(scene.folder / f"killed{number}") as out:
            stages = list(_killed_until_whole(scene, rng, out, count - done))
            problem = scene.resumed(out) if done + len(stages) == count else scene.differs(out)
            yield from (Tried("kill -9", stage, problem) for stage in stages)
            done += len(stages)


def _killed_until_whole(scene: Scene, rng: random.Random, out: Path, most: int) -> Iterator[str]:
    """The stages in which it was killed."""
    while most:
        if rng.random() < 0.5:
            fault = partial(
                die_at, str(out), rng.randint(16, _OPERATIONS) // rng.choice([1, 2, 4, 16])
            )
            attempt = scene.start(out, fault=fault)
        else:
            attempt = scene.start(out)
            attempt.wait(rng.uniform(0, sum(scene.times.values())))
            attempt.send(signal.SIGKILL)
        code = attempt.wait()
        if code == scene.code:
            return
        assert code == -signal.SIGKILL, f"exit code {code}: {attempt.said()[-2000:]}"
        most -= 1
        yield stage_of(out)


def die_at(folder: str, operation: int) -> None:
    """From now on, be killed at this file operation in the folder."""
    left = operation

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.mkdir", "os.remove") and folder in str(arguments[0]):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


FLOW = (
    "read seeds",
    "load models",
    "embed",
    "score",
    "select",
    "parents",
    "look ahead",
    "candidates",
    "write",
)
"""The stages of `expand`."""


def signals(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """Ctrl-C and SIGTERM at a random instant of each stage in turn: a clean stop, which resumes."""
    kinds = ((signal.SIGINT, 130), (signal.SIGTERM, 143))
    stages = rng.sample(FLOW, len(FLOW))
    for number in range(count):
        again, place = divmod(number, len(stages))
        stage = stages[place]
        kind, expected = kinds[(place + again) % len(kinds)]
        with removed(scene.folder / f"signalled{number}") as out:
            after = rng.uniform(0, scene.times[stage])
            attempt = scene.start(out, fault=partial(stop_in, stage, kind, after))
            code, said = attempt.wait(), attempt.said()
            problem = ""
            if code != expected or "the same command resumes" not in said or "Traceback" in said:
                problem = f"exit code {code}, not {expected}: {said[-1500:]}"
            elif left := list(out.rglob("*.tmp")):
                problem = f"{left} is left"
            yield Tried(kind.name, stage, problem or scene.resumed(out))


def stop_in(stage: str, kind: signal.Signals, after: float) -> None:
    """From now on, be sent this signal so many seconds into the stage, which lasts until then."""

    @contextmanager
    def until_then() -> Iterator[None]:
        timer = threading.Timer(after, os.kill, (os.getpid(), kind))
        timer.start()
        yield
        timer.join()

    within(stage, until_then)
