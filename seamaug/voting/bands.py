"""Bands of preference strength, and what becomes of the labels in each (arXiv 2401.06080)."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from seamaug.config import TreatmentConfig
from seamaug.models.ensemble import Strength

INCORRECT, AMBIGUOUS, HELPFUL, STRONG = BANDS = ("incorrect", "ambiguous", "helpful", "strong")
KEPT, FLIPPED, SOFTENED, DROPPED = "kept", "flipped", "softened", "dropped"


def bands(found: Strength, certain: float, strong: float) -> np.ndarray:
    """Band of each pair, (pairs,) of str.

    Incorrect or helpful where the models agree, |mu| > `certain` · sigma; ambiguous elsewhere, and
    where only one could read the pair: that is no agreement.
    Strong are, of the helpful ones, those among the share `strong` of all pairs with the highest
    mu. The thresholds follow the models' own spread: fixed shares, as published for one dataset,
    would find as many incorrect labels in clean data as in noisy data.
    """
    several = found.votes > 1
    named = np.select(
        [several & found.contradicts(certain), several & found.agrees(certain)],
        [INCORRECT, HELPFUL],
        AMBIGUOUS,
    )
    count = int(strong * len(named))
    top = np.argsort(-found.mu, kind="stable")[:count]
    named[top[named[top] == HELPFUL]] = STRONG
    return named


@dataclass(frozen=True, slots=True)
class Label:
    """What becomes of a pair's label."""

    treatment: str
    """KEPT, FLIPPED, SOFTENED or DROPPED."""
    smoothing: float
    margin: float | None


def treated(band: str, mu: float, config: TreatmentConfig) -> Label:
    """The pair's label by its band."""
    action = {INCORRECT: config.incorrect, AMBIGUOUS: config.ambiguous}.get(band, "keep")
    flipped = action == "flip"
    margin = (-mu if flipped else mu) if config.margin else None
    names = {"keep": KEPT, "flip": FLIPPED, "soften": SOFTENED, "drop": DROPPED}
    return Label(names[action], config.smoothing if action == "soften" else 0.0, margin)


def summary(
    found: Strength, named: np.ndarray, treatments: list[str], right: list[bool | None] | None
) -> list[dict[str, Any]]:
    """A row per band: pairs, range of mu, mean sigma, treatment, and agreement with a judge.

    `right`: whether the judge finds the chosen response the better one; None where it cannot tell.
    """
    rows = []
    for band in BANDS:
        at = np.flatnonzero(named == band)
        if not len(at):
            continue
        told = [own for i in at if (own := right[i]) is not None] if right else []
        rows.append(
            {
                "band": band,
                "pairs": len(at),
                "mu": [float(found.mu[at].min()), float(found.mu[at].max())],
                "sigma": float(found.sigma[at].mean()),
                "treatment": treatments[at[0]],
                "judged": len(told),
                "agreement": float(np.mean(told)) if told else None,
            }
        )
    return rows
