"""seamaug diagnose."""

import json
from pathlib import Path
from typing import Any

import click

from seamaug.cli.options import LIMIT_OPTIONS, PLACE, SEED_OPTIONS, arguments, options, quiet


@click.command()
@click.argument("seeds", nargs=-1)
@click.option(
    "--policy",
    multiple=True,
    metavar="MODEL",
    help="Policy model: a folder or hub id; repeat it for a grid of checkpoints.",
)
@click.option(
    "--reward",
    multiple=True,
    metavar="MODEL",
    help="Reward model with one label; repeat it to have several ranked for this policy.",
)
@click.option(
    "--judge",
    metavar="JUDGE",
    help="What knows better: `checker` (final numbers, words in common with the golden response), "
    "`llm` (the --generator), `package.module:function`, or another reward model.  "
    "[default: verify.worse of the config, which is the checker]",
)
@click.option("--generator", metavar="MODEL", help="An LLM, for --judge llm.")
@click.option(
    "--prompts", type=click.IntRange(min=2), help="Prompts that are looked at.  [default: 500]"
)
@click.option(
    "--samples",
    type=click.IntRange(min=2),
    help="Responses of each policy to each prompt.  [default: 10]",
)
@click.option("--seed", type=int, help="Seed of all random draws.  [default: 0]")
@click.option(
    "--config",
    type=click.Path(),
    metavar="FILE",
    help="YAML settings, or a shipped recipe's name (small, paper). Flags go before it.",
)
@click.option(
    "--work",
    type=PLACE,
    help="A folder, or an address such as s3://bucket/work, to resume from if it is stopped.",
)
@click.option("--out", type=PLACE, help="Also write a page to look at: FILE.html.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@options(*LIMIT_OPTIONS, *SEED_OPTIONS)
def diagnose(
    seeds: tuple[str, ...],
    work: str | Path | None,
    out: str | Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Say whether a reward model is a good teacher for a policy, and what to do about it.

    The policy answers 500 prompts ten times at temperature 1. Each figure comes with its 95 %
    bootstrap interval over the prompts; what cannot be computed is named, with the reason.

    \b
    reward_variance       over a prompt's samples; low = nothing to climb (arXiv 2503.15477)
    flat_prompts          share of prompts where it is below diagnose.floor (0.05)
    on_policy_accuracy    pairs of samples ordered as the judge orders them
    off_policy_accuracy   given pairs ordered as labelled; accuracy_gap: the one less the other
    teacher_score         mean of variance and accuracy: what reward models are ranked by
    seam_prob, seam_paper SEAM over the samples that the judge finds worse
    hack_rate             share of these that stand above the golden response
    plausibility          their log-probability per token, nats
    mismatch_rate         pairs of two policies' samples that the judge orders otherwise
    conflict, kendall_tau reward against the policy's own likelihood (PACS)
    length_correlation    of length and reward within prompts
    distinct_responses    share of different texts among a prompt's samples
    difference_objective  MetaRM's J (arXiv 2401.06080), on raw rewards

    \b
    seamaug diagnose prefs.jsonl --policy my-sft --reward my-rm
    seamaug diagnose prefs.jsonl --policy my-sft --reward rm-a --reward rm-b --judge rm-gold
    seamaug diagnose prefs.jsonl --policy step-0 --policy step-500 --reward rm-a --out page.html
    """
    from seamaug.diagnosis import run
    from seamaug.report.diagnosis import print_diagnosis

    if out is not None and not str(out).endswith(".html"):
        raise click.UsageError(f"--out {out} must end in .html: it is a page to look at")
    given = arguments(flags)
    found = run.diagnose(list(seeds) or None, work=work, out=out, quiet=quiet(), **given)
    if as_json:
        click.echo(json.dumps(found.to_dict(), ensure_ascii=False, indent=2, allow_nan=False))
        return
    print_diagnosis(found)
    if out is not None:
        click.echo(f"page: {out}")
