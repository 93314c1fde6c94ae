"""seamaug expand and seamaug show."""

import sys
from dataclasses import asdict
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
    formats,
    options,
    parsed,
    print_json,
    quiet,
)


@click.command()
@click.argument("seeds", nargs=-1)
@click.option(
    "--budget",
    callback=parsed("parse_budget"),
    metavar="N",
    help="Examples to keep: 500, 10k, 1.5M; or what the generator may take until the run is done: "
    "'5M tokens', '20 USD'.  [default: 10k]",
)
@click.option(
    "--out",
    type=PLACE,
    default="seamaug-run",
    show_default=True,
    help="Run folder, or an address such as s3://bucket/run.",
)
@options(*MODEL_OPTIONS, *SCORE_OPTIONS)
@click.option("--seed", type=int, help="Seed of all random draws.  [default: 0]")
@click.option(
    "--max-time",
    callback=parsed("parse_duration"),
    metavar="T",
    help="Stop generating after 90s, 30m, 2h and write what there is; the same command goes on.",
)
@options(*LIMIT_OPTIONS)
@click.option(
    "--judge",
    "judges",
    multiple=True,
    metavar="MODEL",
    help="A reward model that votes on every pair (not the one under test), or the ensemble of "
    "`seamaug strength`; repeat it for several. Pairs whose label they contradict are not kept; mu "
    "and sigma are in provenance.parquet, and `export --margin` writes mu.",
)
@click.option(
    "--decontaminate",
    multiple=True,
    metavar="FILE",
    help="An evaluation file that no example may share 13 words in a row with; can be repeated.",
)
@click.option(
    "--track",
    type=click.Choice(["tensorboard", "wandb"]),
    help="Log scalars of each round's parts: event files in OUT/tensorboard, or a W&B run.",
)
@click.option(
    "--formats",
    multiple=True,
    callback=formats,
    metavar="NAME",
    help="Trainers to write the examples for as well, in OUT/exports/NAME: trl, openrlhf, verl, "
    "llamafactory, axolotl; several with commas. `seamaug export` does so later.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and how long it takes.")
@click.option(
    "--pilot",
    type=click.IntRange(min=0),
    metavar="N",
    help="With --dry-run: really make N candidates on a sample of the seeds, to see how many are "
    "kept; with a generator that costs what they cost.  [default: 200, or 0 with a generator]",
)
@options(*SEED_OPTIONS, JSON_OPTION)
def expand(
    seeds: tuple[str, ...],
    out: str | Path,
    dry_run: bool,
    pilot: int | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Write variants of the prompts with the highest SEAM; keep those that training gains from.

    SEEDS are files (JSONL, JSON, CSV, Parquet, also .gz), globs, addresses (s3://bucket/*.csv), or
    a dataset id; each row has a prompt and a golden response, and may have worse ones. Without
    SEEDS, and without models, the bundled ones are used.

    OUT gets sft/, preference/ and prompts/ (Parquet, TRL's columns), provenance.parquet, a dataset
    card and run.json; with --decontaminate also contamination.parquet, which says what was left out
    and why. The same command resumes a run that was stopped; a finished run is left as
    it is.

    \b
    seamaug expand --budget 500 --out runs/first
    seamaug expand 'data/*.jsonl' --policy my-sft --reward my-rm --budget 10k --out runs/mine
    seamaug expand qa.csv --column prompt=question --column golden=answer --out runs/qa
    """
    from seamaug import api
    from seamaug.report.exports import print_exports
    from seamaug.report.terminal import print_plan, print_summary
    from seamaug.target import FILLED

    if flags["budget"] and (units := {"token", "tokens", "usd"} & {own.lower() for own in seeds}):
        raise click.UsageError(f"a budget of two words needs quotes: --budget '... {min(units)}'")
    names = flags.pop("formats")
    if dry_run:
        plan = api.plan(list(seeds) or None, pilot=pilot, **arguments(flags))
        if as_json:
            print_json(plan.summary())
        else:
            print_plan(plan)
        return
    if pilot is not None:
        raise click.UsageError("--pilot goes with --dry-run")
    given = arguments(flags)
    result = api.expand(list(seeds) or None, out=out, formats=names, quiet=quiet(), **given)
    if as_json:
        exports = [asdict(export) for export in result.exports]
        print_json({"out": str(result.out), **result.summary, "exports": exports})
    else:
        print_summary(result.out, result.summary)
        print_exports(result.exports)
    if result.summary["outcome"] not in FILLED:
        sys.exit(3)


@click.command()
@click.argument("run", type=PLACE)
@click.option(
    "--examples",
    type=click.IntRange(min=0),
    default=5,
    show_default=True,
    help="Examples before and after.",
)
@options(JSON_OPTION)
def show(run: str | Path, examples: int, as_json: bool) -> None:
    """What a run did: counts per stage and reason, where the time went, and examples: those that
    promise most, one of a prompt. With --json, what run.json holds."""
    from seamaug.report.terminal import print_examples, print_summary
    from seamaug.run.mirror import run_here
    from seamaug.write.datasets import PROVENANCE
    from seamaug.write.summary import stored_summary

    with run_here(run, f"{PROVENANCE}.parquet", "stages/parents/*") as folder:
        summary = stored_summary(folder)
        if as_json:
            print_json({"out": str(run), **summary})
            return
        print_summary(run, summary)
        print_examples(folder, examples)
