"""A clock that jumps, and memory that runs out."""

import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.faults.alike import unlike
from tests.faults.scene import Scene, Tried, parts_in, removed, stage_of, wait_until, within

_YEAR = 365 * 86_400


def clocks(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """The wall clock jumps by up to a year, both ways, all the time, and files' times with it."""
    for number in range(count):
        with removed(scene.folder / f"clock{number}") as out:
            jumping = partial(jump, rng.randrange(1 << 30))
            attempt = scene.start(out, fault=jumping)
            wait_until(attempt, lambda o=out: bool(parts_in(o, "parents")))
            attempt.send(signal.SIGKILL)
            attempt.wait()
            stage = stage_of(out)
            for path in out.rglob("*"):
                now = time.time() + rng.uniform(-_YEAR, _YEAR)
                os.utime(path, (now, now))
            attempt = scene.start(out, fault=jumping)
            code = attempt.wait()
            problem = "" if code == scene.code else f"exit code {code}: {attempt.said()[-1500:]}"
            yield Tried("clock jumps", stage, problem or scene.differs(out))


def jump(seed: int) -> None:
    """From now on, the wall clock of this process is a year off, now this way, now that."""
    rng, real = random.Random(seed), time.time

    def jumping() -> float:
        return real() + rng.uniform(-_YEAR, _YEAR)

    time.time = jumping
    time.time_ns = lambda: int(jumping() * 1e9)


_LOADER_ABORTS = 127  # glibc, which has no memory for a library's thread-local data
_MOST = {"": 300, "score": 12, "parents": 12}
"""MiB that a process may take beyond what it has at its start, or when a stage begins, at most."""


def memory(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """A limit on the address space that the run hits somewhere: an error, not a crash.

    Or smaller batches, the same within rounding; those of the usual scene would always fit.
    """
    scene = Scene(scene.folder / "wide", {"score": {"batch_seeds": 24, "samples": 16}})
    for number in range(count):
        stage = list(_MOST)[number % len(_MOST)]
        mebibytes = rng.randint(0, _MOST[stage])
        with removed(scene.folder / f"memory{number}") as out:
            attempt = scene.start(out, fault=partial(limit_memory, mebibytes, stage))
            code, said = attempt.wait(), attempt.said()
            aborted = code is not None and (code < 0 or code == _LOADER_ABORTS)
            problem, end = "", "enough"
            if aborted or (code == 1 and "error: " in said and "Traceback" not in said):
                end = "native code that aborts" if aborted else "an error"
                problem = scene.finish(out)
            elif code != scene.code:
                problem = f"exit code {code}: {said[-1500:]}"
            if "ran out of memory" in said:
                end += ", smaller batches"
                draws = "the policy model ran out of memory" in said
                problem = problem or unlike(out, scene.whole, draws=draws)
            else:
                problem = problem or scene.differs(out)
            yield Tried("memory runs out", end, problem and f"{mebibytes} MiB more: {problem}")


def limit_memory(mebibytes: int, stage: str) -> None:
    """From now on, or from when the stage begins, this process may take so much more."""

    @contextmanager
    def limited() -> Iterator[None]:
        _limit(mebibytes)
        yield

    if stage:
        within(stage, limited)
    else:
        _limit(mebibytes)


def _limit(mebibytes: int) -> None:
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (mebibytes << 20),) * 2)
