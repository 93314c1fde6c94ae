"""A clock that jumps, and memory that runs out."""

import os
import random
import resource
import signal
import time
from collections.abc import Iterator
from functools import partial

from tests.faults.scene import OUTPUTS, Scene, Tried, parts_in, removed, stage_of, wait_until

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


def memory(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """A limit on the address space that the run hits somewhere: an error, not a crash."""
    for number in range(count):
        mebibytes = rng.randint(0, 600)
        with removed(scene.folder / f"memory{number}") as out:
            attempt = scene.start(out, fault=partial(limit_memory, mebibytes))
            code, said = attempt.wait(), attempt.said()
            stage = f"{mebibytes // 100}00 MiB more"
            # Where it went on in smaller batches, these round otherwise.
            but = OUTPUTS if "ran out of memory" in said else ()
            aborted = code is not None and (code < 0 or code == _LOADER_ABORTS)
            if code == scene.code:
                problem = scene.differs(out, but=but)
            elif aborted or (code == 1 and "error: " in said and "Traceback" not in said):
                stage = "native code that aborts" if aborted else stage  # as good as a kill
                problem = scene.resumed(out, but=but)
            else:
                problem = f"{mebibytes} MiB: exit code {code}: {said[-1500:]}"
            yield Tried("memory runs out", stage, problem)


def limit_memory(mebibytes: int) -> None:
    """From now on, this process may take so much more."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + (mebibytes << 20),) * 2)
