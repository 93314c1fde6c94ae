"""What `diagnose` takes, as config keys."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

from seamaug.arguments import ScoreArguments


class DiagnoseArguments(TypedDict, total=False):
    """What `diagnose` takes beside the seeds; None leaves what the config says."""

    policy: str | Sequence[str] | None
    """One policy, or several to compare."""
    reward: str | Sequence[str] | None
    """One reward model, or several to rank: they are no ensemble here."""
    judge: str | None
    """`checker` (final numbers, words in common), `llm` (the generator), `package.module:function`,
    or a reward model; None takes `verify.worse` of the config."""
    generator: str | None
    prompts: int | None
    """Prompts that are looked at."""
    samples: int | None
    """Responses of each policy to each prompt."""
    seed: int | None
    """Of everything that is drawn at random."""
    max_tokens: int | str | None
    max_cost: float | None
    """What the generator may take as the judge, as for `score`."""
    config: str | Path | None
    settings: dict[str, Any] | None


def score_arguments(arguments: DiagnoseArguments) -> ScoreArguments:
    """The arguments of `score` that say the same."""
    own: dict[str, Any] = dict(arguments)
    policy = own.pop("policy", None)
    policies = [policy] if isinstance(policy, str) else list(policy or ())
    named = {
        "diagnose.prompts": own.pop("prompts", None),
        "diagnose.samples": own.pop("samples", None),
        "diagnose.policies": policies[1:] if policies else None,
        "seed": own.pop("seed", None),
        **_judge_settings(own.pop("judge", None)),
    }
    given = {name: value for name, value in named.items() if value is not None}
    settings = {**(own.pop("settings", None) or {}), **given}
    first = policies[0] if policies else None
    return cast(ScoreArguments, {**own, "policy": first, "settings": settings})


def _judge_settings(judge: str | None) -> dict[str, Any]:
    """Config keys that `--judge` stands for."""
    if judge is None:
        return {}
    if judge == "checker":
        return {"verify.worse": {"by": ["number", "overlap"]}}
    if judge == "llm":
        return {"verify.worse": {"by": ["judge"]}}
    module, colon, _ = judge.partition(":")
    if colon and module.replace(".", "").isidentifier():
        return {"verify.worse": {"by": ["function"], "function": judge}}
    return {"verify.worse": {"by": ["vote"], "judges": [judge]}}
