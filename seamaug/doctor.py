"""What works on this machine: packages, devices, engines, the bundled models, hub, disk."""

import math
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from typing import Literal

from packaging.requirements import Requirement

_LITTLE_DISK = 10 << 30
_EXTRAS = {
    "cpu": "approximate search above 200k seeds",
    "gpu": "search on a GPU",
    "vllm": "models on vLLM in this process",
    "server": "models and generators behind a URL",
    "train": "SeamCallback and TRL's trainers",
    "tensorboard": "--track tensorboard",
    "wandb": "--track wandb",
}
"""What each extra is for."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: `off` is optional and not there, `broken` keeps seamaug from working."""

    name: str
    status: Literal["ok", "off", "warning", "broken"]
    found: str
    advice: str = ""


def examine() -> Iterator[Check]:
    """All checks, as they are made; nothing is changed, and no secret is read out."""
    yield _python()
    core, extras = _requirements()
    yield _packages(core)
    for extra, needed in extras.items():
        yield _extra(extra, needed)
    yield _faiss()
    yield from _devices()
    yield _models()
    yield _hub()
    yield _disk()


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"


def _python() -> Check:
    return Check("Python", "ok", ".".join(map(str, sys.version_info[:3])))


def _requirements() -> tuple[list[Requirement], dict[str, list[Requirement]]]:
    """What the installed seamaug asks for, in its core and by extra."""
    core: list[Requirement] = []
    extras: dict[str, list[Requirement]] = {}
    for requirement in map(Requirement, requires("seamaug") or ()):
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            core.append(requirement)
            continue
        for extra in _EXTRAS:
            if marker.evaluate({"extra": extra}):
                extras.setdefault(extra, []).append(requirement)
    return core, extras


def _problem(requirement: Requirement) -> str:
    """What is wrong with a requirement's installed version; empty if nothing."""
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(found, prereleases=True):
        return ""
    return f"{requirement.name} {found} is outside {requirement.specifier}"


def _packages(core: list[Requirement]) -> Check:
    problems = [problem for requirement in core if (problem := _problem(requirement))]
    if problems:
        fix = "pip install --upgrade seamaug, in a fresh environment if that changes nothing"
        return Check("packages", "broken", "; ".join(problems), fix)
    shown = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "datasets"))
    return Check("packages", "ok", f"{len(core)} in their ranges: {shown}")


def _extra(extra: str, needed: list[Requirement]) -> Check:
    """`off` where a package is missing; a version outside its range is worth a warning."""
    name, use = f"extra {extra}", _EXTRAS[extra]
    problems = [problem for requirement in needed if (problem := _problem(requirement))]
    if not problems:
        found = ", ".join(f"{need.name} {version(need.name)}" for need in needed)
        return Check(name, "ok", found)
    status: Literal["off", "warning"] = (
        "off" if any(problem.endswith("missing") for problem in problems) else "warning"
    )
    fix = f"for {use}: pip install 'seamaug[{extra}]'"
    return Check(name, status, "; ".join(problems), fix)


def _faiss() -> Check:
    both = [name for name in ("faiss-cpu", "faiss-gpu-cu12") if not _problem(Requirement(name))]
    if len(both) == 2:
        fix = "pip uninstall both, then install one: they share a module"
        return Check("faiss", "warning", " and ".join(both), fix)
    if not both and find_spec("faiss") is None:
        fix = "fine below 200k seeds; above: pip install 'seamaug[cpu]'"
        return Check("faiss", "off", "not installed: exact search by torch", fix)
    return Check("faiss", "ok", both[0] if both else "of another build")


def _devices() -> Iterator[Check]:
    import torch

    from seamaug.config import PolicyConfig
    from seamaug.models.loading import dtype_of

    cores, threads = os.cpu_count() or 1, torch.get_num_threads()
    found = f"{cores} cores, {threads} threads of torch"
    if threads < cores // 2:
        fix = "OMP_NUM_THREADS or a container's limit holds torch back: raise it if not meant"
        yield Check("CPU", "warning", found, fix)
    else:
        yield Check("CPU", "ok", found)
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            known = torch.cuda.get_device_properties(number)
            found = f"{known.name}, {_gib(known.total_memory)}"
            yield Check(f"GPU {number}", "ok", found)
    else:
        fix = "without one, models of a billion parameters are slow: use small ones, or a server"
        yield Check("GPU", "off", "torch sees none", fix)
    fast = dtype_of(PolicyConfig()) == torch.bfloat16
    fix = "" if fast else "`dtype: auto` computes in float32 here, which is exact and slower"
    yield Check("bfloat16", "ok" if fast else "off", "fast" if fast else "not fast here", fix)


def _models() -> Check:
    """The bundled policy, reward model and embedder load and score one prompt."""
    try:
        rewards, logprob, width = _score_one()
    except Exception as error:  # whatever is broken, the other checks are to be seen as well
        fix = "reinstall seamaug; if that changes nothing, report it with this message"
        return Check("bundled models", "broken", f"{type(error).__name__}: {error}", fix)
    if not all(map(math.isfinite, (*rewards, logprob))):
        fix = "torch computes wrongly here: try another build of it, or `dtype: float32`"
        return Check("bundled models", "broken", f"scores {rewards}, {logprob}", fix)
    found = f"log-probability {logprob:.2f} nats, reward {rewards[0]:.2f}, {width} dimensions"
    return Check("bundled models", "ok", found)


def _score_one() -> tuple[list[float], float, int]:
    from seamaug.config import Config
    from seamaug.models.embedder import Embedder
    from seamaug.models.load import load_policy, load_reward
    from seamaug.records import user_message
    from seamaug.scoring.scorer import ResponseSet, Scorer

    config, prompt = Config(), "What is two plus two?"
    scorer = Scorer(load_policy(config.policy), [load_reward(config.reward)])
    (scores,) = scorer.score([ResponseSet(user_message(prompt), "It is four.", ["It is five."])])
    if scores.error:
        raise ValueError(scores.error)
    vectors = Embedder(config.embedder).embed([prompt])
    return [found[0] for found in scores.rewards], scores.logprobs[0], vectors.shape[1]


def _hub() -> Check:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_OFFLINE:
        return Check("hub", "off", "offline", "HF_HUB_OFFLINE is set: models come from folders")
    if get_token() is None:
        fix = "only for gated models and for pushing: hf auth login, or set HF_TOKEN"
        return Check("hub", "off", "no token", fix)
    return Check("hub", "ok", "a token is there")


def _disk() -> Check:
    """Run folders are by default made in the working directory."""
    here = os.getcwd()
    try:
        with tempfile.TemporaryFile(dir=here):
            pass
    except OSError as error:
        fix = "give --out a folder that you may write to"
        return Check("disk", "warning", f"cannot write {here}: {error.strerror}", fix)
    free = shutil.disk_usage(here).free
    found = f"{_gib(free)} free in {here}"
    if free < _LITTLE_DISK:
        return Check("disk", "warning", found, "texts, vectors and scores of large runs need more")
    return Check("disk", "ok", found)
