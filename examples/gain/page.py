"""Tables and plots of the results, from their raw rows alone.

    python examples/gain/page.py [--scale laptop]

Writes results/SCALE.md and results/SCALE.svg beside results/SCALE.jsonl. Intervals are 95 %
percentiles of a bootstrap over seeds, the same resamples for all arms, so differences are paired.
The plots need matplotlib: pip install matplotlib.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from arms import ARMS, DROPS, EVERYTHING, NONE, RANDOM, WEST_OF_N

HERE = Path(__file__).parent
RESAMPLES = 10_000
RIVALS = (NONE, RANDOM, "even", "margin", WEST_OF_N, EVERYTHING)
Table = dict[str, dict[str, np.ndarray]]
"""Measures by arm: (seeds,), NaN where there is none."""

MEASURES = {
    "gold": "gold score after RL",
    "win_rate": "win rate against `none`",
    "gold_sft": "gold score before RL",
    "proxy": "proxy reward",
    "kl": "KL, nats",
    "on_policy_accuracy": "RM accuracy on policy",
    "off_policy_accuracy": "off policy",
    "seam": "SEAM",
    "seam_after": "SEAM after RL",
    "hack_rate": "hack rate",
    "hack_rate_after": "hack rate after RL",
    "reward_variance": "reward variance",
}


def read(path: Path) -> dict[int, dict[str, Any]]:
    """Rows by seed and arm, of the seeds that have `none` and `random`."""
    by_seed: dict[int, dict[str, Any]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        by_seed.setdefault(row["seed"], {})[row["arm"]] = row
    return {seed: own for seed, own in sorted(by_seed.items()) if {NONE, RANDOM} <= own.keys()}


def arms_of(by_seed: dict[int, dict[str, Any]]) -> tuple[list[str], list[str]]:
    """Arms that all seeds have, and those that some have."""
    found = [arm for arm in (*ARMS, *DROPS) if any(arm in own for own in by_seed.values())]
    whole = [arm for arm in found if all(arm in own for own in by_seed.values())]
    return whole, [arm for arm in found if arm not in whole]


def measures(by_seed: dict[int, dict[str, Any]]) -> Table:
    """Of the arms that all seeds have."""
    return {
        arm: {
            name: np.array([own[arm].get(name, np.nan) for own in by_seed.values()], dtype=float)
            for name in (*MEASURES, "rows", "seconds")
        }
        for arm in arms_of(by_seed)[0]
    }


class Bootstrap:
    """The same resamples of the seeds for every figure."""

    def __init__(self, seeds: int) -> None:
        self._drawn = np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds))

    def interval(self, of: Callable[[np.ndarray], np.ndarray]) -> tuple[float, float]:
        """`of` maps places of seeds, (resamples, seeds), to a figure for each resample."""
        low, high = np.percentile(of(self._drawn), [2.5, 97.5])
        return float(low), float(high)


def gain(table: Table, arm: str, other: str, bootstrap: Bootstrap, *, before: bool = False) -> str:
    """Relative difference of the mean gold scores, with its interval; `before`: the other's before
    reinforcement learning."""
    own, base = table[arm]["gold"], table[other]["gold_sft" if before else "gold"]
    value = own.mean() / base.mean() - 1
    low, high = bootstrap.interval(lambda at: own[at].mean(1) / base[at].mean(1) - 1)
    return f"{value:+.1%} [{low:+.1%}, {high:+.1%}]"


def tables(by_seed: dict[int, dict[str, Any]]) -> list[str]:
    """Markdown, of the arms that all seeds have."""
    table, seeds = measures(by_seed), list(by_seed)
    bootstrap = Bootstrap(len(seeds))
    rivals = [name for name in RIVALS if name in table]
    lines = [
        f"{len(seeds)} seeds: {', '.join(map(str, seeds))}. Relative difference of the gold score "
        "after RL, with its 95 % interval (paired bootstrap over seeds).",
        "",
        "| arm | rows | gold | " + " | ".join(f"against {name}" for name in rivals) + " |",
        "|---" * (3 + len(rivals)) + "|",
    ]
    for arm, own in table.items():
        if arm in DROPS:
            continue
        cells = ["–" if arm == name else gain(table, arm, name, bootstrap) for name in rivals]
        lines.append(
            f"| {arm} | {own['rows'].mean():,.0f} | {own['gold'].mean():.3f} | "
            f"{' | '.join(cells)} |"
        )
    lines += [
        "",
        "| arm | " + " | ".join(MEASURES.values()) + " |",
        "|---" * (1 + len(MEASURES)) + "|",
    ]
    for arm, own in table.items():
        cells = ["–" if np.isnan(own[m]).all() else f"{own[m].mean():.3f}" for m in MEASURES]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    drops = [arm for arm in table if arm in DROPS]
    if drops:
        lines += [
            "",
            "| prompts left out of RL | gold | against all prompts | against no RL and no rows "
            "| against random |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {arm} | {table[arm]['gold'].mean():.3f} | "
            f"{'–' if arm == NONE else gain(table, arm, DROPS[arm].of, bootstrap)} | "
            f"{gain(table, arm, NONE, bootstrap, before=True)} | "
            f"{'–' if arm == NONE else gain(table, arm, RANDOM, bootstrap)} |"
            for arm in (NONE, *drops)
        ]
    return lines


def some(by_seed: dict[int, dict[str, Any]], arms: list[str]) -> list[str]:
    """Markdown of arms that few seeds have, each with the seeds that have it."""
    lines = ["", "Arms of some seeds, paired on these; `drop …`: against the same models on all "]
    lines[-1] += "prompts, others against `random`."
    lines += ["", "| arm | seeds | gold | difference |", "|---|---|---|---|"]
    for arm in arms:
        of = DROPS[arm].of if arm in DROPS else RANDOM
        own = {seed: rows for seed, rows in by_seed.items() if {arm, of} <= rows.keys()}
        if own:
            table = {
                name: {"gold": np.array([rows[name]["gold"] for rows in own.values()])}
                for name in (arm, of)
            }
            lines.append(
                f"| {arm} | {', '.join(map(str, own))} | {table[arm]['gold'].mean():.3f} | "
                f"{gain(table, arm, of, Bootstrap(len(own)))} |"
            )
    return lines


def saturation(path: Path) -> list[str]:
    """Markdown of what grid.py found: gold score after RL, and mismatch rate, by data shares."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    policies, judges = (sorted({row[f"{of}_share"] for row in rows}) for of in ("policy", "reward"))
    seeds = sorted({row["seed"] for row in rows})
    lines = [
        "",
        f"Saturation, seeds {', '.join(map(str, seeds))}: gold score before → after RL, and "
        "mismatch rate, by the share of demonstrations (rows) and of preferences (columns).",
        "",
        "| | " + " | ".join(f"{judge:.0%} of preferences" for judge in judges) + " |",
        "|---" * (1 + len(judges)) + "|",
    ]
    for policy in policies:
        cells = []
        for judge in judges:
            own = [r for r in rows if (r["policy_share"], r["reward_share"]) == (policy, judge)]
            before, after = (np.mean([row[name] for row in own]) for name in ("gold_sft", "gold"))
            known = [row["mismatch"] for row in own if row["mismatch"] is not None]
            wrong = f"{np.mean(known):.2f}" if known else "–"
            cells.append(f"{before:.3f} → {after:.3f}, {wrong}")
        lines.append(f"| {policy:.0%} of demonstrations | {' | '.join(cells)} |")
    return lines


def causes(path: Path) -> list[str]:
    """Markdown of what causes.py found."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    found = [row for row in rows if "rl_steps" in row]
    steps = sorted({row["rl_steps"] for row in found})
    lines = [
        "",
        "Gold score, and KL in nats, by steps of reinforcement learning, seeds "
        f"{', '.join(map(str, sorted({row['seed'] for row in found})))}:",
        "",
        "| arm | " + " | ".join(map(str, steps)) + " |",
        "|---" * (1 + len(steps)) + "|",
    ]
    for arm in dict.fromkeys(row["arm"] for row in found):
        cells = []
        for count in steps:
            own = [row for row in found if (row["arm"], row["rl_steps"]) == (arm, count)]
            gold, kl = (np.mean([row[name] for row in own]) for name in ("gold", "kl"))
            cells.append(f"{gold:.3f}, {kl:.2f}")
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    lines += ["", "| SEAM again with | the worst prompts that are the same | rank correlation |"]
    lines += ["|---|---|---|"]
    again = [row for row in rows if "again" in row]
    for what in dict.fromkeys(row["again"] for row in again):
        own = [row for row in again if row["again"] == what]
        cells = []
        for name, form in (("worst_shared", ".0%"), ("rank_correlation", ".2f")):
            values = [row[name] for row in own]
            cells.append(f"{np.mean(values):{form}} ({min(values):{form}}–{max(values):{form}})")
        lines.append(f"| {what} | {' | '.join(cells)} |")
    return lines


def draw(table: Table, path: Path) -> None:
    """Relative gold score of each arm to `random`, or to the same models on all prompts where it
    leaves some out: every seed, the mean and its interval."""
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    matplotlib.rcParams["svg.hashsalt"] = "seamaug"
    bootstrap = Bootstrap(len(table[RANDOM]["gold"]))
    arms = [arm for arm in table if arm != RANDOM][::-1]
    figure, axes = plt.subplots(figsize=(8, 0.36 * len(arms) + 1.2), layout="constrained")
    for place, arm in enumerate(arms):
        own, base = table[arm]["gold"], table[DROPS[arm].of if arm in DROPS else RANDOM]["gold"]
        low, high = bootstrap.interval(
            lambda at, own=own, base=base: own[at].mean(1) / base[at].mean(1) - 1
        )
        colour = "C1" if arm.startswith("seam") else "C2" if arm in DROPS else "C0"
        axes.plot([100 * low, 100 * high], [place, place], color=colour, lw=2)
        axes.plot(100 * (own / base - 1), [place] * len(base), ".", color=colour, alpha=0.4)
        axes.plot(100 * (own.mean() / base.mean() - 1), place, "o", color=colour)
    axes.axvline(0, color="grey", lw=1)
    axes.set_yticks(range(len(arms)), arms)
    axes.set_xlabel("gold score after RL, % above `random` (`drop …`: above all prompts)")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Write them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--scale", default="laptop")
    parser.add_argument("--results", type=Path, help="folder; default: results here")
    given = parser.parse_args()
    results = (given.results or HERE / "results") / f"{given.scale}.jsonl"
    by_seed = read(results)
    if not by_seed:
        raise SystemExit(f"{results}: no seed has `none` and `random` yet; run run.py")
    picture = results.with_suffix(".svg")
    draw(measures(by_seed), picture)
    lines = [*tables(by_seed), "", f"![gold score by arm]({picture.name})"]
    whole, partial = arms_of(by_seed)
    every = {seed: own for seed, own in by_seed.items() if {*whole, *partial} <= own.keys()}
    if partial and len(every) > 1:
        picture = results.with_name(f"{results.stem}-all.svg")
        draw(measures(every), picture)
        lines += ["", "All arms, on the seeds that have them all.", "", *tables(every)]
        lines += ["", f"![gold score by arm, all arms]({picture.name})"]
    elif partial:
        lines += some(by_seed, partial)
    grid = results.with_name(f"{results.stem}-grid.jsonl")
    if grid.exists():
        lines += saturation(grid)
    asked = results.with_name(f"{results.stem}-causes.jsonl")
    if asked.exists():
        lines += causes(asked)
    text = "\n".join([*lines, ""])
    results.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
