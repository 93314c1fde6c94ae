"""Reward models that stand label noise and follow the policy: losses on TRL's trainer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seamaug.arguments import paths_of, rows_of
from seamaug.config import TrainConfig, load_section
from seamaug.errors import ConfigError
from seamaug.seeds import SeedSource
from seamaug.storage import Place


def train_rm(
    pairs: SeedSource = None,
    *,
    out: Place,
    model: str | None = None,
    policy: str | None = None,
    evaluation: str | Sequence[str] | None = None,
    config: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Train a reward model on preference pairs, by losses of arXiv 2401.06080, with TRL's trainer.

    pairs: path(s) or globs, a dataset id, a list of rows or a `datasets.Dataset`, with a prompt, a
        chosen and a rejected response; `margin` and `smoothing` are read where rows have them.
        None takes the bundled seeds.
    out: folder of the model, or an address such as s3://bucket/rm; the same call resumes there.
    model: the start, a causal LM or a reward model; None takes the bundled policy.
    policy: whose samples MetaRM looks at, where `meta.step` is set.
    evaluation: file(s) of pairs on which accuracy is measured in the end.
    config: YAML file of a `TrainConfig`; `settings` overrides its keys by dotted name, such as
        ``{"contrastive.method": "simcse", "trainer.learning_rate": 2e-5}``.

    Returns what train.json holds: counts, steps, loss, evaluation, config, versions, times.
    Raises a SeamaugError subclass whose message says what is wrong and how to fix it.
    """
    try:
        from seamaug.train.run import train
    except ImportError as error:
        raise ConfigError(
            f"training needs TRL, peft and accelerate ({error}); pip install 'seamaug[train]'"
        ) from None
    overrides = dict(settings or {})
    named = {"start.name": model, "policy.name": policy, "evaluation": evaluation}
    overrides |= {name: value for name, value in named.items() if value is not None}
    if pairs is not None:
        overrides["pairs.paths"] = paths_of(pairs) or ["rows"]
    merged = load_section(TrainConfig, config, overrides)
    rows = rows_of(pairs)
    return train(merged, out, None if rows is None else list(rows), quiet=quiet)
