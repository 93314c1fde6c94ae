"""Does SEAM-guided augmentation pay? Every arm of the experiment, seed by seed.

    python examples/gain/run.py --seeds 11 12 13                # the laptop's scale
    python examples/gain/page.py                             # tables and plots of the results

protocol.md says what is done and what was fixed beforehand. Results are one JSON line for each seed
and arm; a stopped run goes on where it was.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import datasets
import torch
import transformers
import yaml
from arms import ARMS, DROPS, NONE, Models, added, rank
from measure import measure_after, measure_models, measure_policy, wins
from rich.console import Console
from train import reward, rloo, sft
from world import Row, World, user

HERE = Path(__file__).parent
SCALES = ("laptop", "laptop-mild", "laptop-few", "real", "real-llm", "paper")
console = Console(stderr=True)


class Seed:
    """The experiment of one seed, in a folder that keeps its models."""

    def __init__(self, scale: Row, seed: int, work: Path) -> None:
        self.scale, self.seed = scale, seed
        self.work = work / f"seed-{seed}"
        self.work.mkdir(parents=True, exist_ok=True)
        module = import_module(f"{scale['world']}.world")
        self.world: World = module.make_world(seed, scale, work)
        about = json.dumps(self.world.about, indent=1)
        (self.work / "about.json").write_text(about + "\n", encoding="utf-8")
        self.models = self.models_of(NONE)

    def arm(self, arm: str) -> Row:
        """Train and measure."""
        if arm in DROPS:
            of, by, share = DROPS[arm]
            models, scored = self.models_of(of), self._scored(of)
            order = rank(by, self.world, models, self.seed, scored, self.scale)
            prompts = [self.world.seeds[i] for i in sorted(order[round(share * len(order)) :])]
        else:
            of, models, prompts = arm, self.models_of(arm), self.world.seeds
        begun = time.perf_counter()
        policy = self._rl(arm, models, prompts)
        trained = time.perf_counter() - begun
        figures: Row = {"rows": len(self._added(of).pairs), "rl_prompts": len(prompts)}
        if arm not in DROPS:
            figures |= measure_models(models, self.world, self.scale, self.seed)
            figures["gold_sft"] = self._gold(models.policy, models)[0]["gold"]
        own, by_prompt = self._gold(policy, models)
        (self.work / "gold").mkdir(exist_ok=True)
        self._gold_file(arm).write_text(json.dumps(by_prompt))
        figures |= own | {"rl_seconds": round(trained, 1)}
        figures |= measure_after(policy, models, self.world, self.scale, self.seed)
        figures["win_rate"] = wins(by_prompt, self._gold_of_none())
        return figures

    def _scored(self, arm: str) -> Path:
        """Where the scores of the prompts by this arm's models are."""
        return self.work if arm == NONE else self.work / "scored" / _slug(arm)

    def _gold_of_none(self) -> list[float]:
        file = self._gold_file(NONE)
        if not file.exists():  # its row is of a run whose models are gone
            self.arm(NONE)
        found: list[float] = json.loads(file.read_text())
        return found

    def _gold_file(self, arm: str) -> Path:
        return self.work / "gold" / f"{_slug(arm)}.json"

    def _gold(self, policy: Path, models: Models) -> tuple[dict[str, float], list[float]]:
        return measure_policy(policy, models, self.world, self.scale, self.seed)

    def models_of(self, arm: str) -> Models:
        """Policy and reward model of an arm before reinforcement learning."""
        return self.train(arm, self.work / "models" / _slug(arm), self.seed)

    def train(self, arm: str, folder: Path, order: int) -> Models:
        """These models, left in a folder or trained now; `order` draws the order of the batches."""
        if not (folder / "done").exists():
            extra = self._added(arm)
            world = self.world
            rows = {"policy": [*world.sft, *extra.sft], "reward": [*world.pairs, *extra.pairs]}
            for name, train, start, settings in (
                ("policy", sft, world.policy_start, "sft"),
                ("reward", reward, world.reward_start, "reward"),
            ):
                train(start, rows[name], folder / name, order, **self.training(settings))
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
            settings = self.training("rloo")
            rloo(models.policy, models.reward, rows, folder, self.seed, **settings)
        return folder

    def training(self, name: str) -> Row:
        """TRL's settings for one of the trainings."""
        own = self.scale["training"]
        return own.get("all", {}) | own[name]


def _slug(arm: str) -> str:
    return arm.replace(", ", "-").replace(" ", "-").replace("%", "")


def append(results: Path, key: Row, make: Callable[[], Row], place: str = "") -> None:
    """Write the row that begins with this key, unless an earlier run did; `place` among the rows to
    be made is shown."""
    if results.exists():
        for line in results.read_text(encoding="utf-8").splitlines():
            if key.items() <= json.loads(line).items():
                return
    name = ", ".join(f"{k} {v}" for k, v in key.items())
    console.print(f"{name}{place}", style="dim")
    began = time.perf_counter()
    row = key | make()
    row["seconds"] = round(time.perf_counter() - began, 1)
    row["date"] = datetime.now(UTC).date().isoformat()
    with results.open("a", encoding="utf-8") as out:
        out.write(json.dumps(row) + "\n")
    shown = {k: round(v, 3) for k, v in row.items() if isinstance(v, float)}
    console.print(f"{name}: {shown}")


def note_run(path: Path, given: argparse.Namespace, arms: Sequence[str]) -> None:
    """Append when, how and on what this command ran: the rows do not say."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else _cpu()
    note = {
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "scale": given.scale.stem,
        "quick": given.quick,
        "seeds": given.seeds,
        "arms": list(arms),
        "device": device,
        "versions": {name: version(name) for name in ("seamaug", "trl", "transformers", "torch")},
    }
    with path.open("a", encoding="utf-8") as out:
        out.write(json.dumps(note) + "\n")


def _cpu() -> str:
    told = Path("/proc/cpuinfo")
    lines = told.read_text().splitlines() if told.exists() else []
    names = (line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


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


def arguments(about: str) -> argparse.ArgumentParser:
    """What every script of the experiment is asked."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument(
        "--scale",
        type=scale_file,
        default="laptop",
        help=f"{', '.join(SCALES)}, or a YAML file like theirs (`like: real` begins with that one)",
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[11], help="default: 11")
    parser.add_argument("--quick", action="store_true", help="a look at the machinery: no result")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/gain"), help="models; may be removed"
    )
    parser.add_argument("--results", type=Path, help="folder; default: results here")
    parser.add_argument(
        "--data", type=Path, default=Path(), help="folder of the files that the scale names"
    )
    return parser


def scale_file(scale: str) -> Path:
    """Of a scale's name, or a file of one's own."""
    path = HERE / f"{scale}.yaml" if scale in SCALES else Path(scale)
    if not path.is_file():
        names = ", ".join(SCALES)
        raise argparse.ArgumentTypeError(f"{scale} is neither a YAML file nor one of {names}")
    return path


def settings_of(scale: str | Path) -> Row:
    """Those of its YAML, over those of the scale that it is `like`."""
    own: Row = yaml.safe_load(scale_file(str(scale)).read_text(encoding="utf-8"))
    like = own.pop("like", None)
    return merged(settings_of(like), own) if like else own


def begin(given: argparse.Namespace) -> tuple[Row, Path, Path]:
    """Settings of the scale; the folder for models; the folder for results."""
    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    scale = settings_of(given.scale)
    quick = scale.pop("quick")
    work = given.work / given.scale.stem
    results = given.results or HERE / "results"
    if given.quick:
        scale, work = merged(scale, quick), given.work / f"{given.scale.stem}-quick"
        results = given.results or work
    results.mkdir(parents=True, exist_ok=True)
    scale["data"] = given.data
    return scale, work, results


def main() -> None:
    """Run what is asked for."""
    parser = arguments(__doc__.splitlines()[0])
    every = (*ARMS, *DROPS)
    parser.add_argument("--arms", nargs="+", choices=every, default=every, metavar="ARM")
    given = parser.parse_args()
    scale, work, results = begin(given)
    arms = [arm for arm in every if arm == NONE or arm in given.arms]
    note_run(results / f"{given.scale.stem}-runs.jsonl", given, arms)
    for number in given.seeds:
        seed = Seed(scale, number, work)
        for place, arm in enumerate(arms, 1):
            key = {"seed": number, "arm": arm}
            at = f" ({place} of {len(arms)})"
            append(results / f"{given.scale.stem}.jsonl", key, partial(seed.arm, arm), at)


if __name__ == "__main__":
    main()
