"""What makes two runs the same: all that affects the output, and nothing else."""

from importlib.metadata import version
from typing import Any

from seamaug.config import Config
from seamaug.generate.templates import Template
from seamaug.models.loading import device_of, dtype_of, fingerprint
from seamaug.records import SCHEMA_VERSION
from seamaug.resources import EMBEDDED, resource
from seamaug.seeds import Seeds

_NOT_IN_THE_OUTPUT: Any = {
    "max_time": True,  # only says when to pause
    "seeds": True,  # their content is in, their path is not
    # What a run that is out of memory has to lower to go on: it changes rounding and which texts
    # are drawn where they are still to be sampled, not what they are a sample of.
    **{role: {"batch_tokens"} for role in ("policy", "reward", "generator")},
}
SCORING = ("policy", "reward", "embedder", "score", "verify", "seed")
"""The sections that `score` and `select` depend on."""


def models_of(config: Config) -> dict[str, dict[str, str]]:
    """Name and weights' fingerprint of each role."""
    models = {
        role: {
            "name": getattr(config, role).name,
            "fingerprint": fingerprint(getattr(config, role), role),
            "device": device_of(getattr(config, role)).type,
        }
        for role in ("policy", "reward", "embedder")
    }
    for role in ("policy", "reward"):
        models[role]["dtype"] = str(dtype_of(getattr(config, role))).removeprefix("torch.")
    for name in (*config.reward.others, *config.score.on_policy.judges):
        other = config.reward.model_copy(update={"name": name})
        models[f"reward {name}"] = {"name": name, "fingerprint": fingerprint(other, "reward")}
    name = config.generator.name
    mark = "" if name == EMBEDDED else fingerprint(config.generator, "generator")
    models["generator"] = {"name": name, "fingerprint": mark}
    return models


def expand_identity(config: Config, seeds: Seeds, models: dict[str, Any]) -> dict[str, Any]:
    """Identity of an `expand` run.

    All settings count but those that do not change what comes out.
    """
    return {
        "command": "expand",
        "schema": SCHEMA_VERSION,
        "config": config.model_dump(mode="json", exclude=_NOT_IN_THE_OUTPUT),
        "models": models,
        "versions": versions(),
        "seeds": {"fingerprint": seeds.fingerprint, "rows": seeds.rows_read},
        "templates": _templates(),
    }


def score_identity(config: Config, seeds: Seeds, models: dict[str, Any]) -> dict[str, Any]:
    """Identity of scores: what does not change them may change freely."""
    writes = config.uses_writer_to_score
    sections = (*SCORING, *(("generator",) if writes else ()))
    return {
        "command": "score",
        "schema": SCHEMA_VERSION,
        "config": {
            name: section
            for name, section in config.model_dump(mode="json", exclude=_NOT_IN_THE_OUTPUT).items()
            if name in sections
        },
        "versions": versions(),
        "models": {role: mark for role, mark in models.items() if role != "generator" or writes},
        **({"templates": _templates()} if writes else {}),
        "seeds": {"fingerprint": seeds.fingerprint, "rows": seeds.rows_read},
    }


def _templates() -> dict[str, str]:
    return {
        path.stem: Template.load(path.stem).hash
        for path in sorted(resource("prompts").glob("*.jinja"))
    }


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    return {
        name: version(name)
        for name in (
            "seamaug",
            "torch",
            "transformers",
            "sentence-transformers",
            "pyarrow",
            "numpy",
        )
    }
