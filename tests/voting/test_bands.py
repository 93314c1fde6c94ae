"""Bands and treatments by hand."""

import numpy as np
import pytest

from seamaug.config import TreatmentConfig
from seamaug.models.ensemble import Strength, strength
from seamaug.voting.bands import bands, summary, treated

MARGINS = np.array([[1.0, 3.0], [-2.0, -2.0], [0.5, -0.5], [4.0, 5.0]])


def test_bands_follow_the_spread() -> None:
    found = strength(MARGINS)
    assert bands(found, 1.0, 0.25).tolist() == ["helpful", "incorrect", "ambiguous", "strong"]
    # Twice the spread is asked for: the first pair's models no longer agree enough.
    assert bands(found, 2.0, 0.0).tolist() == ["ambiguous", "incorrect", "ambiguous", "helpful"]
    scaled = Strength(found.mu * 100, found.sigma * 100, found.votes)
    assert (bands(scaled, 1.0, 0.25) == bands(found, 1.0, 0.25)).all()


def test_one_vote_of_several_is_no_agreement() -> None:
    found = strength(np.array([[-0.01, np.nan, np.nan], [9.0, np.nan, np.nan], [-1.0, -1.1, -0.9]]))
    assert bands(found, 1.0, 0.5).tolist() == ["ambiguous", "ambiguous", "incorrect"]


def test_the_strong_are_among_the_certain() -> None:
    wild = Strength(np.array([9.0, 1.0]), np.array([20.0, 0.1]), np.array([2, 2]))
    assert bands(wild, 1.0, 0.5).tolist() == ["ambiguous", "helpful"]


@pytest.mark.parametrize(
    ("band", "settings", "wanted"),
    [
        ("incorrect", {"incorrect": "flip"}, ("flipped", 0.0, None)),
        ("incorrect", {"incorrect": "flip", "margin": True}, ("flipped", 0.0, 2.0)),
        ("incorrect", {"incorrect": "drop"}, ("dropped", 0.0, None)),
        ("incorrect", {"incorrect": "soften", "margin": True}, ("softened", 0.3, -2.0)),
        ("ambiguous", {"smoothing": 0.4}, ("softened", 0.4, None)),
        ("ambiguous", {"ambiguous": "keep"}, ("kept", 0.0, None)),
        ("helpful", {"margin": True}, ("kept", 0.0, -2.0)),
        ("strong", {}, ("kept", 0.0, None)),
    ],
)
def test_treatments(band: str, settings: dict[str, object], wanted: tuple[object, ...]) -> None:
    label = treated(band, -2.0, TreatmentConfig.model_validate(settings))
    assert (label.treatment, label.smoothing, label.margin) == wanted


def test_summary_by_band_with_a_judge() -> None:
    found = strength(MARGINS)
    named = bands(found, 1.0, 0.25)
    told = ["kept", "flipped", "softened", "kept"]
    rows = summary(found, named, told, [True, False, None, True])
    assert [row["band"] for row in rows] == ["incorrect", "ambiguous", "helpful", "strong"]
    assert [row["agreement"] for row in rows] == [0.0, None, 1.0, 1.0]
    assert [row["judged"] for row in rows] == [1, 0, 1, 1]
    assert rows[3]["mu"] == [4.5, 4.5]
    assert summary(found, named, told, None)[0]["agreement"] is None
