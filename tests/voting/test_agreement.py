"""What votes are worth, told from how often they agree with labels that they have not seen."""

import numpy as np
import pytest

from seamaug.models.ensemble import strength
from seamaug.voting.agreement import Agreement, agreement, incorrect_treatment


@pytest.mark.parametrize(("right", "noise"), [(0.95, 0.1), (0.85, 0.2), (0.6, 0.35)])
def test_flipping_pays_where_it_mends_more_than_it_spoils(right: float, noise: float) -> None:
    """Against the count of what is mended and spoilt, with labels and votes wrong at random."""
    rng = np.random.default_rng(0)
    label_wrong = rng.random(400_000) < noise
    vote_wrong = rng.random(400_000) >= right
    against = label_wrong != vote_wrong
    told = Agreement(400_000, float(1 - against.mean()))
    mended = (label_wrong & against).sum() - (~label_wrong & against).sum()
    assert told.pays(noise) == (mended > 0)


def test_the_point_between() -> None:
    # Votes right as often as labels: 0.8 · 0.8 + 0.2 · 0.2 of the labels are agreed with.
    assert Agreement(100, 0.68).break_even == pytest.approx(0.2)
    assert Agreement(100, 0.4).break_even == 0.5
    assert not Agreement(19, 1.0).pays(0.4)
    assert Agreement(20, 1.0).pays(0.01)


def test_only_unseen_pairs_with_votes_count() -> None:
    found = strength(np.array([[1.0, 2.0], [-1.0, 0.5], [np.nan, np.nan], [3.0, 3.0]]))
    told = agreement(found, np.array([True, True, True, False]))
    assert told == Agreement(2, 0.5)
    assert told.report() == {"pairs": 2}
    assert agreement(found, np.zeros(4, bool)).report() == {"pairs": 0}


def test_nothing_is_said_where_no_label_is_called_incorrect(
    caplog: pytest.LogCaptureFixture,
) -> None:
    weak = Agreement(100, 0.5)
    assert incorrect_treatment(weak, 0.2, called=0) == "keep"
    assert not caplog.text
    assert incorrect_treatment(weak, 0.2, called=3) == "keep"
    assert "3 labels called incorrect are kept: the votes agree with 50%" in caplog.text
