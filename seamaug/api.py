"""The library: what the command line does, as functions."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Unpack

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset

from seamaug.arguments import (
    ExpandArguments,
    ScoreArguments,
    paths_of,
    prepare,
    refuse_to_lose_replies,
    rows_as_table,
)
from seamaug.config import Config
from seamaug.errors import ConfigError
from seamaug.exporting import Export, export_run
from seamaug.exports.dialects import dialect_names
from seamaug.log import logger
from seamaug.pipeline import run_expand, run_score
from seamaug.plan import Plan, make_plan
from seamaug.resources import EMBEDDED
from seamaug.run.mirror import folder_of
from seamaug.scoring.seeds import SeedScores
from seamaug.scoring.table import prefix_of, response_table, score_table, scores_by_id
from seamaug.seeds import Seeds, SeedSource
from seamaug.selection import overlap, worst_ids
from seamaug.storage import Place
from seamaug.units import parse_share
from seamaug.write.datasets import PROVENANCE, dataset_file
from seamaug.write.summary import Summary
from seamaug.write.table import check_target, write_table


@dataclass(frozen=True)
class ExpandResult:
    """A finished run: its folder, its summary, and its datasets in TRL's canonical columns."""

    path: Path
    """The run folder on this disk."""
    summary: Summary
    """What run.json holds: outcome, counts, models, versions, times."""
    exports: Sequence[Export] = ()
    """What was written for `formats`."""
    out: Place = ""
    """Where the run is kept: `path`, or an address beyond this disk."""

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

    def show(self, examples: int = 5) -> None:
        """Print what `seamaug show` prints: the counts, and so many of its examples."""
        from seamaug.report.terminal import print_examples, print_summary

        print_summary(self.path, self.summary)
        print_examples(self.path, examples)

    def _dataset(self, name: str) -> Dataset:
        return Dataset(pq.read_table(dataset_file(self.path, name)))


def expand(
    seeds: SeedSource = None,
    *,
    out: str | Path | None = None,
    formats: str | Sequence[str] = (),
    quiet: bool = True,
    **arguments: Unpack[ExpandArguments],
) -> ExpandResult:
    """Make up to `budget` examples where policy and reward model disagree most.

    seeds: path(s), addresses or globs, a dataset id, a list of rows or a `datasets.Dataset`; None
        takes the bundled seeds. Rows need a prompt and a golden response; worse responses are used
        if there.
    policy, reward, embedder, generator: a folder that `save_pretrained` wrote or a hub id; several
        reward models are an ensemble. None takes what the config says, which by default is the
        bundled stand-in.
    budget: number of examples to keep, such as 500, "10k" or "1.5M"; or what the generator may
        take, such as "5M tokens" or "20 USD" (by the config's prices), until the run is done.
    out: run folder, a path or an address such as "s3://bucket/run"; the same call resumes there.
        None makes a temporary folder, but not where a server's generator writes: its replies are
        paid for.
    formats: trainers in whose dialects the examples are written at the end, to `exports` in the
        run folder, as by `export`: names as a list, or "trl,verl".
    seed: of everything that is drawn at random.
    max_time: seconds, or "2h": stop generating then and write what there is.
    max_tokens, max_cost: the same, when the generator has read and written so many tokens, or when
        they cost so many USD by the config's prices; while seeds are scored, LimitReached is
        raised instead (BudgetSpent where that was the budget).
    judges: reward models other than the one under test, or the folder `ensemble` of `strength`,
        that vote on every pair: provenance then has its mu and sigma, and no pair is kept whose
        label they contradict.
    decontaminate: evaluation files that no example may share 13 words in a row with; the folder
        then has contamination.parquet, which says what was left out and why.
    track: "tensorboard" (event files in the run folder) or "wandb": scalars while it works.
    estimator, weighting, samples: how the seeds are scored, as for `score`.
    config: YAML file or the name of a shipped recipe; `settings` overrides its keys by dotted
        name, such as ``{"select.share": 0.1}``.

    Raises a SeamaugError subclass whose message says what is wrong and how to fix it.
    """
    names = dialect_names(formats)  # first, for a misspelt name must not show after the run
    merged, table = prepare(seeds, arguments)
    if out is None:
        refuse_to_lose_replies(merged, "out")
    place = out if out is not None else tempfile.mkdtemp(prefix="seamaug-")
    summary = run_expand(merged, table, place, quiet=quiet)
    return ExpandResult(folder_of(place), summary, export_run(place, names), place)


def plan(
    seeds: SeedSource = None, *, pilot: int | None = None, **arguments: Unpack[ExpandArguments]
) -> Plan:
    """What `expand` with these arguments would do: rows, model calls, tokens, time, yield.

    pilot: candidates that are really made and scored, on a sample of the seeds, to measure the
        share that is kept; 0 assumes one. None is 200, but 0 where an LLM, which may cost, would
        write them.

    Loads the models and times a sample; what a pilot makes is not kept.
    """
    merged, table = prepare(seeds, arguments)
    if pilot is None:
        pilot = 200 if merged.generator.name == EMBEDDED else 0
    return make_plan(merged, table, pilot)


def score(
    seeds: SeedSource = None,
    *,
    work: str | Path | None = None,
    responses: str | Path | None = None,
    quiet: bool = True,
    **arguments: Unpack[ScoreArguments],
) -> Dataset:
    """SEAM of every seed and what it is made of, one row per seed in input order.

    policy, reward, embedder, generator, config, settings: as for `expand`.
    estimator: one or several of `contrast`, `llm`, `adversarial`, `on-policy`; the first decides.
    weighting: `prob` or `paper`; samples: responses per prompt and estimator.
    max_tokens, max_cost: LimitReached is raised when the generator has read and written so many
        tokens, or when they cost so many USD; with a higher limit the same call goes on.
    work: a folder to resume from, a path or an address; it must be given where a server's generator
        is asked, since its replies are paid for. responses: a file for one row per scored response.

    Columns: id, where, prompt, golden, seam, seam_low, seam_high (95 % bootstrap interval; higher
    = worse), golden_reward (standard deviations from the mean), golden_logprob (nats per token),
    error; and for each estimator, with its name in front: seam_prob, seam_paper, low, high,
    hack_rate, plausibility (nats per token), hack_set, worst_response, error.
    """
    if responses is not None:
        check_target(responses, "--responses")
    merged, table = prepare(seeds, arguments)
    with _scores(merged, table, work, quiet) as scores:
        if responses is not None:
            write_table(Dataset(response_table(table, scores)), responses, guard=True)
        return Dataset(score_table(table, scores, merged.score))


def select(
    seeds: SeedSource = None,
    *,
    drop_worst: float | str | None = None,
    keep_worst: float | str | None = None,
    scores: str | Path | Dataset | None = None,
    compare: str | Path | Dataset | Sequence[str | Path | Dataset] = (),
    column: str = "seam",
    work: str | Path | None = None,
    quiet: bool = True,
    **arguments: Unpack[ScoreArguments],
) -> Dataset:
    """The paper's data selection: the seeds' own rows less, or only, the worst share by SEAM.

    Give one of `drop_worst` and `keep_worst`, such as 0.2 or "20%". Rows that share a prompt stay
    or go together, columns and order are the input's. Prompts that could not be scored are not
    among the worst: `drop_worst` leaves them in, and the log counts them.

    scores: what `score` returned or wrote; None scores the seeds now, with the other arguments,
        which are those of `score`.
    compare: more of such scores of the same seeds; the log says how much of the worst share they
        have in common.
    column: of the scores, by which the worst are found, such as `on_policy_seam_paper`.
    """
    if (drop_worst is None) == (keep_worst is None):
        raise ConfigError("give one of drop_worst and keep_worst, such as 20%")
    if not paths_of(seeds) and isinstance(seeds, Iterator):
        seeds = list(seeds)  # the rows are read twice: to score and to write
    share = parse_share(drop_worst if drop_worst is not None else keep_worst or 0)
    merged, table = prepare(seeds, arguments)
    others = _comparisons(compare, column, table)
    owners, rows = rows_as_table(seeds, merged)
    if scores is None:
        _check_column(column, merged)
        scores = score(seeds, work=work, quiet=quiet, **arguments)
    else:
        _refuse_unused(arguments)
    found = scores_by_id(table, scores, column)
    worst = worst_ids(found, table.ids, share)
    chosen = worst if keep_worst is not None else set(table.ids) - worst
    selected = rows.filter(pa.array([owner in chosen for owner in owners], pa.bool_()))
    failed = sum(math.isnan(found[seed_id]) for seed_id in table.ids)
    logger.info(
        f"{len(table):,} prompts: {len(worst):,} worst, {len(table) - len(worst) - failed:,} "
        f"others, {failed:,} not scored; {len(selected):,} of {table.rows_read:,} rows selected"
    )
    for name, other in others:
        common = overlap(worst, worst_ids(other, table.ids, share))
        logger.info(
            f"{common:.0%} of the worst {share:.0%} are among the worst {share:.0%} of {name} "
            f"(by chance {share:.0%})"
        )
    return Dataset(selected)


def _comparisons(
    compare: str | Path | Dataset | Sequence[str | Path | Dataset], column: str, seeds: Seeds
) -> list[tuple[str, dict[str, float]]]:
    items = [compare] if isinstance(compare, (str, Path, Dataset)) else compare
    return [
        (
            f"comparison {number}" if isinstance(item, Dataset) else str(item),
            scores_by_id(seeds, item, column),
        )
        for number, item in enumerate(items, 1)
    ]


def _check_column(column: str, config: Config) -> None:
    """A column that scoring would not write must not show after it."""
    prefixes = [prefix_of(name) for name in config.score.estimators]
    if column != "seam" and not column.startswith(tuple(prefixes)):
        raise ConfigError(
            f"the scores will have no column {column} to select by, but seam and "
            f"{', '.join(f'{prefix}...' for prefix in prefixes)}"
        )


def _refuse_unused(arguments: ScoreArguments) -> None:
    """Whoever names a model or an estimator beside finished scores expects it to count."""
    given = {name for name, value in arguments.items() if value}
    unused = sorted(given - {"config", "settings"})
    if unused:
        raise ConfigError(
            f"finished scores are given, so {', '.join(unused)} would have no effect: leave out "
            "either; a column such as contrast_seam_paper selects by another weighting"
        )


@contextmanager
def _scores(
    config: Config, seeds: Seeds, work: str | Path | None, quiet: bool
) -> Iterator[SeedScores]:
    """Scores whose texts lie in `work`, or in a folder that goes with the context."""
    if work is not None:
        yield run_score(config, seeds, work, quiet=quiet)
        return
    if config.uses_writer_to_score:
        refuse_to_lose_replies(config, "work")
    with tempfile.TemporaryDirectory(prefix="seamaug-") as folder:
        yield run_score(config, seeds, folder, quiet=quiet)
