"""What policy and reward model said of the seeds' responses, read from a run's finished parts.

The formulas are the scorer's, and the report is what shows this, so it stands beside the pipeline.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from seamaug.report.responses import Response, ScoredResponses
from seamaug.report.sample import Lowest
from seamaug.run.folder import read_part
from seamaug.scoring.seam import RewardScale, mean_logprobs
from seamaug.scoring.seeds import ScoredSet, stage_of

POINTS, WORST = 4000, 200


def read_scored_responses(run: Path, summary: dict[str, Any]) -> ScoredResponses | None:
    """What the first estimator's stage of a run holds; None where it is gone.

    `summary`: of run.json, which has the scale of the rewards and the weighting.
    """
    score = summary["config"]["score"]
    folder = run / "stages" / stage_of(score["estimators"][0])
    scale = RewardScale(*(tuple(summary["reward_scores"][name]) for name in ("means", "stds")))
    found = ScoredResponses()
    points, worst = Lowest[Response](POINTS), Lowest[Response](WORST)
    paths = sorted(folder.glob("*.parquet"), key=lambda path: int(path.stem))
    for path in paths:
        draw = np.random.default_rng(len(found.seams))
        for row in read_part(path).to_pylist():
            scored = ScoredSet(row)
            if scored.scores.error:
                found.seams.append(math.nan)
                continue
            responses = _responses(len(found.seams), scored, scale, score["weighting"])
            for response, priority in zip(responses, draw.random(len(responses)), strict=True):
                if not math.isfinite(response.logprob):
                    continue
                for rows, own in ((points, float(priority)), (worst, -response.weight)):
                    if rows.wants(own):
                        rows.take(own, response)
            _count(found, responses, scored)
            found.seams.append(scored.discrepancy(scale).under(score["weighting"]))
    found.points, found.worst = points.rows(), [r for r in worst.rows() if r.weight > 0]
    return found if paths else None


def _responses(
    position: int, scored: ScoredSet, scale: RewardScale, weighting: str
) -> list[Response]:
    """Golden response first."""
    rewards = scale.standardised(scored.scores.rewards)
    logprobs = mean_logprobs(scored.scores)
    weights = scored.weights(weighting) * np.maximum(rewards[1:] - rewards[0], 0)
    golden = Response(position, True, float(logprobs[0]), float(rewards[0]), 0.0, 0.0, "")
    return [golden] + [
        Response(
            position,
            False,
            float(logprobs[i + 1]),
            float(rewards[i + 1]),
            float(rewards[i + 1] - rewards[0]),
            float(weights[i]),
            text,
        )
        for i, text in enumerate(scored.worse)
    ]


def _count(found: ScoredResponses, responses: list[Response], scored: ScoredSet) -> None:
    found.worse += len(responses) - 1
    found.misjudged += sum(response.margin > 0 for response in responses)
    found.count += sum(math.isfinite(response.logprob) for response in responses)
    found.impossible += sum(not math.isfinite(response.logprob) for response in responses)
    rewards = np.array([response.reward for response in responses])
    found.lengths.add(np.asarray(scored.scores.tokens, np.float64), rewards)
