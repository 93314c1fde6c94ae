"""The library: what the command line does, as three functions."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict, Unpack, cast

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from seamaug.clock import clock
from seamaug.config import Config, load_config
from seamaug.errors import ConfigError, InputError
from seamaug.log import logger
from seamaug.pipeline import run_expand, run_score
from seamaug.plan import Plan, make_plan
from seamaug.scoring.seeds import SeedScores, score_table
from seamaug.seeds import Seeds, SeedSource, located_rows, read_seeds
from seamaug.seeds.columns import Layouts
from seamaug.selection import worst_share
from seamaug.units import parse_share
from seamaug.write.datasets import PROVENANCE, dataset_file
from seamaug.write.summary import Summary


@dataclass(frozen=True)
class ExpandResult:
    """A finished run: its folder, its summary, and its datasets in TRL's canonical columns."""

    path: Path
    summary: Summary
    """What run.json holds: outcome, counts, models, versions, times."""

    @cached_property
    def sft(self) -> Dataset:
        """Column `messages`: prompt and chosen response as a conversation."""
        return self._dataset("sft")

    @cached_property
    def preference(self) -> Dataset:
        """Columns `chosen` and `rejected`: full conversations (implicit prompt)."""
        return self._dataset("preference")

    @cached_property
    def prompts(self) -> Dataset:
        """Column `prompt`: a list of messages, for RLOO or GRPO."""
        return self._dataset("prompts")

    @cached_property
    def provenance(self) -> Dataset:
        """One row per candidate, kept or not: parent, operator, scores, verdict, reason."""
        return self._dataset(PROVENANCE)

    def _dataset(self, name: str) -> Dataset:
        return Dataset(pq.read_table(dataset_file(self.path, name)))


def expand(
    seeds: SeedSource = None,
    *,
    policy: str | None = None,
    reward: str | None = None,
    embedder: str | None = None,
    generator: str | None = None,
    budget: int | str | None = None,
    out: str | Path | None = None,
    config: str | Path | None = None,
    seed: int | None = None,
    max_time: float | str | None = None,
    settings: dict[str, Any] | None = None,
    quiet: bool = True,
) -> ExpandResult:
    """Make up to `budget` examples where policy and reward model disagree most.

    seeds: path(s) or globs, a dataset id, a list of rows or a `datasets.Dataset`; None takes the
        bundled seeds. Rows need a prompt and a golden response; worse responses are used if there.
    policy, reward, embedder, generator: a folder that `save_pretrained` wrote or a hub id;
        None takes what the config says, which by default is the bundled stand-in.
    budget: number of examples to keep, such as 500, "10k" or "1.5M".
    out: run folder; the same call resumes there. None makes a temporary folder.
    config: YAML file or the name of a shipped recipe; `settings` overrides its keys by dotted
        name, such as ``{"select.share": 0.1}``.
    max_time: seconds, or "2h": stop generating then and write what there is.

    Raises a SeamaugError subclass whose message says what is wrong and how to fix it.
    """
    arguments = ExpandArguments(
        policy=policy,
        reward=reward,
        embedder=embedder,
        generator=generator,
        budget=budget,
        seed=seed,
        max_time=max_time,
        settings=settings,
    )
    merged, table = _prepare(seeds, config, _overrides(arguments))
    folder = Path(out) if out is not None else Path(tempfile.mkdtemp(prefix="seamaug-"))
    return ExpandResult(folder, run_expand(merged, table, folder, quiet=quiet))


class ExpandArguments(TypedDict, total=False):
    """What `expand` takes beside the seeds and the run folder."""

    policy: str | None
    reward: str | None
    embedder: str | None
    generator: str | None
    budget: int | str | None
    config: str | Path | None
    seed: int | None
    max_time: float | str | None
    settings: dict[str, Any] | None


def plan(seeds: SeedSource = None, **arguments: Unpack[ExpandArguments]) -> Plan:
    """What `expand` with these arguments would do: rows, model calls, tokens, time.

    Loads the models and times a sample; writes nothing.
    """
    return make_plan(*_prepare(seeds, arguments.get("config"), _overrides(arguments)))


def score(
    seeds: SeedSource = None,
    *,
    policy: str | None = None,
    reward: str | None = None,
    embedder: str | None = None,
    config: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    work: str | Path | None = None,
    quiet: bool = True,
) -> Dataset:
    """SEAM of every seed and what it is made of, one row per seed in input order.

    Columns: id, where, prompt, golden, seam_prob, seam_paper (higher = worse), hack_rate,
    plausibility (nats per token), hack_set, golden_reward, golden_logprob, worst_response, error.
    `work` is a folder to resume from; other arguments are as in `expand`.
    """
    models = _models(policy=policy, reward=reward, embedder=embedder)
    merged, table = _prepare(seeds, config, {**(settings or {}), **models})
    return Dataset(score_table(table, _scores(merged, table, work, quiet)))


def select(
    seeds: SeedSource = None,
    *,
    drop_worst: float | str | None = None,
    keep_worst: float | str | None = None,
    policy: str | None = None,
    reward: str | None = None,
    embedder: str | None = None,
    config: str | Path | None = None,
    settings: dict[str, Any] | None = None,
    work: str | Path | None = None,
    quiet: bool = True,
) -> Dataset:
    """The paper's data selection: the seeds' own rows less, or only, the worst share by SEAM.

    Give one of `drop_worst` and `keep_worst`, such as 0.2 or "20%". Rows that share a prompt stay
    or go together, columns and order are the input's. Prompts that could not be scored are not
    among the worst: `drop_worst` leaves them in, and the log counts them.
    """
    if (drop_worst is None) == (keep_worst is None):
        raise ConfigError("give one of drop_worst and keep_worst, such as 20%")
    if not _paths(seeds) and isinstance(seeds, Iterator):
        seeds = list(seeds)  # the rows are read twice: to score and to write
    share = parse_share(drop_worst if drop_worst is not None else keep_worst or 0)
    models = _models(policy=policy, reward=reward, embedder=embedder)
    merged, table = _prepare(seeds, config, {**(settings or {}), **models})
    scores = _scores(merged, table, work, quiet)
    worst = {table.ids[p] for p in worst_share(scores.seam(merged.score.weighting), share)}
    failed = {table.ids[p] for p in scores.errors}
    chosen = worst if keep_worst is not None else set(table.ids) - worst
    rows = [row for seed_id, row in _rows_by_seed(seeds, merged) if seed_id in chosen]
    logger.info(
        f"{len(table):,} prompts: {len(worst):,} worst, "
        f"{len(table) - len(worst) - len(failed):,} others, {len(failed):,} not scored; "
        f"{len(rows):,} of {table.rows_read:,} rows selected"
    )
    return _dataset(rows)


def _overrides(arguments: ExpandArguments) -> dict[str, Any]:
    """Config keys that the arguments set; None leaves what the config says."""
    given = dict(arguments)
    own = given.pop("settings", None) or {}
    given.pop("config", None)
    roles = {role: given.pop(role, None) for role in ("policy", "reward", "embedder", "generator")}
    return {**cast(dict[str, Any], own), **_models(**cast(dict[str, str | None], roles)), **given}


def _models(**names: str | None) -> dict[str, Any]:
    return {f"{role}.name": name for role, name in names.items()}


def _prepare(
    seeds: SeedSource, config: str | Path | None, overrides: dict[str, Any]
) -> tuple[Config, Seeds]:
    """The merged config, and all seeds; also starts the clock of the job."""
    clock.reset()
    rows = _rows(seeds)
    if seeds is not None:
        overrides = {**overrides, "seeds.paths": _paths(seeds) or ["rows"]}
    merged = load_config(config, overrides)
    with clock.stage("read seeds"):
        return merged, read_seeds(merged.seeds, rows)


def _paths(seeds: SeedSource) -> list[str]:
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


def _rows(seeds: SeedSource) -> Iterable[dict[str, Any]] | None:
    """Rows in memory where that is what the caller gave."""
    return None if seeds is None or _paths(seeds) else cast(Iterable[dict[str, Any]], seeds)


def _dataset(rows: list[dict[str, Any]]) -> Dataset:
    """Rows as they were, with the columns of all of them (from_list takes the first row's)."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    try:
        return Dataset.from_dict({name: [row.get(name) for row in rows] for name in names})
    except pa.ArrowException as error:
        raise InputError(f"a column holds values of different types: {error}") from None


def _scores(config: Config, seeds: Seeds, work: str | Path | None, quiet: bool) -> SeedScores:
    if work is not None:
        return run_score(config, seeds, Path(work), quiet=quiet)
    with tempfile.TemporaryDirectory(prefix="seamaug-") as folder:
        return run_score(config, seeds, Path(folder), quiet=quiet)


def _rows_by_seed(seeds: SeedSource, config: Config) -> Iterator[tuple[str, dict[str, Any]]]:
    """The input's own rows with the id of the seed that each belongs to."""
    layouts = Layouts(dict(config.seeds.columns))
    for where, row in located_rows(config.seeds, _rows(seeds)):
        yield layouts.seed(row, where).id, row
