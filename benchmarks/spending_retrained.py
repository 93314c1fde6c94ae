"""What an allocation buys, told by reward models that are really trained on what was kept.

    python benchmarks/spending_retrained.py --setting planted --seeds 0 1 2 3 4 --out FILE

spending.py compares allocations by the predicted fall of SEAM, which `lookahead` itself plans by.
Here, for each seed of a setting of keep.py, `expand` runs once with each allocation.
The reward model is then trained on what each of them had kept when so many tokens were generated
(shares of all that `uniform` took), half and half with its original pairs and for equally many
steps, and judged on held-out prompts. Times are the processor's. The picture needs matplotlib:
pip install matplotlib.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from keeping import embedded, planted
from keeping.held_out import HeldOut
from keeping.training import batches, learn_pairs, load_reward_model, pair_ids
from keeping.world import Pair, World
from pictures import pyplot_of, save
from spending import ALLOCATIONS, interval
from timing import machine, versions
from transformers.utils import logging as hf_logging

from seamaug import expand
from seamaug.models.reward import RewardModel
from seamaug.records import KEPT

SETTINGS = {
    "reward.dtype": "float32",  # as in keep.py: the models differ by small changes of the weights
    "score.samples": 8,
    "score.estimators": ["on-policy", "contrast"],
    "generate.policy_samples": 0,
    "keep.saturation": None,
}
WORLDS = {"planted": planted, "embedded": embedded}
SELECT = {"planted": 0.5, "embedded": 0.2}
"""Share of the training prompts that get variants: some 170 prompts of either setting."""
BUDGET, STEPS = 320, 60
SHARES = (0.2, 0.4, 2 / 3, 1.0)
MEASURES = ("seam", "seam_in_spreads", "hack_rate", "off_policy", "on_policy", "variance")
Kept = list[tuple[int, Pair]]
"""Tokens generated up to each kept candidate, and its pair."""


def kept_by(world: World, allocation: str, budget: int, out: Path) -> Kept:
    """Run `expand` on the world's training prompts."""
    seeds = world.train.at(range(len(world.train)))
    result = expand(
        [{"prompt": s.prompt, "chosen": s.golden, "rejected": s.worse[0]} for s in seeds],
        policy=str(world.policy_folder),
        reward=str(world.reward_folder),
        budget=budget,
        seed=world.seed,
        out=out,
        settings=SETTINGS
        | {
            "score.on_policy.max_new_tokens": world.scale.new_tokens,  # as the held-out samples
            "select.share": SELECT[world.name],
            "generate.allocation": allocation,
        },
    )
    rows = result.provenance.to_list()
    spent = np.cumsum([row["tokens"] for row in rows])
    return [
        (int(tokens), Pair(row["prompt"], row["chosen"], row["rejected"]))
        for tokens, row in zip(spent, rows, strict=True)
        if row["verdict"] == KEPT
    ]


class Retrained:
    """Trains the world's reward model on some pairs, and measures it on held-out prompts."""

    def __init__(self, world: World, steps: int) -> None:
        self._world, self._steps = world, steps
        self._held_out = HeldOut(world)
        self._engine = RewardModel(world.config.reward)
        self._old = pair_ids(world.reward, world.pairs)

    def figures(self, pairs: list[Pair]) -> dict[str, float]:
        """With no pairs it trains on the original ones alone."""
        model = load_reward_model(self._world.reward_folder)
        new = pair_ids(self._world.reward, pairs)
        rng = random.Random(self._world.seed)
        learn_pairs(model, batches(new, self._old, self._steps, rng), self._world.scale.rate)
        with torch.inference_mode():
            self._engine.model.load_state_dict(model.state_dict())
        found = self._held_out.measure(self._engine)[0]
        return {"rows": len(pairs)} | {name: found[name] for name in MEASURES}


def measure(seed: int, given: argparse.Namespace, work: Path) -> dict[str, Any]:
    """All allocations on one world."""
    began = time.process_time()
    of_setting = WORLDS[given.setting]
    world = of_setting.make_world(seed, of_setting.FULL, work / f"world-{seed}")
    kept = {
        name: kept_by(world, name, given.budget, work / f"{name}-{seed}") for name in ALLOCATIONS
    }
    retrained = Retrained(world, given.steps)
    limit = kept["uniform"][-1][0]
    figures = {
        name: {
            f"{share:.0%}": retrained.figures([pair for at, pair in own if at <= share * limit])
            for share in SHARES
        }
        for name, own in kept.items()
    }
    return {
        "seed": seed,
        "tokens": {name: own[-1][0] for name, own in kept.items()},
        "none": retrained.figures([]),
        "figures": figures,
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """SEAM at each share of the tokens, and how far the others are above `uniform`, paired.

    `tokens`: by the mean curves, the share of uniform's tokens with which it has the SEAM that
    `uniform` has there; None where it never has.
    """
    found: dict[str, Any] = {}
    for name in ALLOCATIONS:
        for share in (f"{share:.0%}" for share in SHARES):
            own, even = (
                np.array([run["figures"][of][share]["seam"] for run in runs])
                for of in (name, "uniform")
            )
            found.setdefault(name, {})[share] = {
                "seam": float(own.mean()),
                "above uniform": float((own - even).mean()),
                "interval": interval(own - even),
            }
    for own in found.values():
        seams = [at["seam"] for at in own.values()]
        for share, at in own.items():
            at["tokens"] = needed(seams, found["uniform"][share]["seam"])
    return found


def needed(seams: Sequence[float], goal: float) -> float | None:
    """Share of the tokens at which SEAM is first as low as that, linear between the shares."""
    at = next((i for i, seam in enumerate(seams) if seam <= goal), None)
    if not at:
        return None if at is None else SHARES[0]
    above, below = seams[at - 1], seams[at]
    way = (above - goal) / (above - below)
    return SHARES[at - 1] + way * (SHARES[at] - SHARES[at - 1])


def draw(found: dict[str, Any], none: float, out: Path) -> bool:
    """Write the picture; False where matplotlib, which only this needs, is not installed."""
    if (pyplot := pyplot_of("spending")) is None:
        return False
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4))
    left.axhline(none, color="black", linewidth=0.6, linestyle=":", label="no new rows")
    for name, own in found.items():
        left.plot(SHARES, [at["seam"] for at in own.values()], "o-", label=name)
        above = np.array([at["above uniform"] for at in own.values()])
        # One seed has no interval, and `uniform` above itself one of no width.
        ends = np.array([at["interval"] or [np.nan, np.nan] for at in own.values()])
        widths = np.nan_to_num(np.abs(ends.T - above))
        right.errorbar(SHARES, above, yerr=widths, fmt="o-", capsize=3)
    left.set_ylabel("SEAM on held-out prompts")
    right.set_ylabel("above uniform, paired, 95 %")
    for axes in (left, right):
        axes.set_xlabel("share of uniform's tokens")
    left.legend()
    save(pyplot, figure, out)
    return True


def main() -> None:
    """Measure each seed and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--setting", choices=WORLDS, default="planted")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each training")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    hf_logging.disable_progress_bar()
    runs = []
    with tempfile.TemporaryDirectory(prefix="seamaug-spending-") as scratch:
        for seed in given.seeds:
            runs.append(measure(seed, given, Path(scratch)))
            print(runs[-1], flush=True)
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"python benchmarks/spending_retrained.py --setting {given.setting} "
        f"--seeds {' '.join(map(str, given.seeds))} --budget {given.budget} --steps {given.steps}",
        "machine": machine("cpu"),
        "versions": versions(),
        "summary": summary(runs),
        "runs": runs,
    }
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result["summary"], indent=1))
    none = float(np.mean([run["none"]["seam"] for run in runs]))
    if not draw(result["summary"], none, given.out.with_suffix(".svg")):
        print("no picture: matplotlib is not installed (pip install matplotlib)")


if __name__ == "__main__":
    main()
