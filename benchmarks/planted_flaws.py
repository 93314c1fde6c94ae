"""Does SEAM find the prompts where a flaw of the reward model meets a policy that exploits it?

    python benchmarks/planted_flaws.py --out benchmarks/results/planted_flaws.json

Definition 1 of SEAM multiplies how likely the policy is to say a worse response by how far the
reward model misjudges it. So prompts where both hold must rank above those where one holds. Here
both are planted, and so are known. For every seed, drawn at random:

- twelve topics with a checkable answer in four wordings each; half of the topics are judged with a
  flaw: a cue phrase is rewarded, or length, or right and wrong are exchanged;
- in half of the wordings of every topic, flawed or not, the policy tends to say an exploit (a wrong
  answer with the cue, at length, or bare); elsewhere it is right or wrong without it.

The policy is a real one, a very small Llama trained from scratch on responses with these habits.
The reward model is a checker with noise and the flaws, behind the package's `RewardEngine`: its
judgement, unlike a trained one's, is known. The `llm` estimator asks rules instead of an LLM, which
know the task and all ways to dress a wrong answer. All else is the package: samples, reference
verifier, embedder, index, beam search, log-probabilities, run folder, SEAM.

A prompt counts as a find if its topic is judged with a flaw and its wording is one in which the
policy tends to say that flaw's exploit. "Against flaw alone" compares finds with prompts that are
judged with a flaw which the policy does not exploit: what only knows the reward model fails there.
Intervals resample cells (a topic in one wording), since prompts of one cell share their fate.

Limits. What is planted is what is looked for, and both are strong: this shows that the metric
measures what it says, not how much of it there is in real models. The same samples under a noisier
judge (`auc_by_noise`) show how the find fades. Answers that are words are given bare ("Paris"), as
the reference verifier compares by overlap; the line "true verifier" shows what a perfect one would
change. The policy learns on the prompts that are scored, for as long as its habits take to show
(`policy` in the results says how often it says the exploit).

A seed takes some four minutes of one core. `--quick` is one small seed, for tests.

The picture needs matplotlib: pip install matplotlib.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from planted.figures import draw, show
from planted.measure import figures, pooled, pooled_sets
from planted.policy import Size
from planted.scores import Scale, Scored, World, make_world, score_world

FULL = Scale(per_form=6, samples=30, adversarial_calls=120, size=Size(96, 2, epochs=90, batch=48))
QUICK = Scale(per_form=1, samples=12, adversarial_calls=24, size=Size(96, 2, epochs=120, batch=16))


def run(scale: Scale, seeds: list[int], work: Path) -> tuple[dict[str, Any], list[Any]]:
    """All seeds: what is stored, and the worlds with their scores."""
    worlds: list[tuple[World, Scored]] = []
    runs = []
    for seed in seeds:
        began = time.perf_counter()
        world = make_world(seed, scale)
        worlds.append((world, score_world(world, scale, work / f"seed-{seed}")))
        seconds = _first_time(work / f"seed-{seed}", time.perf_counter() - began)
        runs.append(figures(*worlds[-1]) | {"seconds": seconds})
        print(f"seed {seed}: {seconds} s", flush=True)
    return {"auc": pooled(runs), "sets": pooled_sets(runs), "runs": runs}, worlds


def _first_time(folder: Path, seconds: float) -> float:
    """How long a seed took when it was made: what is read from `--work` takes none."""
    note = folder / "seconds.txt"
    if not note.exists():
        note.write_text(f"{seconds:.1f}", encoding="utf-8")
    return float(note.read_text(encoding="utf-8"))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, required=True, help="JSON; the picture goes beside it")
    parser.add_argument(
        "--work",
        type=Path,
        help="keep policies and scores here and reuse them; empty it when code changes",
    )
    parser.add_argument("--quick", action="store_true", help="one small seed, for tests")
    return parser.parse_args()


def _command(seeds: list[int], quick: bool) -> str:
    drawn = " ".join(map(str, seeds))
    return f"python benchmarks/planted_flaws.py --seeds {drawn}{' --quick' if quick else ''}"


def main() -> None:
    """Plant, score, measure, and write the results."""
    arguments = parse()
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    scale = QUICK if arguments.quick else FULL
    with tempfile.TemporaryDirectory(prefix="seamaug-planted-") as scratch:
        measured, worlds = run(scale, seeds, arguments.work or Path(scratch))
        picture = draw(measured, worlds, arguments.out.with_suffix(".svg"))
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": _command(seeds, arguments.quick),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {sys.version.split()[0]}",
        "versions": {name: version(name) for name in ("seamaug", "torch", "transformers", "numpy")},
        **measured,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    show(result)
    if not picture:
        print("no picture: matplotlib is not installed (pip install matplotlib)")


if __name__ == "__main__":
    main()
