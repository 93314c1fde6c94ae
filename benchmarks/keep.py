"""Which of the candidates are worth keeping? Train on what each rule keeps, and measure.

    python benchmarks/keep.py --seeds 0 1 2 3 4 --out benchmarks/results/keep.json

For every seed of a setting: a reward model is trained on the training prompts' preferences, some of
which are wrong; a pool of candidates is made by the parts of `expand` from the training prompts
with the highest SEAM; each arm keeps equally many of them, and the reward model is trained on these
and on its original pairs, half and half, for equally many steps. `none` trains on original pairs
alone, `everything` keeps the whole pool and takes as many epochs. All are measured on held-out
prompts with the same responses:

    seam         mean over prompts, likelihood-weighted; the hack set is the worse response given
                 and the policy's samples that are wrong, the unit is the standard deviation of the
                 trained reward model's scores over all responses
    seam_in_spreads  the same in another unit, the standard deviation of a prompt's own samples:
                 the first one falls as well where all responses get more alike
    seam_both    the same as `seam` after the policy was trained as well, with --policy
    logprob_golden  mean per token of the golden responses under that policy
    hack_rate    share of the hack set above the golden response
    off_policy   share of the pairs golden, given worse in the right order
    on_policy    the same of pairs of a right response and a sample that is wrong
    variance     of the rewards of the policy's samples, as in arXiv 2503.15477

The prediction is tried apart: from the same start, the reward model is trained on each of many
disjoint batches of 32 pool rows, and what was predicted is compared with how far SEAM falls on the
held-out prompts and around the batch's parents.

Settings: `embedded` is the bundled policy and seeds, `planted` the topics of planted_flaws.py with
a reward model that learnt its flaws from data (see keeping/). Times are the processor's, of one
thread. `--quick` is one small seed, for tests.

The picture needs matplotlib: pip install matplotlib.
"""

import argparse
import json
import shlex
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from keeping import embedded, planted
from keeping.arms import ARMS, NONE, RANDOM
from keeping.experiment import Bench, run_arms
from keeping.figures import draw
from keeping.prediction import KINDS, try_predictions
from keeping.results import correlations, show, summary
from keeping.training import BATCH
from keeping.world import World
from planted.policy import Size
from timing import machine, versions
from transformers.utils import logging as hf_logging

Maker = Callable[[int, Path], World]
"""(seed, work folder) to a world."""
SETTINGS = ("embedded", "planted")


def makers(given: argparse.Namespace) -> dict[str, Maker]:
    """How the world of each setting is made."""
    own = {
        "probes": given.probes,
        "wrong_labels": given.wrong_labels,
        "tolerance": given.tolerance,
    }
    if given.quick:
        small = own | {"samples": 3, "new_tokens": 16, "reward_steps": 10, "batches": 2}
        return {
            "embedded": partial(_embedded, replace(embedded.FULL, **small), seeds=120),
            "planted": partial(
                _planted,
                replace(planted.FULL, **small),
                per_form=2,
                size=Size(32, 2, epochs=6, batch=16),
            ),
        }
    return {
        "embedded": partial(_embedded, replace(embedded.FULL, **own)),
        "planted": partial(_planted, replace(planted.FULL, **own)),
    }


def _embedded(scale: Any, seed: int, work: Path, **size: Any) -> World:
    return embedded.make_world(seed, scale, work, **size)


def _planted(scale: Any, seed: int, work: Path, **size: Any) -> World:
    return planted.make_world(seed, scale, work, **size)


def run_seed(make: Maker, seed: int, work: Path, given: argparse.Namespace) -> Any:
    """One seed of a setting: what is stored of it."""
    arms = [arm for arm in ARMS if arm in (NONE, RANDOM, *given.arms)]
    began = time.process_time()
    world = make(seed, work)
    made = time.process_time() - began
    bench = Bench(world)
    tell = partial(print, f"{world.name}, seed {seed}:", flush=True)
    tell(f"pool of {len(bench.pool.rows)}, {bench.kept} kept, {bench.steps} steps")
    found = run_arms(bench, arms, with_policy=given.policy, tell=tell)
    batches = {}
    for kind in KINDS if given.predictions else ():
        with bench.timed("prediction"):
            batches[kind] = try_predictions(bench, kind, given.batch_rows)
    seconds = {"world": made} | bench.seconds
    tell(", ".join(f"{part} {value:.1f} s" for part, value in seconds.items()))
    return {
        "seed": seed,
        "pool": len(bench.pool.rows),
        "train": len(world.train),
        "held_out": len(world.held_out),
        "before": found.pop("before"),
        "arms": found,
        "batches": batches,
        "seconds": {part: round(value, 1) for part, value in seconds.items()},
    }


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--setting", nargs="+", choices=SETTINGS, default=SETTINGS)
    parser.add_argument(
        "--arms",
        nargs="+",
        choices=ARMS,
        default=ARMS,
        metavar="ARM",
        help=f"only these, beside {NONE} and {RANDOM}, with which all are compared: "
        + ", ".join(ARMS),
    )
    parser.add_argument("--policy", action="store_true", help="train policies as well")
    parser.add_argument(
        "--no-predictions", dest="predictions", action="store_false", help="the arms alone"
    )
    parser.add_argument(
        "--batch-rows", type=int, default=BATCH, help="of a batch whose fall of SEAM is foreseen"
    )
    parser.add_argument(
        "--tolerance", type=float, default=0.05, help="of the variance guard in its arm"
    )
    parser.add_argument(
        "--probes", type=int, default=256, help="prompts on which the look-ahead foresees SEAM"
    )
    parser.add_argument(
        "--no-wrong-labels",
        dest="wrong_labels",
        action="store_false",
        help="none among the pairs that the reward model was trained on: no flips (embedded), an "
        "annotator without noise (planted)",
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON; the picture goes beside it")
    parser.add_argument(
        "--work",
        type=Path,
        help="keep models, samples and pools here and reuse them; empty it when code changes",
    )
    parser.add_argument("--quick", action="store_true", help="one small seed, for tests")
    return parser.parse_args()


def main() -> None:
    """Run, write and show."""
    given = parse()
    torch.set_num_threads(1)
    hf_logging.disable_progress_bar()
    seeds = given.seeds[:1] if given.quick else given.seeds
    settings = {}
    with tempfile.TemporaryDirectory(prefix="seamaug-keep-") as scratch:
        for name in given.setting:
            label = name + "-quick" * given.quick + "-no-wrong-labels" * (not given.wrong_labels)
            work = (given.work or Path(scratch)) / label
            make = makers(given)[name]
            runs = [run_seed(make, s, work / f"seed-{s}", given) for s in seeds]
            settings[name] = {
                "summary": summary(runs),
                "correlations": correlations(runs),
                "runs": runs,
            }
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": _command(given),
        "machine": machine("cpu"),
        "versions": versions(),
        "settings": settings,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, own in settings.items():
        show(name, own)
    if not draw(settings, given.out.with_suffix(".svg")):
        print("no picture: matplotlib is not installed (pip install matplotlib)")


def _command(given: argparse.Namespace) -> str:
    parts = ["python benchmarks/keep.py --seeds", *map(str, given.seeds)]
    parts += ["--setting", *given.setting]
    parts += ["--arms", *map(shlex.quote, given.arms)] if given.arms != ARMS else []
    parts += ["--policy"] if given.policy else []
    parts += ["--no-predictions"] if not given.predictions else []
    parts += ["--batch-rows", str(given.batch_rows)] if given.batch_rows != BATCH else []
    parts += ["--tolerance", str(given.tolerance)] if given.tolerance != 0.05 else []
    parts += ["--probes", str(given.probes)] if given.probes != 256 else []
    parts += ["--no-wrong-labels"] if not given.wrong_labels else []
    return " ".join(parts + (["--quick"] if given.quick else []))


if __name__ == "__main__":
    main()
