"""Preference strength: how far an ensemble of reward models agrees with each pair's label."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seamaug.arguments import paths_of, rows_of
from seamaug.config import StrengthConfig, load_section
from seamaug.errors import ConfigError
from seamaug.seeds import SeedSource
from seamaug.storage import Place


def strength(
    pairs: SeedSource = None,
    *,
    out: Place,
    reward: Sequence[str] | None = None,
    model: str | None = None,
    judge: str | None = None,
    config: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Find the strength of each pair's preference and treat the labels (arXiv 2401.06080).

    pairs: path(s) or globs, a dataset id, a list of rows or a `datasets.Dataset`, with a prompt, a
        chosen and a rejected response. None takes the bundled seeds.
    out: folder that gets pairs.parquet and strength.json; the same call resumes there.
    reward: two or more reward models that vote, or the folder `ensemble` of an earlier call; None
        trains an ensemble on the pairs.
    model: what that starts from, a causal LM or a reward model; None is the bundled policy.
    judge: what the bands are shown against: a reward model, or `package.module:function`.
    config: YAML file of a `StrengthConfig`; `settings` overrides its keys by dotted name, such as
        ``{"treat.incorrect": "drop", "treat.margin": True}``.

    pairs.parquet has `chosen` and `rejected` (conversations, flipped where the treatment says so),
    `smoothing`, `margin` if asked for (reward units), `mu` and `sigma` (of the label as it came),
    `band`, `treatment` and `where`; dropped pairs are not in it. TRL's RewardTrainer reads it as it
    is, and `train_rm` its `smoothing` too. What was trained is in the folder `ensemble` beside it:
    `expand(judges=...)` has it vote on every new pair.

    Returns what strength.json holds: pairs, models, bands, treated, unread, agreement (of the votes
    with labels that no voter was trained on), ensemble, config, versions and times.
    Raises a SeamaugError subclass whose message says what is wrong and how to fix it.
    """
    try:
        from seamaug.voting.run import find_strength
    except ImportError as error:
        raise ConfigError(
            f"preference strength needs TRL and accelerate ({error}); pip install 'seamaug[train]'"
        ) from None
    overrides = dict(settings or {})
    if reward and (model is not None or "ensemble.heads" in overrides):
        raise ConfigError(
            "reward models that are given vote, so no ensemble is trained: leave out either them, "
            "or the model and the heads to train"
        )
    if reward:
        overrides |= {"reward.name": reward[0], "reward.others": list(reward[1:])}
    named = {"ensemble.start.name": model, "judge": judge}
    overrides |= {name: value for name, value in named.items() if value is not None}
    if pairs is not None:
        overrides["pairs.paths"] = paths_of(pairs) or ["rows"]
    merged = load_section(StrengthConfig, config, overrides)
    rows = rows_of(pairs)
    return find_strength(merged, out, None if rows is None else list(rows), quiet=quiet)
