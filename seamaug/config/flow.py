"""Sections of the other stages: seeds, select, generate, keep."""

import difflib
import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from seamaug.config.base import Positive, Section, Share, listed
from seamaug.resources import EMBEDDED


class SeedsConfig(Section):
    """Where the seeds come from and which of their columns mean what."""

    paths: Annotated[tuple[str, ...], BeforeValidator(listed)] = (EMBEDDED,)
    """Files, globs, addresses, dataset folders or hub ids; `embedded` is the bundled set."""
    split: str = "train"
    """Split of a dataset id or folder."""
    subset: str | None = None
    """Configuration name of a dataset id (the second argument of load_dataset)."""
    columns: dict[Literal["prompt", "golden", "worse"], str] = Field(default_factory=dict)
    """Own column names, where they are not recognised by themselves."""
    bad_rows: str | None = None
    """JSON-lines file for rows that cannot be used, each with its place, its field and the fix; the
    others are used. None refuses the seeds where there is such a row."""


class SelectConfig(Section):
    """Which seeds are worth variants: the worst share by SEAM, or the worst n."""

    share: Share = 0.2
    top: Positive | None = None
    """If set, the worst n seeds instead of a share."""


class GenerateConfig(Section):
    """How variants and worse responses are made."""

    operators: tuple[str, ...] = ("all",)
    """Operators by name, or `all`; those that need an LLM run only with a generator, and make half
    of the variants where there are others. `seamaug operators` lists them."""
    operators_from: str | None = None
    """Folder with LLM operators of your own: operators.yaml, and a template for each."""
    depth: Positive = 3
    """Embedded operators composed in one variant, at most."""
    neighbours: Positive = 8
    """Near seeds an operator may look at."""
    allocation: Literal["uniform", "thompson", "lookahead"] = "uniform"
    """What decides who gets the next variants. `lookahead`: what is foreseen to be left to remove
    around each parent, per character; needs what the keep rule `lookahead` needs. `thompson`: what
    earlier rounds removed, per generated token; it chooses the operators too. `uniform`: all
    alike."""
    explore: Share = 0.2
    """For `lookahead` and `thompson`: share of a round's variants that is spread evenly over the
    parents; for `thompson` also share of the variants whose operators are drawn evenly."""
    rounds: Positive = 10
    """The first round makes one in so many of the budget, but `batch_parents` variants at least;
    so does each of the others. With a budget in tokens or money, one in so many of the variants
    that were made before it."""
    per_round: Positive = 8
    """Variants of one parent per round, at most."""
    per_parent: Positive = 200
    """Variants of one parent over the whole run, at most."""
    batch_parents: Positive = 32
    """Parents per part: what a killed run can lose."""
    worse: Annotated[
        tuple[Literal["given", "policy", "llm", "scored"], ...], Field(min_length=1)
    ] = ("given", "policy", "llm", "scored")
    """Sources of worse responses, in the order in which they fill the hack set; `scored` are those
    that weigh most in the seed's SEAM."""
    policy_samples: Annotated[int, Field(ge=0)] = 2
    """Responses sampled from the policy per parent, and per variant whose answer an operator
    changed: the parent's worse responses would be beside the point there."""
    policy_max_new_tokens: Positive = 64
    llm_worse: Annotated[int, Field(ge=0)] = 2
    """Worse responses an LLM generator writes per parent, by its operators of kind `worse` in
    turn."""
    golden_rewrites: Annotated[int, Field(ge=0)] = 1
    """Rewrites of the golden response an LLM generator writes per parent, by its operators of kind
    `golden` in turn."""

    @property
    def samples_policy(self) -> bool:
        """Whether worse responses are looked for in what the policy says."""
        return self.policy_samples > 0 and "policy" in self.worse


_RULES = ("auto", "lookahead", "discrepant", "rescore")


class KeepConfig(Section):
    """The rule that decides what is kept."""

    rule: str = "auto"
    """`lookahead`: training the reward model on the variant is predicted to lower SEAM around its
    parent; needs reward models run by transformers that end in a linear layer.
    `discrepant`: the variant's own SEAM is high.
    `rescore`: the variant's SEAM is below its parent's on the same hack set: in trials training on
    these lowered SEAM less than on as many random variants.
    `auto`: `lookahead` where the reward models allow it, else `discrepant`.
    A rule of your own as `package.module:name`: see examples/own_keep_rule.py."""
    share: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a part's scored candidates that is kept, at most, such as 0.5: those that are worth
    most by the rule. The lower, the better what is kept, and the more has to be made."""
    margin: Annotated[float, Field(ge=0)] = 1e-3
    """For `rescore` how far below, for `discrepant` how high, in standard deviations of the reward
    model's scores: more than this."""
    probes: Positive = 256
    """Seeds at random on which it is foreseen what training on the kept examples does: none that
    variants are made of, where there are so many others."""
    near: Annotated[int, Field(ge=0)] = 4
    """Nearest seeds of a parent on which it is foreseen as well, beside the parent itself."""
    local: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Weight of these in the fall of SEAM that is foreseen; the rest is that of the probes."""
    policy_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    """Weight, in the fall of SEAM that is foreseen, of what training the policy on the chosen
    response does; needs `policy.engine: transformers`. Both sides are brought to the same spread
    over the probes, so 1 means as much as the reward models' side; 0 leaves it out. It is of first
    order: what was kept does not change it."""
    trained_pairs: Positive | None = None
    """Pairs that the reward model has been trained on: the more, the less a new one moves it in
    what is foreseen. Their number where it will be trained on old and new ones together; times
    epochs where it will see the new ones once. None: eight for every seed."""
    ridge: Annotated[float, Field(gt=0)] = 0.1
    """Of the virtual last layer: share of the Hessian's mean diagonal that is added to it."""
    variance_tolerance: Share | None = 0.05
    """Share by which the kept set may lower the reward variance, as it is foreseen, over samples
    of the policy; what would lower it further is rejected. None: no limit. Without reward models
    that `lookahead` can use there is none either."""
    variance_prompts: Positive = 64
    """Probes of which the policy is asked for samples."""
    variance_samples: Annotated[int, Field(ge=2)] = 8
    """Samples of each."""
    saturation: Share | None = 0.002
    """End the run once the last 5 % of the budget (100 examples at least) lowered the foreseen SEAM
    by less than this share of what it was at first. None: only say so, and fill the budget."""
    hack_set_size: Positive = 8
    """Responses a candidate is scored against; the parent is scored on the same ones."""
    same_rejected: Share = 0.02
    """Share of the budget (but at least 10) that may have one and the same rejected response; past
    it the hack set's next one is taken. A reward model would else learn that one text."""
    patience: Positive = 24
    """A parent whose last so many variants were all not kept gets no more."""
    most_per_seed: Positive | None = None
    """Examples of one seed, at most; default is four times the even share of the budget, but at
    least 10."""
    cluster_share: Share = 0.25
    """Share of the budget that one cluster of seeds may have: it is raised to twice the even share
    where there are few clusters, and to 10 examples."""
    operator_share: Share = 0.3
    """Share of the budget in which one operator may have a part: raised in the same way."""

    @field_validator("rule")
    @classmethod
    def _known_rule(cls, rule: str) -> str:
        if rule in _RULES or re.fullmatch(r"[\w.]+:[\w.]+", rule):
            return rule
        near = difflib.get_close_matches(rule, _RULES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(_RULES)}"
        raise ValueError(f"unknown rule; {hint} (one of your own is `package.module:name`)")
