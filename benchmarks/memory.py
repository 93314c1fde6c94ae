"""Memory of scoring with a large vocabulary, measured in a process of its own.

    python benchmarks/memory.py --dtype float32

A small body under the vocabulary of Qwen2 (152,064), so that what there is to see is the logits:
8,192 tokens of them in float32 would be 4.6 GiB. Prints one JSON object.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESPONSES, PROMPT_TOKENS = 32, 16


def measured(
    dtype: str,
    *,
    runs: int = 4,
    batch_tokens: int = 8192,
    vocabulary: int = 152_064,
    hidden: int = 256,
) -> dict[str, Any]:
    """Peak of resident memory above what the loaded model holds: the largest of some processes.

    Several, because how the allocator reuses freed memory differs from process to process: the
    same work has been seen to peak at 0.2 GiB in one and at 4.4 GiB in the next.
    """
    command = [sys.executable, __file__, "--dtype", dtype, "--batch-tokens", str(batch_tokens)]
    command += ["--vocabulary", str(vocabulary), "--hidden", str(hidden)]
    found: list[dict[str, Any]] = []
    for _ in range(runs):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}")
        found.append(json.loads(done.stdout.splitlines()[-1]))
    peaks = [item["peak_above_loading_gib"] for item in found]
    return {**found[0], "peak_above_loading_gib": max(peaks), "peaks_of_processes_gib": peaks}


def score_once(dtype: str, batch_tokens: int, vocabulary: int, hidden: int) -> dict[str, Any]:
    """Score two prompts, each with responses that fill one batch, in this process."""
    from workloads import Shape, make_model

    from seamaug.config import PolicyConfig
    from seamaug.models.policy import Policy

    with tempfile.TemporaryDirectory() as folder:
        make_model(Path(folder), Shape(hidden, 3 * hidden, 2, 4, 2, vocabulary), "policy")
        policy = Policy(PolicyConfig(name=folder, dtype=dtype, batch_tokens=batch_tokens))  # type: ignore[arg-type]
    draw = random.Random(0)
    own = batch_tokens // RESPONSES - PROMPT_TOKENS
    sets = [
        (
            [draw.randrange(2, 4096) for _ in range(PROMPT_TOKENS)],
            [[draw.randrange(2, 4096) for _ in range(own)] for _ in range(RESPONSES)],
        )
        for _ in range(2)
    ]
    loaded = _settle()
    policy.logprobs(sets)
    peak = _peak()
    return {
        "dtype": str(next(policy.model.parameters()).dtype).removeprefix("torch."),
        "vocabulary": vocabulary,
        "batch_tokens": batch_tokens,
        "tokens_scored": 2 * RESPONSES * own,
        "rss_after_loading_gib": round(loaded, 3),
        "peak_above_loading_gib": round(peak - loaded, 3),
    }


def _settle() -> float:
    """GiB in use, with freed pages given back and the kernel's peak set to it where it can be.

    Without that, pages left over from loading would hide the same amount of later use.
    """
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS") or _peak()


def _peak() -> float:
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _status(field: str) -> float:
    """GiB from the kernel's account of this process; 0 where there is none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 2**20 for line in lines if line.startswith(field)), 0.0)


def main() -> None:
    """Measure in this process and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--vocabulary", type=int, default=152_064)
    parser.add_argument("--hidden", type=int, default=256)
    given = parser.parse_args()
    print(json.dumps(score_once(given.dtype, given.batch_tokens, given.vocabulary, given.hidden)))


if __name__ == "__main__":
    main()
