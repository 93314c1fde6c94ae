"""Does SEAM-guided augmentation pay? Every arm of the experiment, seed by seed.

    python examples/gain/run.py --seeds 1 2 3 4 5            # the laptop's scale
    python examples/gain/page.py                             # tables and plots of the results

protocol.md says what is done and what was fixed beforehand. Results are one JSON line for each seed
and arm; a stopped run goes on where it was.
"""

import argparse
import json
import os
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import datasets
import transformers
import yaml
from arms import ARMS, DROPS, NONE, Models, added, rank
from measure import measure_models, measure_policy, wins
from rich.console import Console
from train import reward, rloo, sft
from world import Row, World, user

HERE = Path(__file__).parent
console = Console(stderr=True)


class Seed:
    """The experiment of one seed, in a folder that keeps its models."""

    def __init__(self, scale: Row, seed: int, work: Path, results: Path) -> None:
        self.scale, self.seed = scale, seed
        self.work = work / f"seed-{seed}"
        self.work.mkdir(parents=True, exist_ok=True)
        module = import_module(f"{scale['world']}.world")
        self.world: World = module.make_world(seed, scale, work)
        about = json.dumps(self.world.about, indent=1)
        (self.work / "about.json").write_text(about + "\n", encoding="utf-8")
        self.results = results
        self.models = self._models(NONE)

    def run(self, arms: Sequence[str]) -> None:
        """Those arms that have no row yet."""
        done = {row["arm"] for row in read(self.results) if row["seed"] == self.seed}
        for number, arm in enumerate(arms):
            if arm in done:
                continue
            began = time.perf_counter()
            row = {"seed": self.seed, "arm": arm, **self.arm(arm)}
            row["seconds"] = round(time.perf_counter() - began, 1)
            with self.results.open("a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
            shown = {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}
            console.print(f"seed {self.seed}, {number + 1} of {len(arms)}, {arm}: {shown}")

    def arm(self, arm: str) -> Row:
        """Train and measure."""
        if arm in DROPS:
            by, share = DROPS[arm]
            order = rank(by, self.world, self.models, self.seed, self.work, self.world.settings)
            left = sorted(order[round(share * len(order)) :])
            models, prompts, rows = self.models, [self.world.seeds[i] for i in left], 0
        else:
            models, prompts = self._models(arm), self.world.seeds
            rows = len(self._added(arm).pairs)
        begun = time.perf_counter()
        policy = self._rl(arm, models, prompts)
        trained = time.perf_counter() - begun
        figures: Row = {"rows": rows, "rl_prompts": len(prompts)}
        if arm not in DROPS:
            figures |= measure_models(models, self.world, self.scale, self.seed)
            figures["gold_sft"] = self._gold(models.policy, models)[0]["gold"]
        own, by_prompt = self._gold(policy, models)
        (self.work / "gold").mkdir(exist_ok=True)
        self._gold_file(arm).write_text(json.dumps(by_prompt))
        figures |= own | {"rl_seconds": round(trained, 1)}
        figures["win_rate"] = wins(by_prompt, json.loads(self._gold_file(NONE).read_text()))
        return figures

    def _gold_file(self, arm: str) -> Path:
        return self.work / "gold" / f"{_slug(arm)}.json"

    def _gold(self, policy: Path, models: Models) -> tuple[dict[str, float], list[float]]:
        return measure_policy(policy, models, self.world, self.scale, self.seed)

    def _models(self, arm: str) -> Models:
        folder = self.work / "models" / _slug(arm)
        if not (folder / "done").exists():
            extra = self._added(arm)
            world = self.world
            rows = {"policy": [*world.sft, *extra.sft], "reward": [*world.pairs, *extra.pairs]}
            for name, train, start, settings in (
                ("policy", sft, world.policy_start, "sft"),
                ("reward", reward, world.reward_start, "reward"),
            ):
                train(start, rows[name], folder / name, self.seed, **self._training(settings))
            (folder / "done").touch()
        return Models(folder / "policy", folder / "reward")

    def _added(self, arm: str) -> Any:
        return added(
            arm, self.world, getattr(self, "models", None), self.seed, self.work, self.scale
        )

    def _rl(self, arm: str, models: Models, prompts: Sequence[Row]) -> Path:
        folder = self.work / "rl" / _slug(arm)
        if not (folder / "config.json").exists():
            rows = [{"prompt": user(row["prompt"])} for row in prompts]
            settings = self._training("rloo")
            rloo(models.policy, models.reward, rows, folder, self.seed, **settings)
        return folder

    def _training(self, name: str) -> Row:
        own = self.scale["training"]
        return own.get("all", {}) | own[name]


def _slug(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-").replace("%", "")


def read(results: Path) -> list[Row]:
    """Rows that earlier runs wrote."""
    if not results.exists():
        return []
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]


def merged(settings: Row, over: Row) -> Row:
    """The settings with others in their place, section by section; None takes one away."""
    found = dict(settings)
    for key, value in over.items():
        if value is None:
            del found[key]
        elif isinstance(found.get(key), dict):
            found[key] = merged(found[key], value)
        else:
            found[key] = value
    return found


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", choices=("laptop", "real", "paper"), default="laptop")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    every = (*ARMS, *DROPS)
    parser.add_argument("--quick", action="store_true", help="a look at the machinery: no result")
    parser.add_argument("--arms", nargs="+", choices=every, default=every, metavar="ARM")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/gain"), help="models; may be removed"
    )
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    scale = yaml.safe_load((HERE / f"{given.scale}.yaml").read_text(encoding="utf-8"))
    quick = scale.pop("quick")
    name = f"{given.scale}-quick" if given.quick else given.scale
    if given.quick:
        scale = merged(scale, quick)
    results = given.results or (given.work if given.quick else HERE / "results") / f"{name}.jsonl"
    results.parent.mkdir(parents=True, exist_ok=True)
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    arms = [arm for arm in every if arm == NONE or arm in given.arms]
    for seed in given.seeds:
        Seed(scale, seed, given.work / name, results).run(arms)


if __name__ == "__main__":
    main()
