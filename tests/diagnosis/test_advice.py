"""The decision table speaks where a whole interval lies beyond its threshold."""

from typing import Any

import pytest

from seamaug.diagnosis.advice import RULES, advise
from seamaug.diagnosis.result import FIGURES, Cell
from seamaug.diagnosis.statistics import Figure

SOUND = {
    "reward_variance": 0.6, "flat_prompts": 0.02, "on_policy_accuracy": 0.8, "accuracy_gap": 0.0,
    "off_policy_accuracy": 0.8, "hack_rate": 0.1, "mismatch_rate": 0.2, "length_correlation": 0.0,
    "kendall_tau": 0.0, "distinct_responses": 0.9,
}  # fmt: skip


def said(prompts: int = 50, spread: float = 0.01, **changes: float | None) -> list[str]:
    figures = dict.fromkeys(FIGURES, Figure(missing="none"))
    for name, value in {**SOUND, **changes}.items():
        if value is not None:
            figures[name] = Figure(value, value - spread, value + spread, prompts)
    return [a.finding for a in advise([Cell("p", "r", figures, False)])]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flat_prompts": 0.5}, "accurate but flat"),
        (
            {"flat_prompts": 0.5, "on_policy_accuracy": 0.5, "reward_variance": 0.1},
            "flat on many prompts, and not accurate",
        ),
        ({"flat_prompts": 0.5, "on_policy_accuracy": None}, "(flat_prompts 0.50"),
        ({"reward_variance": 0.1}, "tells prompts apart"),
        ({"on_policy_accuracy": 0.5}, "little better than a coin"),
        ({"accuracy_gap": 0.2}, "better on the given pairs"),
        ({"off_policy_accuracy": 0.5}, "orders the given pairs little better"),
        ({"hack_rate": 0.6}, "stand above the golden one"),
        ({"mismatch_rate": 0.5}, "pairs of two policies"),
        ({"length_correlation": 0.5}, "longer responses"),
        ({"length_correlation": -0.5}, "shorter responses"),
        ({"kendall_tau": -0.5}, "hardly says"),
        ({"distinct_responses": 0.1}, "repeats itself"),
    ],
)
def test_each_row_of_the_table(changes: dict[str, Any], words: str) -> None:
    (finding,) = said(**changes)
    assert words in finding


def test_a_sound_pair_is_told_so_and_doubt_is_no_finding() -> None:
    assert said() == ["nothing stands out, as far as it could be computed"]
    assert said(on_policy_accuracy=0.5, spread=0.2) == said()
    assert said(on_policy_accuracy=0.5, prompts=8) == said()


def test_rules_name_figures_that_exist() -> None:
    assert {name for rule in RULES for name, _, _ in rule.when} <= FIGURES.keys()
