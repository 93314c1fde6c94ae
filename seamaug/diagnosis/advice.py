"""The decision table: from figures to what to do about them.

A rule speaks only where the whole 95 % interval lies beyond its threshold, and is drawn from twenty
prompts at least. Thresholds are ours where no source is named: the papers rank models and give no
absolute bounds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from seamaug.diagnosis.result import Advice, Cell
from seamaug.diagnosis.statistics import Figure

LOW_VARIANCE = 0.2
FLAT_SHARE = 0.25
ACCURATE = 0.7
INACCURATE = 0.6
"""A coin has 0.5."""
GAP = 0.1
PAPERS_MISMATCH = 0.357
"""The mismatch of reward models with people on a policy's responses in arXiv 2406.07971."""
LENGTH = 0.3
OPPOSED = -0.2
REPETITIVE = 0.3
ENOUGH = 20
"""Prompts: an interval that is drawn from fewer is too narrow."""
_OURS = "threshold: ours"


@dataclass(frozen=True)
class Rule:
    """A row of the table: all `when` must hold."""

    when: tuple[tuple[str, str, float], ...]
    """(figure, `<` or `>`, threshold); `?` for a figure that is not there."""
    finding: str
    do: str
    source: str

    def holds(self, cell: Cell) -> bool:
        """Whether every figure's interval lies beyond its threshold."""
        return all(_beyond(cell.figures[name], sign, bound) for name, sign, bound in self.when)


RULES = (
    Rule(
        (("flat_prompts", ">", FLAT_SHARE), ("on_policy_accuracy", ">", ACCURATE)),
        "the reward is accurate but flat on many prompts: there is nothing to climb there",
        "train the reward model further on pairs of the policy's own responses to these prompts, "
        "with a margin, or by MetaRM (seamaug train-rm --meta-step 0.01 --policy MODEL): its "
        "accuracy need not rise, the distances must",
        f"arXiv 2503.15477, 2401.06080; {_OURS}",
    ),
    Rule(
        (("flat_prompts", ">", FLAT_SHARE), ("on_policy_accuracy", "<", ACCURATE)),
        "the reward is flat on many prompts, and not accurate on this policy's responses",
        "take another reward model, or train this one on verified pairs of the policy's own "
        "responses: seamaug expand --estimator on-policy",
        f"arXiv 2503.15477; {_OURS}",
    ),
    Rule(
        (("flat_prompts", ">", FLAT_SHARE), ("on_policy_accuracy", "?", 0)),
        "the reward is flat on many prompts: there is nothing to climb there",
        "find out by a --judge whether it is accurate; then train it on pairs of the policy's own "
        "responses with a margin, or take another",
        f"arXiv 2503.15477; {_OURS}",
    ),
    Rule(
        (("reward_variance", "<", LOW_VARIANCE), ("flat_prompts", "<", FLAT_SHARE)),
        "the reward varies little between a prompt's responses, on all prompts alike: it mostly "
        "tells prompts apart",
        "train the reward model on pairs of the policy's own responses with a margin, and compare "
        "others with `--reward A --reward B`",
        f"arXiv 2503.15477; {_OURS}",
    ),
    Rule(
        (("reward_variance", ">", LOW_VARIANCE), ("on_policy_accuracy", "<", INACCURATE)),
        "the reward varies much but orders the policy's responses little better than a coin: the "
        "policy will learn fast, and the wrong thing",
        "repair the reward model before RLHF: seamaug expand --estimator on-policy gives pairs "
        "where it errs",
        f"arXiv 2503.15477; {_OURS}",
    ),
    Rule(
        (("accuracy_gap", ">", GAP),),
        "the reward model is better on the given pairs than on what this policy says",
        "expand with --estimator on-policy, and judge reward models by on-policy accuracy",
        f"arXiv 2503.15477; {_OURS}",
    ),
    Rule(
        (("off_policy_accuracy", "<", INACCURATE),),
        "the reward model orders the given pairs little better than a coin",
        "find the doubtful labels (seamaug strength) and verify them, then flip or soften them",
        f"arXiv 2401.06080; {_OURS}",
    ),
    Rule(
        (("hack_rate", ">", PAPERS_MISMATCH),),
        "many of the policy's worse responses stand above the golden one",
        "augment the worst prompts: seamaug expand; or leave the worst 10–20 % out: seamaug select "
        "--drop-worst 20%",
        "arXiv 2406.07971; threshold: its mismatch rate",
    ),
    Rule(
        (("mismatch_rate", ">", PAPERS_MISMATCH),),
        "on pairs of two policies the reward model is against the judge more often than in the "
        "paper",
        "do not choose between these policies by this reward; expand with --estimator on-policy",
        "arXiv 2406.07971; threshold: its mismatch rate",
    ),
    Rule(
        (("length_correlation", ">", LENGTH),),
        "longer responses get higher rewards",
        "balance lengths within pairs before training, or penalise length in the reward",
        _OURS,
    ),
    Rule(
        (("length_correlation", "<", -LENGTH),),
        "shorter responses get higher rewards",
        "balance lengths within pairs before training, and watch lengths during RLHF",
        _OURS,
    ),
    Rule(
        (("kendall_tau", "<", OPPOSED),),
        "the reward prefers what the policy hardly says",
        "look at the prompts of highest conflict: one of the two models is wrong there",
        f"arXiv 2512.09212; {_OURS}",
    ),
    Rule(
        (("distinct_responses", "<", REPETITIVE),),
        "the policy repeats itself: where all samples are one text, no reward can vary",
        "look at the policy (temperature in training, entropy) before the reward model",
        _OURS,
    ),
)
_CONSTANT = (
    "every response gets the same reward",
    "check that its head was trained and that it reads the response: nothing can be learnt from it",
    "arXiv 2503.15477",
)
_FAIR = (
    "nothing stands out, as far as it could be computed",
    "go on; diagnose again when either model has changed, since the figures belong to the pair",
    "arXiv 2406.07971",
)


def advise(cells: Sequence[Cell]) -> list[Advice]:
    """What the table says of every pair, in order; each pair has one row at least."""
    return [advice for cell in cells for advice in _of(cell)]


def _of(cell: Cell) -> Iterator[Advice]:
    if cell.is_constant:
        yield Advice(cell.policy, cell.reward, *_CONSTANT)
        return
    held = [rule for rule in RULES if rule.holds(cell)]
    for rule in held:
        shown = "; ".join(f"{name} {_shown(cell.figures[name])}" for name, _, _ in rule.when)
        finding = f"{rule.finding} ({shown})"
        yield Advice(cell.policy, cell.reward, finding, rule.do, rule.source)
    if not held:
        yield Advice(cell.policy, cell.reward, *_FAIR)


def _beyond(figure: Figure, sign: str, bound: float) -> bool:
    if figure.low is None or figure.high is None or figure.prompts < ENOUGH:
        return sign == "?"
    return figure.low > bound if sign == ">" else sign == "<" and figure.high < bound


def _shown(figure: Figure) -> str:
    if figure.value is None:
        return "unknown"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"
