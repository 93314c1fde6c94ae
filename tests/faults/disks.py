"""Disks that are full or read-only, and folders that go away."""

import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.faults.scene import (
    STAGES,
    Scene,
    Tried,
    parts_in,
    refusal,
    removed,
    stage_of,
    wait_until,
)

_SIZE = 64 << 20


@contextmanager
def _small_disk(at: Path) -> Iterator[str]:
    """A tmpfs that is mounted there for the length of the block; why it could not be."""
    at.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(at)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
        refused = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        refused = str(error)
    try:
        yield refused and f"cannot mount a tmpfs ({refused}); it takes root"
    finally:
        if not refused:
            subprocess.run(["umount", "-l", at], check=True)
        at.rmdir()


def _begun(scene: Scene, disk: Path, stage: str) -> Path:
    """A run on that disk which has come as far as this stage."""
    with removed(scene.copy(f"before-{disk.name}", before=stage)) as begun:
        return Path(shutil.copytree(begun, disk / "run"))


def full(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """The disk is full before, or in the middle of, what each stage stores."""
    stages = [*STAGES, "write"]
    for number in range(count):
        stage = stages[number % len(stages)]
        disk = scene.folder / f"disk{number}"
        with _small_disk(disk) as why_not:
            if why_not:
                yield Tried("disk full", stage, skipped=why_not)
                return
            out = _begun(scene, disk, stage)
            ballast = disk / "ballast"
            _fill(ballast, leave=rng.choice([0, 4096]))
            problem = refusal(scene.start(out), "cannot write", "run the same command again")
            if not problem and (left := list(out.rglob("*.tmp"))):
                problem = f"{left} is left"
            ballast.unlink()
            yield Tried("disk full", stage, problem or scene.resumed(out))


def _fill(ballast: Path, leave: int) -> None:
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(ballast, ballast.stat().st_size - leave)


def read_only(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """The disk under half a run, or under none, is read-only; later it is not."""
    for number in range(count):
        stage = rng.choice([*STAGES, "write"])
        disk = scene.folder / f"readonly{number}"
        with _small_disk(disk) as why_not:
            if why_not:
                yield Tried("read-only folder", stage, skipped=why_not)
                return
            out = _begun(scene, disk, stage)
            subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
            problem = refusal(scene.start(out), "the file system is read-only")
            subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
            yield Tried("read-only folder", stage, problem or scene.resumed(out))


def vanishing(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """The run folder is deleted, or moved away, while the run is at work in it."""
    stages = ("score-contrast", "parents", "candidates")
    for number in range(count):
        stage = stages[number % len(stages)]
        moved = number // len(stages) % 2 == 0
        aside = scene.folder / f"aside{number}"
        with removed(aside), removed(scene.folder / f"vanishing{number}") as out:
            attempt = scene.start(out)
            wait_until(attempt, lambda o=out, s=stage: len(parts_in(o, s)) > 1)
            out.rename(aside)
            if not moved:
                shutil.rmtree(aside)
            problem = refusal(attempt, str(out))
            shutil.rmtree(out, ignore_errors=True)  # what the process may have left
            if moved:
                aside.rename(out)
                problem = problem or (stage_of(out) != stage and f"it was in {stage_of(out)}") or ""
            kind = "folder moved away" if moved else "folder deleted"
            yield Tried(kind, stage, problem or scene.resumed(out))


def two_processes(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """A second process, with the same settings or others, comes while the first is at work."""
    stages = ("start", "score-contrast", "candidates")
    begun: dict[str, Callable[[Path], bool]] = {
        "start": lambda out: (out / "stages/identity.json").exists(),
        "score-contrast": lambda out: bool(parts_in(out, "score-contrast")),
        "candidates": lambda out: bool(parts_in(out, "candidates")),
    }
    for number in range(count):
        stage = stages[number % len(stages)]
        with removed(scene.folder / f"shared{number}") as out:
            first = scene.start(out)
            wait_until(first, lambda o=out, s=stage: begun[s](o))
            first.send(signal.SIGSTOP)  # or it might be done before the second one has begun
            others = [] if number // len(stages) % 2 else ["--seed", "7"]
            second = scene.start(out, *others)
            problem = refusal(second)
            first.send(signal.SIGCONT)
            # Of other settings it is told first where there are parts already.
            expected = ("another process is at work", "other settings" if others else "-")
            if not problem and not any(text in second.said() for text in expected):
                problem = f"neither of {expected} in: {second.said()[-1500:]}"
            code = first.wait()
            if not problem and code != scene.code:
                problem = f"the first ended with {code}: {first.said()[-1500:]}"
            yield Tried("two processes", stage, problem or scene.differs(out))
