"""The door: parses, calls the library, prints. No logic of its own."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from seamaug import __version__
from seamaug.errors import ConfigError, SeamaugError

EPILOG = """\b
Exit codes: 0 done; 1 an error, said in one message; 2 a wrong command line;
3 done, or paused by --max-time, with the budget not filled; 130 interrupted."""


class _Door(click.Group):
    """Turns known errors into one message; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SeamaugError as error:
            if ctx.params.get("debug"):
                raise
            click.echo(f"error: {error}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            click.echo(
                "\ninterrupted: what was finished is kept; the same command resumes", err=True
            )
            sys.exit(130)


@click.group(cls=_Door, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="seamaug")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no messages, only the result.")
def main(debug: bool, quiet: bool) -> None:
    """Make RLHF training data at the prompts on which a policy model (PM) and a reward model (RM)
    disagree.

    SEAM is that disagreement: how likely the policy is to say responses that the reward model
    wrongly puts above the golden one. Higher is worse. (The paper, arXiv 2406.07971, shows its
    negation.)

    \b
    seamaug expand --budget 10k --out runs/demo      the whole flow, with what is bundled
    seamaug expand prefs.jsonl --policy my-sft --reward my-rm --out runs/mine
    seamaug show runs/demo                           what a run did
    """
    if not quiet:
        from seamaug.log import log_to_terminal

        log_to_terminal()


def _quiet() -> bool:
    return bool(click.get_current_context().find_root().params["quiet"])


def _parsed(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A click callback that reports a unit parser's message as a wrong command line."""

    def convert(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        from seamaug import units

        try:
            return None if value is None else getattr(units, name)(value)
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return convert


def _columns(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> Any:
    fields = ("prompt", "golden", "worse")
    pairs = [item.partition("=") for item in value]
    for field, equals, name in pairs:
        if field not in fields or not equals or not name:
            raise click.BadParameter(
                f"write FIELD=NAME, with FIELD one of {', '.join(fields)}", ctx, parameter
            )
    return {field: name for field, _, name in pairs} or None


_SEED_OPTIONS = [
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="FIELD=NAME",
        callback=_columns,
        help="Your name for `prompt`, `golden` or `worse`; common layouts are recognised.",
    ),
    click.option("--split", help="Split of a dataset id.  [default: train]"),
    click.option("--subset", help="Configuration name of a dataset id."),
]
_MODEL_OPTIONS = [
    click.option("--policy", metavar="MODEL", help="Policy model: a folder or hub id."),
    click.option(
        "--reward",
        multiple=True,
        metavar="MODEL",
        help="Reward model with one label; repeat it for an ensemble, whose scores are averaged.",
    ),
    click.option("--embedder", metavar="MODEL", help="A sentence-transformers model."),
    click.option(
        "--config",
        type=click.Path(),
        metavar="FILE",
        help="YAML settings, or a shipped recipe's name (small, paper). Flags go before it.",
    ),
]


_GENERATOR = click.option("--generator", metavar="MODEL", help="An LLM that writes as well.")
_SCORE_OPTIONS = [
    _GENERATOR,
    click.option(
        "--estimator",
        multiple=True,
        type=click.Choice(["contrast", "llm", "adversarial", "on-policy"]),
        help="How worse responses are found; repeat it for several, the first one decides.  "
        "[default: contrast]",
    ),
    click.option(
        "--weighting",
        type=click.Choice(["prob", "paper"]),
        help="What weighs a misjudged response: its probability, or the published form.  "
        "[default: prob]",
    ),
    click.option(
        "--samples",
        type=click.IntRange(min=1),
        help="Worse responses per prompt and estimator.  [default: 30]",
    ),
]


def _options(*options: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def decorate(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def _settings(columns: Any, split: str | None, subset: str | None) -> dict[str, Any]:
    return {"seeds.columns": columns, "seeds.split": split, "seeds.subset": subset}


@main.command()
@click.argument("seeds", nargs=-1)
@click.option(
    "--budget",
    callback=_parsed("parse_budget"),
    metavar="N",
    help="Examples to keep: 500, 10k, 1.5M.  [default: 10k]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default="seamaug-run",
    show_default=True,
    help="Run folder.",
)
@_options(*_MODEL_OPTIONS)
@_options(_GENERATOR)
@click.option("--seed", type=int, help="Seed of all random draws.  [default: 0]")
@click.option(
    "--max-time",
    callback=_parsed("parse_duration"),
    metavar="T",
    help="Stop generating after 90s, 30m, 2h and write what there is; the same command goes on.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be done, and how long it takes.")
@_options(*_SEED_OPTIONS)
def expand(
    seeds: tuple[str, ...],
    out: Path,
    dry_run: bool,
    columns: Any,
    split: str | None,
    subset: str | None,
    **options: Any,
) -> None:
    """Find the prompts with the highest SEAM, write variants of them, and keep those that lower it.

    SEEDS are files (JSONL, JSON, CSV, Parquet, also .gz), globs, or a dataset id; each row has a
    prompt and a golden response, and may have worse ones. Without SEEDS, and without models, the
    bundled ones are used.

    OUT gets sft/, preference/ and prompts/ (Parquet, TRL's columns), provenance.parquet, a dataset
    card and run.json. The same command resumes a run that was stopped; a finished run is left as
    it is.

    \b
    seamaug expand --budget 500 --out runs/first
    seamaug expand 'data/*.jsonl' --policy my-sft --reward my-rm --budget 10k --out runs/mine
    seamaug expand qa.csv --column prompt=question --column golden=answer --out runs/qa
    """
    from seamaug import api

    arguments = {**_given(options), "settings": _settings(columns, split, subset)}
    if dry_run:
        from seamaug.report.terminal import print_plan

        print_plan(api.plan(list(seeds) or None, **arguments))
        return
    result = api.expand(list(seeds) or None, out=out, quiet=_quiet(), **arguments)
    from seamaug.report.terminal import print_summary

    print_summary(result.path, result.summary)
    if result.summary["counts"]["candidates"]["kept"] < result.summary["budget"]:
        sys.exit(3)


@main.command()
@click.argument("seeds", nargs=-1)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Result file: .parquet, .jsonl or .csv.",
)
@click.option(
    "--responses",
    type=click.Path(path_type=Path),
    help="A second file with one row per scored response.",
)
@_options(*_MODEL_OPTIONS, *_SCORE_OPTIONS, *_SEED_OPTIONS)
def score(
    seeds: tuple[str, ...],
    out: Path,
    columns: Any,
    split: str | None,
    subset: str | None,
    **options: Any,
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
    from seamaug.report.terminal import print_scores
    from seamaug.write.table import check_target, write_table

    check_target(out)
    if options["responses"] == out:
        raise click.UsageError("--out and --responses must be two files")
    with _work_folder(out) as work:
        table = api.score(
            list(seeds) or None,
            work=work,
            quiet=_quiet(),
            settings=_settings(columns, split, subset),
            **_given(options),
        )
        write_table(table, out)
    print_scores(table, out)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Options that can be repeated: none given is None, so that the config decides."""
    return {name: None if value == () else value for name, value in options.items()}


@main.command()
@click.argument("seeds", nargs=-1)
@click.option(
    "--drop-worst",
    callback=_parsed("parse_share"),
    metavar="SHARE",
    help="Leave out this share of the prompts, by SEAM: 20%. The paper found 10-20% best.",
)
@click.option(
    "--keep-worst",
    callback=_parsed("parse_share"),
    metavar="SHARE",
    help="Take only this share of the prompts: those to augment.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    help="Result file with the seeds' own columns: .parquet, .jsonl or .csv.",
)
@click.option(
    "--scores",
    type=click.Path(path_type=Path),
    help="What `seamaug score` wrote for these seeds; without it they are scored now.",
)
@click.option(
    "--compare",
    multiple=True,
    type=click.Path(path_type=Path),
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
@_options(*_MODEL_OPTIONS, *_SCORE_OPTIONS, *_SEED_OPTIONS)
def select(
    seeds: tuple[str, ...],
    drop_worst: float | None,
    keep_worst: float | None,
    scores: Path | None,
    compare: tuple[Path, ...],
    score_column: str,
    out: Path,
    columns: Any,
    split: str | None,
    subset: str | None,
    **options: Any,
) -> None:
    """Select seeds by SEAM: the paper's data selection.

    Rows keep their columns and order; rows that share a prompt stay or go together. SEAM belongs
    to one pair of models: the paper finds 64-72 % of the worst 20 % in common between models.

    \b
    seamaug select prefs.jsonl --policy my-sft --reward my-rm --drop-worst 20% --out rest.jsonl
    seamaug select prefs.jsonl --scores scores.parquet --compare older.parquet \
        --drop-worst 20% --out rest.jsonl
    """
    from contextlib import nullcontext

    from seamaug import api
    from seamaug.write.table import check_target, write_table

    if (drop_worst is None) == (keep_worst is None):
        raise click.UsageError(
            "give one of --drop-worst and --keep-worst, such as --drop-worst 20%"
        )
    check_target(out)
    arguments: dict[str, Any] = {
        **_given(options),
        "drop_worst": drop_worst,
        "keep_worst": keep_worst,
        "scores": scores,
        "compare": compare,
        "column": score_column,
        "quiet": _quiet(),
        "settings": _settings(columns, split, subset),
    }
    with nullcontext() if scores else _work_folder(out) as work:
        rows = api.select(list(seeds) or None, work=work, **arguments)
        write_table(rows, out)
    click.echo(f"{len(rows):,} rows in {out}")


@main.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--examples", default=5, show_default=True, help="Examples before and after.")
def show(run: Path, examples: int) -> None:
    """What a run did: counts per stage and reason, where the time went, and the examples whose
    discrepancy fell most."""
    from seamaug.report.terminal import print_examples, print_summary
    from seamaug.write.summary import stored_summary

    print_summary(run, stored_summary(run))
    print_examples(run, examples)


def _work_folder(out: Path) -> Any:
    """Where scoring resumes from; gone once the result is written."""
    import shutil
    from contextlib import contextmanager

    @contextmanager
    def folder() -> Any:
        work = out.with_name(f"{out.name}.work")
        yield work
        shutil.rmtree(work)

    return folder()


if __name__ == "__main__":
    main()
