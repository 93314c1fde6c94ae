"""The keep rules."""

import math
from pathlib import Path
from typing import Any

import pytest

from seamaug.config import KeepConfig
from seamaug.errors import ConfigError
from seamaug.keep.rules import Case, Discrepant, Lookahead, Rescore, keep_rule
from seamaug.records import Candidate, SetScores


def case(before: float = 1.0, after: float = 0.5, foreseen: float | None = None) -> Case:
    candidate = Candidate("id", "parent", [], "chosen", "op", "rule", "", [])
    candidate.seam_before, candidate.seam_after = before, after
    candidate.predicted_reduction = foreseen
    parent: Any = None
    return Case(candidate, parent, SetScores(), 0)


def test_rescore_is_worth_what_it_lies_below_its_parent() -> None:
    rule = Rescore(KeepConfig(margin=0.25))
    assert rule.worth(case(1.0, 0.4)) == pytest.approx(0.6)
    assert rule.worth(case(0.4, 1.0)) == pytest.approx(-0.6)
    assert rule.least == 0.25


def test_discrepant_is_worth_its_own_seam() -> None:
    rule = Discrepant(KeepConfig(margin=0.25))
    assert rule.worth(case(0.0, 0.4)) == 0.4
    assert rule.least == 0.25


def test_lookahead_is_worth_what_is_foreseen() -> None:
    rule = Lookahead(KeepConfig(margin=0.25))
    assert rule.worth(case(0.0, 0.4, 0.01)) == 0.01
    assert rule.least == 0  # the margin is in another unit


@pytest.mark.parametrize(
    ("name", "features", "wanted"),
    [
        ("auto", True, "lookahead"),
        ("auto", False, "discrepant"),
        ("lookahead", True, "lookahead"),
        ("discrepant", True, "discrepant"),
        ("rescore", False, "rescore"),
    ],
)
def test_rule_of_the_config(name: str, features: bool, wanted: str) -> None:
    assert keep_rule(KeepConfig(rule=name), features=features).name == wanted


def test_lookahead_needs_features() -> None:
    with pytest.raises(ConfigError, match=r"reward\.engine: transformers.*keep\.rule: discrepant"):
        keep_rule(KeepConfig(rule="lookahead"), features=False)


OWN = """
class Shortest:
    name = "shortest"
    least = -6.0
    reason = "too long"

    def __init__(self, config):
        self.config = config

    def worth(self, case):
        return -len(case.candidate.chosen)


class Half:
    def __init__(self, config):
        pass
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_rules.py").write_text(OWN, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("own")
def test_a_rule_of_ones_own() -> None:
    rule = keep_rule(KeepConfig(rule="my_rules:Shortest"), features=False)
    assert (rule.name, rule.worth(case())) == ("shortest", -6)
    with pytest.raises(ConfigError, match=r"`keep.rule`: my_rules:Half has no `name`"):
        keep_rule(KeepConfig(rule="my_rules:Half"), features=False)
    with pytest.raises(ConfigError, match=r"`keep.rule`: my_rules:Missing cannot be imported"):
        keep_rule(KeepConfig(rule="my_rules:Missing"), features=False)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'lookahead'"):
        KeepConfig(rule="lookahed")
    with pytest.raises(ValueError, match="known: auto, lookahead, discrepant, rescore"):
        KeepConfig(rule="xyz")
    assert not math.nan > 0  # why the keeper asks for "above", not for "not below"
