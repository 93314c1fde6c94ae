"""Processes that are stopped: kill -9 at any instant, Ctrl-C, SIGTERM."""

import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.faults.scene import (
    Scene,
    Tried,
    parts_in,
    removed,
    stage_of,
    wait_until,
)

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
            attempt.wait(rng.uniform(0, scene.seconds))
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


def signals(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """Ctrl-C and SIGTERM in the middle of each stage in turn: a clean stop, which resumes."""
    stages = ("score-contrast", "parents", "near", "candidates")
    kinds = ((signal.SIGINT, 130), (signal.SIGTERM, 143))
    for number in range(count):
        stage = stages[number % len(stages)]
        kind, expected = kinds[(number + number // len(stages)) % len(kinds)]
        with removed(scene.folder / f"signalled{number}") as out:
            attempt = scene.start(out)
            most = len(parts_in(scene.whole, stage)) - 1
            wanted = rng.randint(1, max(1, most))
            wait_until(attempt, lambda n=wanted, o=out, s=stage: len(parts_in(o, s)) >= n)
            time.sleep(rng.uniform(0, 0.05))
            attempt.send(kind)
            code, said = attempt.wait(), attempt.said()
            problem = ""
            if code != expected or "the same command resumes" not in said or "Traceback" in said:
                problem = f"exit code {code}, not {expected}: {said[-1500:]}"
            elif left := list(out.rglob("*.tmp")):
                problem = f"{left} is left"
            yield Tried(kind.name, stage, problem or scene.resumed(out))
