"""What makes two runs the same: all that affects the output, and nothing else."""

import json
from functools import cache
from importlib.metadata import packages_distributions, version
from typing import Any

from seamaug.config import (
    Config,
    EmbedderConfig,
    GeneratorConfig,
    LanguageModelConfig,
    ModelConfig,
)
from seamaug.errors import ConfigError
from seamaug.generate.llm.operators import load_operators
from seamaug.generate.templates import Template
from seamaug.keep.rules import SETTING as RULE
from seamaug.models.client import served_model
from seamaug.models.loading import device_of, dtype_of, fingerprint, is_known
from seamaug.records import SCHEMA_VERSION
from seamaug.resources import EMBEDDED
from seamaug.seeds import Seeds
from seamaug.user_code import function_mark
from seamaug.verify.contamination import EvaluationTexts
from seamaug.verify.function import SETTING as CHECK

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
_MANNERS = ("in_flight", "timeout", "attempts", "patience", "price_in", "price_out")
"""How a server is asked, and what it costs."""
_NOT_IN_THE_OUTPUT: Any = {
    "track": True,
    # These only say when to pause.
    "max_time": True,
    "max_tokens": True,
    "max_cost": True,
    "seeds": True,  # their content is in, their path is not
    "generate": {"operators_from"},  # likewise
    "verify": {"decontaminate"},  # likewise
    "diagnose": True,  # no part of `expand` and `score`
    # Where the models run, and on how many workers.
    "engine": True,
    "ray": True,
    "embedder": {"allow_pickle", "cache"},
    **{
        role: {
            # What a run that is out of memory has to lower to go on: it changes rounding and which
            # texts are drawn where they are still to be sampled, not what they are a sample of.
            "batch_tokens": True,
            "allow_pickle": True,  # which weights they are, the fingerprint says
            # Where the model runs; which one it is, the server says.
            "url": True,
            "api_key_env": True,
            "engine_options": set(_RESOURCES),
            **dict.fromkeys(_MANNERS if role == "generator" else (), True),
        }
        for role in ("policy", "reward", "generator")
    },
}
SCORING = ("policy", "reward", "embedder", "retrieve", "score", "verify", "seed")
"""The sections that `score` and `select` depend on."""
_CHECKING = ("worse", "reference_overlap")
"""What scores and diagnoses take of the section `verify`."""


def models_of(config: Config) -> dict[str, dict[str, Any]]:
    """Name, weights' fingerprint and place of each role.

    A model on a server has the fingerprint of the tokenizer's folder or hub id, and what the
    server says it serves (`served`), and up to which length; weights that were exchanged in place
    there go unnoticed.
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
    for name in config.diagnose.policies:
        own = config.policy.like(name)
        models[f"policy {name}"] = {
            "name": name,
            "fingerprint": fingerprint(own, "policy"),
            **_place(own, "policy"),
        }
    further = [("reward", name) for name in config.reward.others]
    for role, name in (*further, *(("judge", name) for name in config.verify.worse.judges)):
        other = config.reward.like(name)
        models[f"{role} {name}"] = {
            "name": name,
            "fingerprint": fingerprint(other, "reward"),
            **_place(other, "reward"),
        }
    models["generator"] = {"name": config.generator.name, **_generator(config.generator)}
    return models


def _generator(config: GeneratorConfig) -> dict[str, Any]:
    """A server's name for a model need not be that of a folder or hub id."""
    if config.name == EMBEDDED:
        return {"fingerprint": ""}
    mark = "" if config.engine == "server" else fingerprint(config, "generator")
    return {"fingerprint": mark, **_place(config, "generator")}


def _place(config: ModelConfig, role: str) -> dict[str, Any]:
    """What runs a role's model: a device, a version of vLLM, or a server."""
    engine = config.engine if isinstance(config, LanguageModelConfig) else "transformers"
    if isinstance(config, LanguageModelConfig) and engine == "server":
        return served_model(config, role)
    place = {"device": device_of(config).type}
    if isinstance(config, LanguageModelConfig):
        place["dtype"] = str(dtype_of(config)).removeprefix("torch.")
    if engine == "vllm":
        # The distribution of a build for another device has another name.
        place["vllm"] = _distribution("vllm").rpartition(" ")[2]
    return place


def embedder_mark(config: EmbedderConfig, models: dict[str, Any]) -> str:
    """What decides vectors beside texts and device; wherever the model lies, its weights say which.

    Raises ConfigError where it cannot be told which weights they are.
    """
    if not is_known(config, "embedder"):
        raise ConfigError(
            f"`embedder.cache`: which commit of {config.name!r} is loaded cannot be told, so "
            "vectors of other weights might be taken for its own; name a folder that it was "
            "downloaded to, or leave out the cache"
        )
    own = config.model_dump(
        mode="json",
        exclude={"name", "revision", "device", "trust_remote_code", "allow_pickle", "cache"},
    )
    libraries = {name: version(name) for name in ("torch", "transformers", "sentence-transformers")}
    return json.dumps([own, models["embedder"]["fingerprint"], libraries], sort_keys=True)


def expand_identity(
    config: Config,
    seeds: Seeds,
    models: dict[str, Any],
    evaluation: EvaluationTexts | None,
) -> dict[str, Any]:
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
        "templates": _templates(config.generate.operators_from),
        "evaluation": evaluation and evaluation.fingerprint,
        "function": _function(config),
        "rule": function_mark(config.keep.rule, RULE) if ":" in config.keep.rule else "",
    }


def score_identity(config: Config, seeds: Seeds, models: dict[str, Any]) -> dict[str, Any]:
    """Identity of scores: what does not change them may change freely."""
    writes = config.uses_writer_to_score
    own = config.model_dump(mode="json", exclude=_NOT_IN_THE_OUTPUT)
    own["verify"] = {name: own["verify"][name] for name in _CHECKING}
    sections = (*SCORING, *(("generator",) if writes else ()))
    return {
        "command": "score",
        "schema": SCHEMA_VERSION,
        "config": {name: section for name, section in own.items() if name in sections},
        "versions": versions(),
        "models": {role: mark for role, mark in models.items() if role != "generator" or writes},
        **({"templates": _templates()} if writes else {}),
        "function": _function(config),
        "seeds": {"fingerprint": seeds.fingerprint, "rows": seeds.rows_read},
    }


def diagnose_identity(config: Config, seeds: Seeds, models: dict[str, Any]) -> dict[str, Any]:
    """Identity of a diagnosis: there is no embedder, and a generator only as the judge."""
    judged = ("generator",) if "judge" in config.verify.worse.by else ()
    own = config.model_dump(mode="json", exclude=_NOT_IN_THE_OUTPUT)
    unused = {"embedder", "generator"} - {*judged}
    return {
        "command": "diagnose",
        "schema": SCHEMA_VERSION,
        "config": {
            **{name: own[name] for name in ("policy", "reward", "seed", *judged)},
            "verify": {name: own["verify"][name] for name in _CHECKING},
            "diagnose": config.diagnose.model_dump(mode="json", exclude={"floor"}),
        },
        "versions": versions(),
        "models": {role: mark for role, mark in models.items() if role not in unused},
        **({"templates": _templates()} if judged else {}),
        "function": _function(config),
        "seeds": {"fingerprint": seeds.fingerprint, "rows": seeds.rows_read},
    }


def _function(config: Config) -> str:
    path = config.verify.worse.function
    return function_mark(path, CHECK) if path else ""


def _templates(folder: str | None = None) -> dict[str, str]:
    """Content hashes of the operators that ship, and of those in a user's folder."""
    operators = {name: operator.hash for name, operator in load_operators(folder).items()}
    return {**operators, "judge": Template.load("judge").hash}


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = (
        "seamaug",
        "torch",
        "transformers",
        "sentence-transformers",
        "pyarrow",
        "numpy",
        "rensa",
    )
    # Without it torch searches.
    return {**{name: version(name) for name in names}, "faiss": _distribution("faiss")}


@cache  # reading the metadata of all that is installed takes half a second
def _distribution(module: str) -> str:
    """Name and version of whichever distribution brings a module, or `missing`."""
    (name, *_) = packages_distributions().get(module, ["missing"])
    return name if name == "missing" else f"{name} {version(name)}"
