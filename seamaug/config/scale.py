"""Section `ray`: what each stage takes of a Ray cluster."""

from typing import Annotated

from pydantic import Field

from seamaug.config.base import Positive, Section


class RayStageConfig(Section):
    """The workers of one stage, each with its own models."""

    num_cpus: Annotated[float, Field(gt=0)] = 1.0
    """CPUs of a worker; torch runs so many threads in it."""
    num_gpus: Annotated[float, Field(ge=0)] | None = None
    """GPUs of a worker; 0.5 puts two on one. None: 1 where the cluster has any, else 0."""
    concurrency: Positive | None = None
    """Workers. None: as many as the cluster has room for; of `rescore` and `generate`, 1."""


class RayConfig(Section):
    """Resources by stage, for `engine: ray`."""

    embed: RayStageConfig = RayStageConfig()
    """Workers with the embedder."""
    score: RayStageConfig = RayStageConfig()
    """Workers with policy and reward models, which score seeds and make parents."""
    rescore: RayStageConfig = RayStageConfig()
    """Workers with policy, reward models and judges, which look ahead, score candidates and, where
    an LLM writes, make parents. They keep what they take but while seeds are embedded and
    scored."""
    generate: RayStageConfig = RayStageConfig()
    """Workers with the LLM that writes, where its engine is no server. They keep what they take
    but while seeds are embedded and scored."""
    restarts: Annotated[int, Field(ge=0)] = 3
    """Times that a worker that died (a lost node, out of memory) is started anew, and that what it
    had in hand is tried again; then the run ends, and the same command resumes it."""
