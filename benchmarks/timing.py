"""Timing of engines side by side, and on what machine it was."""

import importlib.metadata
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch


@dataclass(slots=True)
class Timing:
    """Runs of one engine over one workload."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Processor time, all threads: far below cores x wall, other processes were in the way."""
    values: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Median wall time."""
        return statistics.median(self.wall)

    def summary(self) -> dict[str, Any]:
        """For the results."""
        return {
            "seconds": {
                "median": round(self.seconds, 4),
                "min": round(min(self.wall), 4),
                "max": round(max(self.wall), 4),
            },
            "cpu_seconds": round(statistics.median(self.cpu), 4),
            "runs": len(self.wall),
        }


def interleaved(
    engines: dict[str, Callable[[Any], list[float]]],
    work: Sequence[Any],
    *,
    repeats: int,
    patience: float,
) -> dict[str, Timing]:
    """Each engine over the same work, up to `repeats` times, in another order each round.

    Taking turns spreads over all engines what else the machine does meanwhile. An engine whose
    runs would take more than `patience` seconds together is not run again.
    """
    timings = {name: Timing() for name in engines}
    names = list(engines)
    for turn in range(repeats):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            timing = timings[name]
            if timing.wall and sum(timing.wall) + min(timing.wall) > patience:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            timing.values = engines[name](work)
            timing.wall.append(time.perf_counter() - wall)
            timing.cpu.append(time.process_time() - cpu)
    return timings


def available_bytes(device: str) -> int | None:
    """Memory that a process may still take; None where the system does not say."""
    if device != "cpu":
        return int(torch.cuda.mem_get_info()[0])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(li.split()[1]) * 1024 for li in lines if li.startswith("MemAvailable")), None)


def machine(device: str) -> dict[str, Any]:
    """What the times belong to."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((li.split(":")[1].strip() for li in lines if li.startswith("model name")), "")
    flags = next((li.split(":")[1].split() for li in lines if li.startswith("flags")), [])
    known = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
    found: dict[str, Any] = {
        "cpu": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": [flag for flag in known if flag in flags],
    }
    if device != "cpu":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def versions() -> dict[str, str]:
    """Of what decides the speed."""
    found = {"python": sys.version.split()[0]}
    for name in ("seamaug", "torch", "transformers", "tokenizers", "lm_eval", "nlpaug"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
