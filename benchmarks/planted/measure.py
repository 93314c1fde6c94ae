"""From scores to figures: ROC-AUC with intervals, and checks that the planting took."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from planted.models import PlantedReward
from planted.plan import BOTH, CUE, FLAW_ONLY, FLAWS, GROUPS, LENGTH
from planted.scores import ESTIMATORS, TRUTH, Scored, World
from seamaug.scoring.seam import mean_logprobs, misjudgements
from seamaug.scoring.seeds import EstimatorScores, ScoredSet

RESAMPLES = 1000
WEIGHTINGS = ("prob", "paper")
DEFINITION, UNSCALED = "definition", "prob, not normalised"
"""Two forms that the package does not offer: the sum of P(r | I) eps(r, R) over distinct responses
with the probability of the whole response, which is Definition 1 to the letter; and `prob` without
the division by the sum of the weights."""


def auc(positive: np.ndarray, negative: np.ndarray) -> float:
    """Share of (positive, negative) pairs in the right order; a tie counts half."""
    return float(_wins(positive, negative).mean())


def _wins(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    higher = positive[:, None] > negative
    return higher + 0.5 * (positive[:, None] == negative)


def resampled_aucs(
    positive: np.ndarray,
    negative: np.ndarray,
    cells: tuple[Sequence[str], Sequence[str]],
    rng: np.random.Generator,
) -> np.ndarray:
    """AUC under resampling of whole cells, positive and negative ones apart: (RESAMPLES,)."""
    wins = _wins(positive, negative)
    weights = [_cell_weights(own, rng) for own in cells]
    totals = weights[0].sum(1) * weights[1].sum(1)
    return np.einsum("bp,pn,bn->b", weights[0], wins, weights[1], optimize=True) / totals


def _cell_weights(cells: Sequence[str], rng: np.random.Generator) -> np.ndarray:
    """How often each prompt is in each resample, (RESAMPLES, prompts)."""
    names, member = np.unique(cells, return_inverse=True)
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    return drawn[:, member].astype(float)


def rankings(world: World, scored: Scored) -> Iterator[tuple[str, str, np.ndarray]]:
    """(method, weighting, score by prompt) of all that is compared; high means suspect."""
    for name in (*ESTIMATORS, TRUTH):
        found = scored.found(name)
        for weighting in WEIGHTINGS:
            yield name, weighting, found.seam(weighting)
        for form in (DEFINITION, UNSCALED):
            yield name, form, _per_prompt(found, partial(_summed, scored, form == DEFINITION))
    for name in ESTIMATORS:
        yield "hack rate", name, scored.found(name).part("hack_rate")
    draws = _per_prompt(scored.found("on-policy"), lambda row: row.counts.sum() / row.draws)
    yield "share of samples that are worse", "on-policy", draws
    yield "reward margin of the given pair", "negated", -scored.margins
    yield "NLL of the golden response", "per token", -scored.scores.main.part("golden_logprob")


def _per_prompt(found: EstimatorScores, value: Any) -> np.ndarray:
    return np.array(
        [
            np.nan if position in found.errors else float(value(found.row(position)))
            for position in range(len(found))
        ]
    )


def _summed(scored: Scored, whole: bool, row: ScoredSet) -> float:
    eps = misjudgements(row.scores, scored.scores.scale)
    logprobs = np.array(row.scores.logprobs) if whole else mean_logprobs(row.scores)
    return float(np.exp(logprobs[1:]) @ eps)


def figures(world: World, scored: Scored) -> dict[str, Any]:
    """All numbers of one seed, as they are stored."""
    rng = np.random.default_rng(world.seed)
    table = [
        {"method": method, "weighting": weighting, **_ranked(world, values, rng)}
        for method, weighting, values in rankings(world, scored)
    ]
    return {
        "seed": world.seed,
        "prompts": len(world.tasks),
        "flaws": world.plan.flaws,
        "groups": {name: int((world.groups == i).sum()) for i, name in enumerate(GROUPS)},
        "policy": _policy(world, scored),
        "sets": [_set(world, name, scored.found(name)) for name in (*ESTIMATORS, TRUTH)],
        "verifier": _verifier(world, scored),
        "auc_by_samples": _by_samples(world, scored, rng),
        "auc_by_noise": _by_noise(world, scored),
        "auc": table,
    }


def _ranked(world: World, values: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    scored = ~np.isnan(values)
    positive = scored & (world.groups == GROUPS.index(BOTH))
    hard = scored & (world.groups == GROUPS.index(FLAW_ONLY))
    cells = np.array(world.cells)
    result: dict[str, Any] = {"not_scored": int((~scored).sum())}
    for name, negative in (("all", scored & ~positive), ("hard", hard)):
        drawn = resampled_aucs(
            values[positive], values[negative], (cells[positive], cells[negative]), rng
        )
        result[name] = auc(values[positive], values[negative])
        result[f"{name}_interval"] = np.percentile(drawn, [2.5, 97.5]).tolist()
        result[f"{name}_resampled"] = drawn  # averaged over the seeds, and then dropped
    kinds = np.array([world.plan.flaws.get(task.topic, "") for task in world.tasks])
    result["by_flaw"] = {
        kind: auc(values[positive & (kinds == kind)], values[scored & ~positive]) for kind in FLAWS
    }
    return result


def _set(world: World, name: str, found: EstimatorScores) -> dict[str, Any]:
    """What an estimator's hack sets are like, by group."""
    by_group = {}
    for number, group in enumerate(GROUPS):
        items = [
            item
            for position, own in enumerate(world.groups)
            if own == number and (item := found.item(position)) is not None
        ]
        filled = [item for item in items if item.hack_set]
        by_group[group] = {
            "hack_rate": _mean([item.hack_rate for item in items]),
            "logprob_per_token": _mean([item.plausibility for item in filled]),
            "responses": _mean([item.hack_set for item in items]),
            "seam_prob": _mean([item.seam_prob for item in items]),
            "seam_paper": _mean([item.seam_paper for item in items]),
        }
    return {"estimator": name, "widened": found.widened, "by_group": by_group}


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else None


def _policy(world: World, scored: Scored) -> dict[str, dict[str, float]]:
    """How often the policy says the exploit and how often it is wrong: whether planting took."""
    found = scored.found(TRUTH)
    rows = []
    for position, task in enumerate(world.tasks):
        row, kind = found.row(position), world.plan.habits[task.cell].exploit
        exploits = [_is_exploit(text, kind, world.plan.cues[task.topic]) for text in row.worse]
        rows.append((row.counts @ np.array(exploits, float), row.counts.sum(), row.draws))
    said, wrong, draws = np.array(rows, float).T
    return {
        group: {
            "says_exploit": float((said / draws)[world.groups == number].mean()),
            "is_wrong": float((wrong / draws)[world.groups == number].mean()),
        }
        for number, group in enumerate(GROUPS)
    }


def _is_exploit(text: str, kind: str, cue: str) -> bool:
    """Of a wrong response; under a flipped sign each of them is."""
    if kind == CUE:
        return cue.lower() in text.lower()
    return len(text.split()) > 20 if kind == LENGTH else True


def _verifier(world: World, scored: Scored) -> dict[str, float]:
    """The reference verifier against the checker, over all samples of the policy."""
    caught = missed = blamed = draws = 0.0
    for position in range(len(world.tasks)):
        judged = _counted(scored.found("on-policy").row(position))
        true = _counted(scored.found(TRUTH).row(position))
        caught += sum(count for text, count in true.items() if text in judged)
        missed += sum(count for text, count in true.items() if text not in judged)
        blamed += sum(count for text, count in judged.items() if text not in true)
        draws += scored.found(TRUTH).row(position).draws
    return {
        "wrong_found": caught / max(caught + missed, 1),
        "right_blamed": blamed / max(draws - caught - missed, 1),
    }


def _counted(row: ScoredSet) -> dict[str, float]:
    return dict(zip(row.worse, row.counts, strict=True))


def _by_samples(world: World, scored: Scored, rng: np.random.Generator) -> dict[str, float]:
    """AUC of on-policy under `prob` had fewer samples been drawn (5 times each, on average)."""
    rows = [scored.found("on-policy").row(position) for position in range(len(world.tasks))]
    most = max(row.draws for row in rows)
    positive = world.groups == GROUPS.index(BOTH)
    areas = {}
    for draws in sorted({min(n, most) for n in (2, 5, 10, 20, most)}):
        found = []
        for _ in range(5):
            values = np.array([_with_draws(row, draws, scored, rng) for row in rows])
            found.append(auc(values[positive], values[~positive]))
        areas[str(draws)] = float(np.mean(found))
    return areas


def _with_draws(row: ScoredSet, draws: int, scored: Scored, rng: np.random.Generator) -> float:
    drawn = rng.multivariate_hypergeometric(
        [*row.counts.astype(int), row.draws - int(row.counts.sum())], draws
    )
    return float(drawn[:-1] @ misjudgements(row.scores, scored.scores.scale) / draws)


def _by_noise(world: World, scored: Scored) -> dict[str, float]:
    """AUC of on-policy under `prob` had the reward model judged the same samples with more noise.

    At 1 it puts 92 % of plain pairs in the right order on sound topics, at 2 76 %, at 3 68 %.
    """
    positive = world.groups == GROUPS.index(BOTH)
    rows = [scored.found("on-policy").row(position) for position in range(len(world.tasks))]
    areas = {}
    for noise in (0.5, 1.0, 2.0, 3.0):
        judge = PlantedReward(None, {}, world.plan, world.seed, noise)
        values = []
        for task, row in zip(world.tasks, rows, strict=True):
            golden = judge.score(task, task.golden)
            eps = [max(judge.score(task, text) - golden, 0.0) for text in row.worse]
            values.append(float(row.counts @ np.array(eps)) / row.draws)
        found = np.array(values)
        areas[f"{noise:g}"] = auc(found[positive], found[~positive])
    return areas


def pooled(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean over the seeds, its interval, and the lowest and highest seed, for every method."""
    rows = []
    for same in zip(*(run["auc"] for run in runs), strict=True):
        row = {"method": same[0]["method"], "weighting": same[0]["weighting"]}
        for name in ("all", "hard"):
            values = [own[name] for own in same]
            means = np.mean([own[f"{name}_resampled"] for own in same], axis=0)
            row[name] = float(np.mean(values))
            row[f"{name}_interval"] = np.percentile(means, [2.5, 97.5]).tolist()
            row[f"{name}_seeds"] = [min(values), max(values)]
        row["by_flaw"] = {
            kind: float(np.mean([own["by_flaw"][kind] for own in same])) for kind in FLAWS
        }
        row["not_scored"] = sum(own["not_scored"] for own in same)
        rows.append(row)
    for run in runs:
        for own in run["auc"]:
            del own["all_resampled"], own["hard_resampled"]
    return rows


def pooled_sets(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, float | None]]]:
    """What each estimator's hack sets are like by group, on average over the seeds."""
    pools = {}
    for same in zip(*(run["sets"] for run in runs), strict=True):
        groups = [own["by_group"] for own in same]
        pools[same[0]["estimator"]] = {
            group: {name: _mean([own[group][name] for own in groups]) for name in first}
            for group, first in groups[0].items()
        }
    return pools
