"""What the library's functions take, as config and seeds."""

import reprlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict, cast

import pyarrow as pa

from seamaug.clock import clock
from seamaug.config import Config, load_config
from seamaug.errors import ConfigError, InputError
from seamaug.seeds import Seeds, SeedSource, read_seeds
from seamaug.seeds.bad_rows import Sieve
from seamaug.seeds.columns import Layouts

_ROLES = ("policy", "reward", "embedder", "generator")


class ScoreArguments(TypedDict, total=False):
    """What `score` takes beside the seeds and where it writes; None leaves what the config says."""

    policy: str | None
    reward: str | Sequence[str] | None
    """One reward model, or several: their standardised scores are averaged."""
    embedder: str | None
    allow_pickle: bool | None
    """Read any model's weights where they are not safetensors."""
    generator: str | None
    estimator: str | Sequence[str] | None
    """`contrast`, `llm`, `adversarial`, `on-policy`; of several the first decides."""
    weighting: str | None
    """`prob` or `paper`."""
    samples: int | None
    """Responses per prompt and estimator."""
    max_tokens: int | str | None
    """Tokens that the generator may read and write, or "2M"."""
    max_cost: float | None
    """USD that they may cost, by the prices in the config."""
    config: str | Path | None
    """YAML file or the name of a shipped recipe."""
    engine: str | None
    """`local`, or `ray`: models are mapped over rows by the workers of a Ray cluster."""
    settings: dict[str, Any] | None
    """Config keys by dotted name, such as ``{"select.share": 0.1}``."""


class ExpandArguments(ScoreArguments, total=False):
    """What `expand` takes beside the seeds and the run folder."""

    budget: int | str | None
    """Examples to keep, such as 500, "10k" or "1.5M"; or what the generator may take until the run
    is done, such as "5M tokens" or "20 USD"."""
    seed: int | None
    """Of everything that is drawn at random."""
    max_time: float | str | None
    """Seconds, or "2h": stop generating then and write what there is."""
    judges: str | Sequence[str] | None
    """Reward models that vote on every pair, or the ensemble of `strength`."""
    decontaminate: str | Sequence[str] | None
    """Evaluation files that no example may repeat."""
    track: str | None
    """`tensorboard` or `wandb`: where scalars go while it works."""


def prepare(
    seeds: SeedSource, arguments: ScoreArguments, *, prompts_alone: bool = False
) -> tuple[Config, Seeds]:
    """The merged config, and all seeds; also starts the clock of the job.

    `prompts_alone`: as for `read_seeds`.
    """
    clock.reset()
    rows = rows_of(seeds)
    overrides = _overrides(arguments)
    if seeds is not None:
        overrides = {**overrides, "seeds.paths": paths_of(seeds) or ["rows"]}
    merged = load_config(arguments.get("config"), overrides)
    with clock.stage("read seeds"):
        return merged, read_seeds(merged.seeds, rows, prompts_alone=prompts_alone)


def rows_by_seed(seeds: SeedSource, config: Config) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The input's own rows, each behind the id of the seed that it belongs to and its place."""
    layouts = Layouts(dict(config.seeds.columns))
    return Sieve().each(
        config.seeds, rows_of(seeds), lambda row, where: (layouts.seed(row, where).id, where, row)
    )


def rows_as_table(seeds: SeedSource, config: Config) -> tuple[list[str], pa.Table]:
    """The input's own rows, each with the id of its seed; raises InputError where a column holds
    values of different types, which no table can."""
    owners, places, rows = [], [], []
    for owner, place, row in rows_by_seed(seeds, config):
        owners.append(owner)
        places.append(place)
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)  # of all rows, not of the first
    columns = {}
    for name in names:
        values = [row.get(name) for row in rows]
        try:
            columns[name] = pa.array(values)
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise InputError(
                f"column {name!r} fits no table: {error}; the first value of each type: "
                f"{_first_of_each_type(values, places)}; write one type, or leave the column out"
            ) from None
    return owners, pa.table(columns)


def _first_of_each_type(values: Sequence[Any], places: Sequence[str]) -> str:
    first: dict[str, str] = {}
    for value, place in zip(values, places, strict=True):
        if value is not None:
            first.setdefault(type(value).__name__, f"{reprlib.repr(value)} ({place})")
    return ", ".join(f"{name} {shown}" for name, shown in first.items())


def refuse_to_lose_replies(config: Config, argument: str) -> None:
    """Raise ConfigError where an early end would lose what was paid for."""
    if config.generator.engine == "server":
        raise ConfigError(
            f"give `{argument}`, a folder: replies of the generator's server are paid for, and are "
            "kept there for the same call to go on with if this one does not reach its end"
        )


def _overrides(arguments: ScoreArguments) -> dict[str, Any]:
    """Config keys that the arguments set; None leaves what the config says."""
    given = dict(arguments)
    own = given.pop("settings", None) or {}
    given.pop("config", None)
    names: dict[str, Any] = {
        f"{role}.name": given.pop(role, None) for role in ("policy", "embedder", "generator")
    }
    allow = given.pop("allow_pickle", None)
    names |= {f"{role}.allow_pickle": allow for role in _ROLES}
    reward = given.pop("reward", None)
    several = [reward] if isinstance(reward, str) else list(cast(Sequence[str], reward or ()))
    if several:
        names |= {"reward.name": several[0], "reward.others": several[1:]}
    estimator = given.pop("estimator", None)
    names |= {
        "score.estimators": [estimator] if isinstance(estimator, str) else estimator,
        "score.weighting": given.pop("weighting", None),
        "score.samples": given.pop("samples", None),
        "verify.worse.judges": given.pop("judges", None),
        "verify.decontaminate": given.pop("decontaminate", None),
    }
    # None must not hide what `settings` says under the same name.
    named = {name: v for name, v in {**names, **given}.items() if v is not None}
    return {**cast(dict[str, Any], own), **named}


def paths_of(seeds: SeedSource) -> list[str]:
    """Path(s) where that is what the caller gave; empty for rows in memory."""
    if isinstance(seeds, (str, Path)):
        return [str(seeds)]
    if (
        isinstance(seeds, (list, tuple))
        and seeds
        and all(isinstance(s, (str, Path)) for s in seeds)
    ):
        return [str(path) for path in seeds]
    return []


def rows_of(seeds: SeedSource) -> Iterable[dict[str, Any]] | None:
    """Rows in memory where that is what the caller gave."""
    return None if seeds is None or paths_of(seeds) else cast(Iterable[dict[str, Any]], seeds)
