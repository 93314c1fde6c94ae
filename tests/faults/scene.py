"""What the faults are done to: a small run of `seamaug expand`, in processes of their own."""

import gzip
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seamaug.clock import clock
from seamaug.resources import resource

HANG = 900
"""Seconds that no run here takes, on any machine, unless it hangs."""
STAGES = (
    "embed",
    "score-contrast",
    "parents",
    "probes",
    "on-policy",
    "near",
    "candidates",
)
"""In the order in which they begin; `write` follows."""
OUTPUTS = (
    "README.md",
    "provenance.parquet",
    "sft/train.parquet",
    "preference/train.parquet",
    "prompts/train.parquet",
)
SETTINGS: dict[str, Any] = {
    # Small parts, so that a run has many of them.
    "score": {"batch_seeds": 6, "samples": 3},
    "select": {"share": 0.3},
    "generate": {"batch_parents": 2, "per_round": 3, "policy_max_new_tokens": 4},
    "keep": {"probes": 8, "near": 2, "variance_prompts": 2, "variance_samples": 2},
}

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.faults.preload"])

Fault = Callable[[], None]


@dataclass(frozen=True)
class Tried:
    """One fault that was done."""

    fault: str
    where: str
    problem: str = ""
    """Why it was not survived; empty where it was."""
    skipped: str = ""
    """Why it could not be tried on this machine."""


class Attempt:
    """A process that runs the command line; `fault` is called in it first."""

    def __init__(self, arguments: list[str], log: Path, fault: Fault | None = None) -> None:
        self.log = log
        self._process = _CONTEXT.Process(target=_command, args=(arguments, log, fault))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def runs(self) -> bool:
        return self._process.is_alive()

    def wait(self, seconds: float = HANG) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        self._process.join(seconds)
        return self._process.exitcode

    def send(self, kind: int) -> None:
        if self.runs:
            os.kill(self.pid, kind)

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


def _command(arguments: list[str], log: Path, fault: Fault | None) -> None:
    with log.open("wb") as stream:
        for descriptor in (1, 2):
            os.dup2(stream.fileno(), descriptor)
    # Where the suite runs in the background, shells have its processes ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if fault:
        fault()
    from seamaug.cli import main

    main(arguments, prog_name="seamaug")


def within(stage: str, block: Callable[[], AbstractContextManager[None]]) -> None:
    """From now on, this process does the stage of this name, as run.json times it, in the block."""
    timed = clock.stage

    @contextmanager
    def stage_in_block(name: str) -> Iterator[None]:
        with timed(name), block() if name == stage else nullcontext():
            yield

    clock.stage = stage_in_block  # type: ignore[method-assign]


class Scene:
    """Seeds, settings, and what a run of them makes if nothing disturbs it.

    settings: more of the config.
    """

    def __init__(self, folder: Path, settings: dict[str, Any] | None = None) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.number = 0
        """Of the last attempt, and of its log."""
        self.models = folder / "models"
        for role in ("policy", "reward", "embedder"):
            shutil.copytree(resource("embedded", role), self.models / role)
        self.seeds = folder / "seeds.jsonl"
        self.seeds.write_text("".join(json.dumps(row) + "\n" for row in _rows(24)))
        self.config = folder / "config.yaml"
        own: dict[str, Any] = {"embedder": {"name": str(self.models / "embedder")}}
        for role in ("policy", "reward"):
            # Smaller batches, where memory runs out, must not round a verdict the other way.
            own[role] = {"name": str(self.models / role), "dtype": "float32"}
        self.config.write_text(yaml.safe_dump({**own, **SETTINGS, **(settings or {})}))
        self.command = ["expand", str(self.seeds), "--config", str(self.config), "--budget", "8"]
        self.whole = folder / "whole"
        attempt = self.start(self.whole)
        self.code = attempt.wait()
        """0, or 3 where the budget is not filled."""
        assert self.code in (0, 3), f"exit code {self.code}: {attempt.said()[-2000:]}"
        self.expected = contents(self.whole)
        times = summary(self.whole)["times"]
        self.times = {stage: sum(kinds.values()) for stage, kinds in times.items()}
        """Seconds that each stage takes here."""

    def start(self, out: Path, *more: str, fault: Fault | None = None) -> Attempt:
        """Begin, or go on, in this run folder."""
        self.number += 1
        log = self.folder / f"{self.number:04d}.log"
        return Attempt([*self.command, "--out", str(out), *more], log, fault)

    def finish(self, out: Path) -> str:
        """Why the same command does not go on to the end in this folder; empty if it does."""
        attempt = self.start(out)
        code = attempt.wait()
        return "" if code == self.code else f"not resumed: {code}: {attempt.said()[-2000:]}"

    def resumed(self, out: Path, *, but: Sequence[str] = ()) -> str:
        """What is wrong with what the same command makes of this folder; empty if nothing is.

        `but`: outputs that need not be the same.
        """
        return self.finish(out) or self.differs(out, but=but)

    def differs(self, out: Path, *, but: Sequence[str] = ()) -> str:
        """Outputs that are not those of the undisturbed run, and half files."""
        found = contents(out)
        names = [name for name in OUTPUTS if found[name] != self.expected[name] and name not in but]
        left = [path.name for path in out.rglob("*.tmp")]
        return ", ".join([*(f"{n} differs" for n in names), *(f"{n} is left" for n in left)])

    def copy(self, name: str, *, before: str | None = None) -> Path:
        """The whole run, or what it was before a stage began (`write` is the last one)."""
        out = self.folder / name
        shutil.copytree(self.whole, out)
        if before:
            for item in out.iterdir():
                if item.name != "stages":
                    shutil.rmtree(item) if item.is_dir() else item.unlink()
            for stage in STAGES[STAGES.index(before) if before in STAGES else len(STAGES) :]:
                shutil.rmtree(out / "stages" / stage)
        return out


def refusal(attempt: Attempt, *texts: str) -> str:
    """What is wrong with how an attempt ended, which is to say these texts in one error."""
    code, said = attempt.wait(), attempt.said()
    if code != 1 or "error: " not in said or "Traceback" in said:
        return f"exit code {code}: {said[-1500:]}"
    missing = [text for text in texts if text not in said]
    return f"{missing} not in: {said[-1500:]}" if missing else ""


def contents(out: Path) -> dict[str, bytes]:
    return {name: (out / name).read_bytes() if (out / name).exists() else b"" for name in OUTPUTS}


def summary(out: Path) -> dict[str, Any]:
    """What run.json holds."""
    return dict(json.loads((out / "run.json").read_text(encoding="utf-8")))


def stage_of(out: Path) -> str:
    """How far a run is: the last stage that stored something."""
    if any((out / name).exists() for name in OUTPUTS):
        return "write"
    begun = [stage for stage in STAGES if any((out / "stages" / stage).glob("*"))]
    return begun[-1] if begun else "start"


def wait_until(attempt: Attempt, reached: Callable[[], bool]) -> bool:
    """Until something is so, or the process ended; whether it is so."""
    while not (there := reached()) and attempt.runs:
        time.sleep(0.005)
    return there


def parts_in(out: Path, stage: str) -> list[Path]:
    return sorted((out / "stages" / stage).glob("*.parquet"))


def _rows(count: int) -> list[dict[str, Any]]:
    """Short bundled seeds from all over the file."""
    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    short = [row for row in rows if len(row["prompt"]) + len(row["chosen"]) < 200]
    return short[:: len(short) // count][:count]


@contextmanager
def removed(path: Path) -> Iterator[Path]:
    """A folder that goes with the block: a hundred of them would fill a small disk."""
    yield path
    shutil.rmtree(path, ignore_errors=True)


def flip_a_bit(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size))
