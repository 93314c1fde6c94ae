"""The keep rule."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.config import KeepConfig
from seamaug.keep.rules import Rescore, keep_rule

NOT_REDUCED = "discrepancy not reduced"
SEAM = st.floats(0, 100)


@pytest.mark.parametrize(
    ("margin", "before", "after", "reason"),
    [
        (0.25, 1.0, 0.5, ""),
        (0.25, 1.0, 0.75, NOT_REDUCED),  # by more than the margin, not by as much
        (0.25, 1.0, 0.74, ""),
        (0.25, 0.5, 1.0, NOT_REDUCED),
        (0.0, 1.0, 1.0, NOT_REDUCED),
        (0.0, 1.0, 0.0, ""),
        (0.0, math.nan, 0.0, NOT_REDUCED),
        (0.0, 1.0, math.nan, NOT_REDUCED),
    ],
)
def test_rescore(margin: float, before: float, after: float, reason: str) -> None:
    assert Rescore(margin)(before, after) == reason


@given(SEAM, SEAM, st.floats(0, 10))
def test_what_grows_is_never_kept(before: float, after: float, margin: float) -> None:
    kept = Rescore(margin)(before, after) == ""
    assert kept == (before - after > margin)
    assert not (kept and Rescore(margin)(after, before) == "")


def test_rule_of_the_config() -> None:
    rule = keep_rule(KeepConfig(margin=0.5))
    assert rule.name == KeepConfig().rule == "rescore"
    assert rule(1.0, 0.4) == ""
    assert rule(1.0, 0.6) == NOT_REDUCED
