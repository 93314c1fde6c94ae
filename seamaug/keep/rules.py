"""Keep rules: what a candidate is worth, and how much of that is enough.

A rule is a class with three attributes and a method; the keeper takes the candidates of a part
that are worth most, as long as they are worth enough. To use one of your own, set `keep.rule` to
its place, such as ``my_rules:Shortest``; it is made with the run's `keep` settings.
examples/own_keep_rule.py is one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from seamaug.config import KeepConfig
from seamaug.errors import ConfigError
from seamaug.log import logger
from seamaug.records import Candidate, Parent, SetScores
from seamaug.user_code import load_function

SETTING = "keep.rule"


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate that both models scored."""

    candidate: Candidate
    """With its rejected response, and with SEAM of its parent (`seam_before`) and of itself."""
    parent: Parent
    scores: SetScores
    """Of its chosen response (index 0) and the worse ones: its parent's, or its own where its
    answer changed."""
    rejected: int
    """Which of the worse responses is the rejected one."""
    problem: str = ""
    """Why it cannot be kept, whatever it is worth."""
    policy_side: float = 0.0
    """Fall of SEAM foreseen from training the policy on it, weighted by `keep.policy_weight`."""


class KeepRule(Protocol):
    """Says what a candidate is worth; asked again after each one that is kept."""

    name: str
    least: float
    reason: str

    def worth(self, case: Case) -> float:
        """The higher, the rather it is kept; not at all unless it is above `least`."""
        ...


class Rescore:
    """The variant's own SEAM is below its parent's, on the same hack set if both have one answer.

    The literal reading of "keep what reduces the discrepancy": it prefers what both models already
    handle, and says nothing of what training on the variant does.
    """

    name = "rescore"
    reason = "discrepancy not reduced"

    def __init__(self, config: KeepConfig) -> None:
        self.least = config.margin

    def worth(self, case: Case) -> float:
        """By how much it is below, in standard deviations of the reward model's scores."""
        before, after = case.candidate.seam_before, case.candidate.seam_after
        assert before is not None, "the candidate is scored"
        assert after is not None, "the candidate is scored"
        return before - after


class Discrepant:
    """The models disagree on the variant itself: its own SEAM is high.

    Blind to redundancy: of a hundred like variants it keeps them all.
    """

    name = "discrepant"
    reason = "no discrepancy of its own"

    def __init__(self, config: KeepConfig) -> None:
        self.least = config.margin

    def worth(self, case: Case) -> float:
        """Its SEAM."""
        assert case.candidate.seam_after is not None, "the candidate is scored"
        return case.candidate.seam_after


class Lookahead:
    """Training on the variant lowers SEAM around its parent, as foreseen by `outlook`.

    What was kept counts as learnt, so near copies of it are worth little.
    """

    name = "lookahead"
    reason = "no reduction of discrepancy foreseen"

    def __init__(self, config: KeepConfig) -> None:
        self.least = 0.0

    def worth(self, case: Case) -> float:
        """The predicted fall of SEAM, in standard deviations of the reward model's scores."""
        assert case.candidate.predicted_reduction is not None, "look-ahead has an outlook"
        return case.candidate.predicted_reduction


_RULES: dict[str, Callable[[KeepConfig], KeepRule]] = {
    rule.name: rule for rule in (Rescore, Discrepant, Lookahead)
}


def keep_rule(config: KeepConfig, *, features: bool) -> KeepRule:
    """The configured rule; `features`: whether the reward models show what a score is made of.

    Raises ConfigError for one that needs it where they do not, and for what is no rule.
    """
    name = config.rule
    if name == "auto":
        name = Lookahead.name if features else Discrepant.name
        if not features:
            logger.info(
                "keep rule discrepant: the reward models do not show what their scores are made "
                "of, so that neither lookahead nor the guard of the reward variance can be used"
            )
    if name == Rescore.name:
        logger.warning(
            "keep rule rescore is the literal reading of what SEAM is to be lowered by: in trials "
            "training on what it keeps lowered SEAM less than training on as many random variants"
        )
    if name == Lookahead.name and not features:
        raise ConfigError(
            "`keep.rule: lookahead` needs reward models that transformers runs and that end in a "
            "linear layer; set `reward.engine: transformers`, or `keep.rule: discrepant`"
        )
    if config.policy_weight and not features:
        raise ConfigError(
            "`keep.policy_weight` adds the policy's side to what is foreseen of the reward models, "
            "which do not show what their scores are made of; leave it at 0, or set "
            "`reward.engine: transformers`"
        )
    if name in _RULES:
        return _RULES[name](config)
    own = load_function(name, SETTING)(config)
    for attribute in ("name", "least", "reason", "worth"):
        if not hasattr(own, attribute):
            raise ConfigError(
                f"`{SETTING}`: {name} has no `{attribute}`; see examples/own_keep_rule.py"
            )
    return own  # type: ignore[no-any-return]
