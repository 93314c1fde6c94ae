"""seamaug score and seamaug select."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click

from seamaug.cli.options import (
    JSON_OPTION,
    LIMIT_OPTIONS,
    MODEL_OPTIONS,
    PLACE,
    SCORE_OPTIONS,
    SEED_OPTIONS,
    arguments,
    options,
    parsed,
    print_json,
    quiet,
)


@click.command()
@click.argument("seeds", nargs=-1)
@click.option(
    "--out",
    type=PLACE,
    required=True,
    help="Result file: .parquet, .jsonl or .csv.",
)
@click.option(
    "--responses",
    type=PLACE,
    help="A second file with one row per scored response.",
)
@options(*MODEL_OPTIONS, *SCORE_OPTIONS, *LIMIT_OPTIONS, *SEED_OPTIONS, JSON_OPTION)
def score(
    seeds: tuple[str, ...],
    out: str | Path,
    responses: str | Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write SEAM of each seed, and what it is made of, to one file: one row per prompt.

    \b
    Estimators of the worse responses:
    contrast     golden responses of the nearest different prompts
    llm          written by --generator: a factual error, a misread question, ...
    adversarial  the golden response, damaged so that the RM's score rises
    on-policy    the policy's own samples, where a verifier finds them worse

    \b
    seam           the discrepancy (first estimator, chosen weighting); higher = worse
    seam_low/high  its 95 % bootstrap interval over the worse responses
    golden_reward  in standard deviations from the mean of the RM's scores
    golden_logprob the PM's mean log-probability per token of the golden response

    \b
    and for each estimator, such as contrast_seam_prob:
    seam_prob      likelihood-weighted misjudgement; for on-policy its mean over the draws
    seam_paper     the published length-penalised form, sign turned so that higher = worse
    hack_rate      share of the worse responses that the RM puts above the golden one
    plausibility   their mean log-probability per token under the PM, in nats
    hack_set       how many they are
    low/high       the interval under the chosen weighting
    worst_response the response that weighs most

    Rewards are standardised over the first estimator's responses (each model of an ensemble by
    itself), so SEAM is in standard deviations.

    \b
    seamaug score prefs.jsonl --policy my-sft --reward my-rm --out scores.parquet
    seamaug score prefs.jsonl --estimator on-policy --estimator contrast --samples 16 \
        --policy my-sft --reward my-rm --out both.parquet --responses responses.parquet
    """
    from seamaug import api
    from seamaug.report.scores import score_summary
    from seamaug.report.terminal import print_scores
    from seamaug.write.table import check_target, write_table

    check_target(out)
    if responses == out:
        raise click.UsageError("--out and --responses must be two files")
    with _work_folder(out) as work:
        table = api.score(
            list(seeds) or None,
            work=work,
            responses=responses,
            quiet=quiet(),
            **arguments(flags),
        )
        write_table(table, out, guard=True)
    if as_json:
        print_json({"out": str(out), **score_summary(table)})
    else:
        print_scores(table, out)


@click.command()
@click.argument("seeds", nargs=-1)
@click.option(
    "--drop-worst",
    callback=parsed("parse_share"),
    metavar="SHARE",
    help="Leave out this share of the prompts, by SEAM: 20%. The paper found 10-20% best.",
)
@click.option(
    "--keep-worst",
    callback=parsed("parse_share"),
    metavar="SHARE",
    help="Take only this share of the prompts: those to augment.",
)
@click.option(
    "--out",
    type=PLACE,
    required=True,
    help="Result file with the seeds' own columns: .parquet, .jsonl or .csv.",
)
@click.option(
    "--scores",
    type=PLACE,
    help="What `seamaug score` wrote for these seeds; without it they are scored now.",
)
@click.option(
    "--compare",
    multiple=True,
    type=PLACE,
    help="Scores of the same seeds by other models or estimators: says how far the worst agree.",
)
@click.option(
    "--by",
    "score_column",
    metavar="COLUMN",
    default="seam",
    show_default=True,
    help="Column of the scores that says what is worst, such as on_policy_seam_paper.",
)
@options(*MODEL_OPTIONS, *SCORE_OPTIONS, *LIMIT_OPTIONS, *SEED_OPTIONS, JSON_OPTION)
def select(
    seeds: tuple[str, ...],
    drop_worst: float | None,
    keep_worst: float | None,
    scores: str | Path | None,
    compare: tuple[str | Path, ...],
    score_column: str,
    out: str | Path,
    as_json: bool,
    **flags: Any,
) -> None:
    """Select seeds by SEAM: the paper's data selection.

    Rows keep their columns and order; rows that share a prompt stay or go together. SEAM belongs
    to one pair of models: the paper finds 64-72 % of the worst 20 % in common between models.

    \b
    seamaug select prefs.jsonl --policy my-sft --reward my-rm --drop-worst 20% --out rest.jsonl
    seamaug select prefs.jsonl --scores scores.parquet --compare older.parquet \
        --drop-worst 20% --out rest.jsonl
    """
    from seamaug import api
    from seamaug.write.table import check_target, write_table

    if (drop_worst is None) == (keep_worst is None):
        raise click.UsageError(
            "give one of --drop-worst and --keep-worst, such as --drop-worst 20%"
        )
    check_target(out)
    with nullcontext() if scores else _work_folder(out) as work:
        rows = api.select(
            list(seeds) or None,
            drop_worst=drop_worst,
            keep_worst=keep_worst,
            scores=scores,
            compare=compare,
            column=score_column,
            work=work,
            quiet=quiet(),
            **arguments(flags),
        )
        write_table(rows, out)
    if as_json:
        print_json({"out": str(out), "rows": len(rows)})
    else:
        click.echo(f"{len(rows):,} rows in {out}")


@contextmanager
def _work_folder(out: str | Path) -> Iterator[str | Path]:
    """Where scoring resumes from; gone once the result is written."""
    from seamaug.run.mirror import remove_run

    work = f"{out}.work" if isinstance(out, str) else out.with_name(f"{out.name}.work")
    yield work
    remove_run(work)
