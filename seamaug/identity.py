"""What makes two runs the same: all that affects the output, and nothing else."""

from importlib.metadata import packages_distributions, version
from typing import Any

from seamaug.config import Config, ModelConfig, ScorerConfig
from seamaug.generate.templates import Template
from seamaug.models.client import served_model
from seamaug.models.loading import device_of, dtype_of, fingerprint
from seamaug.records import SCHEMA_VERSION
from seamaug.resources import EMBEDDED, resource
from seamaug.seeds import Seeds

_RESOURCES = (
    "gpu_memory_utilization",
    "kv_cache_memory_bytes",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "max_num_seqs",
    "max_num_batched_tokens",
    "enforce_eager",
    "cpu_offload_gb",
    "swap_space",
    "block_size",
)
"""Options of vLLM that change where and how fast it computes, and roundings alone."""
_NOT_IN_THE_OUTPUT: Any = {
    "max_time": True,  # only says when to pause
    "seeds": True,  # their content is in, their path is not
    # What a run that is out of memory has to lower to go on: it changes rounding and which texts
    # are drawn where they are still to be sampled, not what they are a sample of.
    "generator": {"batch_tokens"},
    **{
        role: {
            "batch_tokens": True,
            # Where the model runs; which one it is, the server says.
            "url": True,
            "api_key_env": True,
            "engine_options": set(_RESOURCES),
        }
        for role in ("policy", "reward")
    },
}
SCORING = ("policy", "reward", "embedder", "retrieve", "score", "verify", "seed")
"""The sections that `score` and `select` depend on."""


def models_of(config: Config) -> dict[str, dict[str, str]]:
    """Name, weights' fingerprint and place of each role.

    A model on a server has the fingerprint of the tokenizer's folder or hub id, and what the
    server says it serves (`served`); weights that were exchanged in place there go unnoticed.
    Raises ModelError if the server cannot be asked.
    """
    models = {
        role: {
            "name": getattr(config, role).name,
            "fingerprint": fingerprint(getattr(config, role), role),
            **_place(getattr(config, role), role),
        }
        for role in ("policy", "reward", "embedder")
    }
    for name in (*config.reward.others, *config.score.on_policy.judges):
        other = config.reward.like(name)
        models[f"reward {name}"] = {
            "name": name,
            "fingerprint": fingerprint(other, "reward"),
            **_place(other, "reward"),
        }
    name = config.generator.name
    mark = "" if name == EMBEDDED else fingerprint(config.generator, "generator")
    models["generator"] = {"name": name, "fingerprint": mark}
    return models


def _place(config: ModelConfig, role: str) -> dict[str, str]:
    """What runs a role's model: a device, a version of vLLM, or a server."""
    engine = config.engine if isinstance(config, ScorerConfig) else "transformers"
    if isinstance(config, ScorerConfig) and engine == "server":
        return {"served": served_model(config, role)}
    place = {"device": device_of(config).type}
    if isinstance(config, ScorerConfig):
        place["dtype"] = str(dtype_of(config)).removeprefix("torch.")
    if engine == "vllm":
        # The distribution of a build for another device has another name.
        names = packages_distributions().get("vllm", [])
        place["vllm"] = version(names[0]) if names else "missing"
    return place


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
    names = ("seamaug", "torch", "transformers", "sentence-transformers", "pyarrow", "numpy")
    # Whichever distribution brings it; without one torch searches.
    faiss = packages_distributions().get("faiss", ["missing"])[0]
    return {
        **{name: version(name) for name in names},
        "faiss": faiss if faiss == "missing" else f"{faiss} {version(faiss)}",
    }
