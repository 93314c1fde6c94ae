"""Near duplicates and decontamination: time, memory, and whether they find what is there.

    python benchmarks/deduplicate.py --data FOLDER --out benchmarks/results/deduplicate.json

Each measure runs in a fresh process, whose peak memory the kernel reports. FOLDER holds files with
a column `prompt` (*.jsonl.gz); without it prompts are made of the bundled seeds' words.

planted   real prompts, and copies of some with a few words exchanged, whose similarity to their
          source is known exactly: what is found, and at what speed
peer      the same through a plain loop over datasketch, where it is installed
evaluate  prompts against evaluation rows, some of which they repeat in capitals, with commas
memory    a million different candidates through the whole screen, all of them remembered, with
          vectors of 384 dimensions; with --check-every 1 all parts go through the semantic check
          as well, whose time grows by the square (100,000 candidates: minutes)
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from duplicates.decontamination import NGRAM, evaluate
from duplicates.memory import memory
from duplicates.near import SHINGLE, THRESHOLD, peer, planted
from duplicates.prompts import peak_gib, prompts_of
from timing import machine

MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "planted": planted,
    "peer": peer,
    "evaluate": evaluate,
    "memory": memory,
}


def measured(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One measure in a process of its own, with the kernel's account of its memory."""
    command = [sys.executable, __file__, "--measure", name, "--prompts", str(arguments.prompts)]
    command += ["--candidates", str(arguments.candidates)]
    command += ["--check-every", str(arguments.check_every)]
    command += ["--data", str(arguments.data)] if arguments.data else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"measure {name} failed")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of *.jsonl.gz files with a column prompt")
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument(
        "--check-every", type=int, default=64, help="parts of `memory` for each semantic check"
    )
    parser.add_argument("--measure", choices=MEASURES, help="one measure alone, to stdout")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    if arguments.measure:
        sizes = [arguments.candidates, arguments.check_every]
        more = sizes if arguments.measure == "memory" else []
        prompts = prompts_of(arguments.data, arguments.prompts)
        found = MEASURES[arguments.measure](prompts, *more)
        print(json.dumps({**found, "peak_rss_gib": peak_gib()}))
        return
    results = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine("cpu"),
        "settings": {"threshold": THRESHOLD, "shingle": SHINGLE, "ngram": NGRAM},
        **{name: measured(name, arguments) for name in MEASURES},
    }
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
