"""Preference strength: does it find flipped labels, and is training on what it leaves better?

    python benchmarks/strength.py --data DIR --base FOLDER --out FILE
    python benchmarks/strength.py --tasks --out FILE

DIR and FOLDER are those of reward_training.py, which makes the base. With --tasks the pairs are of
the tasks of examples/gain, whose labels a program knows, and the start is their base model, which
can do them: so here the votes can know better than a label. A fifth of the labels of all pairs is
flipped. Measured: the ROC-AUC of -mu for the flips (on all pairs, and on those of gsm8k, whose
labels a checker can verify), the share of flips in each tenth by mu, and accuracy on clean pairs of
held-out prompts of reward models trained on the noisy pairs, on the pairs as treated by default, on
those with what the votes are against flipped, and on the clean pairs; of --trainings reward models
each, since two on the same pairs in another order differ by a point or two. FILE is JSON lines, one
for each seed; the end prints the means and, where matplotlib is installed, draws the ROC curve.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from pictures import pyplot_of, save
from reward_training import SETTINGS, accuracy, read
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve
from timing import machine, versions

from seamaug import strength, train_rm
from seamaug.config import RewardConfig
from seamaug.models.reward import RewardModel

NOISE = 0.2
TASKS = {"num_train_epochs": 4, "learning_rate": 1e-3, "per_device_train_batch_size": 32}
"""As much as the reward models of examples/gain are trained."""
GAIN = Path(__file__).parents[1] / "examples" / "gain"
FALSE = np.linspace(0, 1, 41)
"""Shares of the right labels called wrong at which the share of the flips found is stored."""
_FIELDS = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Setting:
    """Where the pairs are from, and what learns them."""

    rows: Callable[[int], list[dict[str, Any]]]
    """Of a seed."""
    base: str
    max_length: int
    test: int
    """Held-out pairs on which reward models are judged."""
    trainer: dict[str, Any]
    """Arguments of TRL's RewardConfig: of the judged reward models, and of the ensemble if set."""

    def of_section(self, section: str) -> dict[str, Any]:
        """Settings of a training, under this section's name."""
        return {f"{section}trainer.{name}": value for name, value in self.trainer.items()} | {
            f"{section}start.max_length": self.max_length
        }


def real(data: Path, base: Path, only: str | None, test: int, epochs: float | None) -> Setting:
    """Pairs of all sources, or of one set alone."""
    rows = [row for row in read(data, "preference-larger") if only in (None, row["set"])]
    return Setting(
        lambda _: rows, str(base), 512, test, {"num_train_epochs": epochs} if epochs else {}
    )


def tasks(count: int) -> Setting:
    """Pairs of the tasks of examples/gain: styles and frequencies are drawn for each seed."""
    sys.path.insert(0, str(GAIN))
    from laptop.world import make_world
    from run import merged, settings_of

    test = 2 * count  # many, since what treatment gains is a point or two of accuracy
    sizes = {"pairs": round(4.2 * test), "sft": 1, "seeds": 1, "held_out": 1}
    scale = merged(settings_of("laptop"), {"sizes": sizes, "noisy_kinds": 0.0})

    def rows(seed: int) -> list[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as work:
            pairs = make_world(seed, scale, Path(work)).pairs
        return [{name: pair[name][0]["content"] for name in _FIELDS} for pair in pairs]

    return Setting(rows, str(GAIN / "laptop" / "base_model"), 128, test, TASKS)


def judged_by(
    pairs: Any, test: list[dict[str, Any]], setting: Setting, seeds: range, keep: Path | None = None
) -> float:
    """Accuracy on the test pairs, the mean of reward models trained on these pairs.

    keep: a folder that the reward models are left in, by seed.
    """
    found = []
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            out = (keep or Path(folder)) / str(seed)
            settings = {name: value for name, value in SETTINGS.items() if name[:7] == "trainer"}
            settings |= setting.of_section("") | {"seed": seed}
            train_rm(pairs, model=setting.base, out=out, settings=settings)
            judge = RewardModel(RewardConfig(name=str(out), max_length=setting.max_length))
            found.append(accuracy(judge, test))
    return float(np.mean(found))


@dataclass(frozen=True)
class Draw:
    """Pairs of a seed, a fifth of them flipped, and test pairs of other prompts."""

    clean: list[dict[str, Any]]
    noisy: list[dict[str, Any]]
    flipped: np.ndarray
    test: list[dict[str, Any]]


def draw_pairs(setting: Setting, seed: int, count: int) -> Draw:
    """By lot."""
    rows = setting.rows(seed)
    rng = random.Random(seed)
    prompts = sorted({row["prompt"] for row in rows})
    rng.shuffle(prompts)
    held = set(prompts[: len(prompts) // 4])
    clean = rng.sample([row for row in rows if row["prompt"] not in held], count)
    test = rng.sample([row for row in rows if row["prompt"] in held], setting.test)
    flipped = np.array([rng.random() < NOISE for _ in clean])
    noisy = [
        {"prompt": r["prompt"], "chosen": r["rejected"], "rejected": r["chosen"]}
        if flip
        else {name: r[name] for name in _FIELDS}
        for r, flip in zip(clean, flipped, strict=True)
    ]
    return Draw(clean, noisy, flipped, test)


def found_by(mu: np.ndarray, own: Draw) -> dict[str, Any]:
    """How well a low mu tells the flips: of all pairs, and of gsm8k's where there are any."""
    flipped = own.flipped
    tenths = np.array_split(np.argsort(mu, kind="stable"), 10)
    checked = np.array([row.get("set") == "gsm8k_solutions" for row in own.clean])
    figures: dict[str, Any] = {}
    for name, some in (("", np.full(len(mu), True)), ("_gsm8k", checked)):
        if some.any():
            rates = roc_curve(flipped[some], -mu[some])[:2]
            figures[f"auc{name}"] = float(roc_auc_score(flipped[some], -mu[some]))
            figures[f"roc{name}"] = np.interp(FALSE, *rates).round(4).tolist()
    return figures | {
        "flips_by_tenth": [float(flipped[tenth].mean()) for tenth in tenths],
    }


def measure_apart(
    setting: Setting, seed: int, count: int, trainings: int, incorrect: str
) -> dict[str, Any]:
    """The voters are the reward models trained on the noisy pairs, each in another order."""
    seeds = range(trainings * seed, trainings * (seed + 1))
    own = draw_pairs(setting, seed, count)
    with tempfile.TemporaryDirectory() as folder:
        noisy = judged_by(own.noisy, own.test, setting, seeds, keep=Path(folder))
        voters = [str(Path(folder) / str(number)) for number in seeds]
        for treatment in ("keep", incorrect):
            settings = {"treat.incorrect": treatment}
            out = Path(folder) / treatment
            found = strength(own.noisy, out=out, reward=voters, settings=settings)
        treated = judged_by(str(out / "pairs.parquet"), own.test, setting, seeds)
        # Of all pairs: some may have been dropped.
        mu = np.asarray(pq.read_table(Path(folder) / "keep" / "pairs.parquet")["mu"])
    return found_by(mu, own) | {
        "bands": found["bands"],
        "noisy": noisy,
        "treated": treated,
    }


def measure(setting: Setting, seed: int, count: int, trainings: int) -> dict[str, Any]:
    """One draw of pairs, flips and trainings."""
    seeds = range(trainings * seed, trainings * (seed + 1))
    own = draw_pairs(setting, seed, count)
    clean, noisy, test = own.clean, own.noisy, own.test
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        settings = setting.of_section("ensemble.") | {"ensemble.trainer.save_strategy": "no"}
        found = strength(noisy, model=setting.base, out=out, settings={**settings, "seed": seed})
        stored = pq.read_table(out / "pairs.parquet")
        mu = np.asarray(stored["mu"])
        treated = judged_by(str(out / "pairs.parquet"), test, setting, seeds)
        flips = Path(folder) / "flips"
        voters = {"reward": [str(out / "ensemble")], "settings": {"treat.incorrect": "flip"}}
        strength(noisy, out=flips, **voters)
        flipping = judged_by(str(flips / "pairs.parquet"), test, setting, seeds)
    return found_by(mu, own) | {
        "bands": found["bands"],
        "agreement": found["agreement"],
        "noisy": judged_by(noisy, test, setting, seeds),
        "treated": treated,
        "flipping": flipping,
        "clean": judged_by([{n: r[n] for n in _FIELDS} for r in clean], test, setting, seeds),
    }


def interval(values: np.ndarray) -> str:
    """Mean and 95 % half-width (Student's t)."""
    if len(values) < 2:
        return f"{values.mean():.3f} (one seed)"
    half = stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return f"{values.mean():.3f} ± {half:.3f}"


def draw(curves: np.ndarray, out: Path) -> bool:
    """Write the picture of ROC curves, one each row; False where matplotlib is not installed."""
    if (pyplot := pyplot_of("strength")) is None:
        return False
    figure, axes = pyplot.subplots(figsize=(4.5, 4.5))
    axes.plot(FALSE, curves.T, color="#1b6ca8", linewidth=0.5, alpha=0.4)
    axes.plot(FALSE, curves.mean(axis=0), color="#1b6ca8", label="mean of the seeds")
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.6, linestyle=":", label="by chance")
    axes.set_xlabel("share of the right labels called wrong")
    axes.set_ylabel("share of the flipped labels found")
    axes.legend()
    save(pyplot, figure, out)
    return True


def main() -> None:
    """Measure the seeds that are missing, then print the means."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="with --base: real pairs")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--set", help="of the real pairs, those of this set alone")
    parser.add_argument("--tasks", action="store_true", help="the tasks of examples/gain instead")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--pairs", type=int, default=800)
    parser.add_argument(
        "--test", type=int, help="real pairs on which is judged; else half of --pairs"
    )
    parser.add_argument("--epochs", type=float, help="of a training on real pairs; else 2")
    parser.add_argument("--trainings", type=int, default=1, help="of each reward model")
    parser.add_argument(
        "--apart", action="store_true", help="those trained on the noisy pairs vote, not heads"
    )
    parser.add_argument(
        "--incorrect",
        choices=["flip", "drop"],
        default="flip",
        help="with --apart: what becomes of the labels that the votes are against",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.tasks == bool(arguments.data and arguments.base):
        parser.error("give either --tasks, or --data and --base")
    named = [name for name in ("set", "test", "epochs") if getattr(arguments, name) is not None]
    if arguments.tasks and named:
        parser.error(f"--{named[0]} is for real pairs")
    count = arguments.pairs
    if arguments.tasks:
        own = tasks(count)
    else:
        test, epochs = arguments.test or count // 2, arguments.epochs
        own = real(arguments.data, arguments.base, arguments.set, test, epochs)
    shared = {"pairs": count, "test": own.test, "trainings": arguments.trainings}
    for name in ("set", "epochs", "incorrect"):
        if (value := getattr(arguments, name)) != parser.get_default(name):
            shared[name] = value
    done = []
    if arguments.out.is_file():
        stored = [json.loads(line) for line in arguments.out.read_text().splitlines()]
        done = [row for row in stored if shared.items() <= row.items()]
    for seed in arguments.seeds:
        key = {"seed": seed} | shared
        if any(key.items() <= row.items() for row in done):
            continue
        sizes = (own, seed, count, arguments.trainings)
        row = key | (
            measure_apart(*sizes, arguments.incorrect) if arguments.apart else measure(*sizes)
        )
        row |= {"machine": machine("cpu"), "versions": versions()}
        done.append(row)
        with arguments.out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")
    for name in ("auc", "auc_gsm8k", "noisy", "treated", "flipping", "clean"):
        if name in done[0]:
            print(name, interval(np.array([row[name] for row in done])))
    for name in ("treated", "flipping", "clean"):
        if name not in done[0]:
            continue
        less = np.array([row[name] - row["noisy"] for row in done])
        print(f"{name} - noisy", interval(less))
    checked = "roc_gsm8k" if "roc_gsm8k" in done[0] else "roc"
    if not draw(np.array([row[checked] for row in done]), arguments.out.with_suffix(".svg")):
        print("no picture: matplotlib is not installed (pip install matplotlib)")
    print("flips by tenth", np.mean([row["flips_by_tenth"] for row in done], axis=0).round(2))


if __name__ == "__main__":
    main()
