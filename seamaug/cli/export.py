"""seamaug export."""

from pathlib import Path
from typing import Any

import click

from seamaug.cli.options import PLACE, SEED_OPTIONS, arguments, formats, options, parsed


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=PLACE)
@click.option(
    "--to",
    multiple=True,
    callback=formats,
    metavar="NAME",
    help="trl, openrlhf, verl, llamafactory, axolotl; several with commas.",
)
@click.option(
    "--out",
    type=PLACE,
    metavar="DIR",
    help="Gets a folder for each NAME.  [default: exports in RUN; for several there is none]",
)
@click.option(
    "--validation",
    callback=parsed("parse_share"),
    metavar="SHARE",
    help="Share of the parents to validate on: 5%. Examples of one parent stay on one side.",
)
@click.option(
    "--merge-with",
    multiple=True,
    metavar="ORIGINAL",
    help="The original data (files as `expand` reads them), to write with the augmented.",
)
@click.option(
    "--ratio",
    metavar="N:M",
    help="N original examples for M augmented ones, such as 4:1: what is in excess is sampled.  "
    "[default: all of both]",
)
@click.option(
    "--margin",
    is_flag=True,
    help="A column `margin` for reward models of TRL and OpenRLHF: the preference strength mu, by "
    "how many logits the judges of the run (`expand --judge`) prefer the chosen response. Original "
    "rows bring their own, as `seamaug strength --margin` writes it. Every pair must have one.",
)
@options(*SEED_OPTIONS)
@click.option(
    "--push-to-hub",
    "repo",
    metavar="REPO",
    help="Upload the run's own datasets, provenance and card to this dataset repository, such as "
    "USER/NAME.",
)
@click.option("--public", is_flag=True, help="With --push-to-hub: for everybody to see.")
def export(
    runs: tuple[str | Path, ...],
    to: list[str],
    merge_with: tuple[str, ...],
    repo: str | None,
    public: bool,
    **flags: Any,
) -> None:
    """Write a finished run, or several together, in the dialect of a trainer, with what makes that
    trainer run on it.

    \b
    trl           SFT, reward model, DPO, KTO, prompts      python reward.py --model my-sft
    openrlhf      SFT, pairs (reward model, DPO), prompts   bash reward.sh my-sft
    verl          SFT, prompts                              bash grpo.sh my-sft my-rm
    llamafactory  SFT, pairs (reward model, DPO), KTO       llamafactory-cli train reward.yaml
    axolotl       SFT, DPO, reward model, KTO               axolotl train reward.yaml

    Each folder has a README that says how to run what, and how many rows it has. Rows hold nothing
    but what the trainer reads; provenance.parquet says which candidate, parent, source and run each
    row is from (file, row, id, parent, source, run). What a dialect cannot hold, such as several
    turns in axolotl's reward model, is left out, counted and named.

    With --merge-with, an original row gives what it has: one without a rejected response is in the
    files for SFT and prompts, and in no other.

    Of several runs, such as those on shards of the seeds, prompts that are near duplicates of
    another run's are left out, and the one stays that reduced SEAM most; with --merge-with, so are
    those of an original row, unless their parent is.

    With --push-to-hub, sft/, preference/, prompts/, provenance.parquet and README.md of RUN go to
    the Hugging Face hub, and nothing else: private, with the token in HF_TOKEN or that of `hf auth
    login`.

    \b
    seamaug export runs/mine --to trl --validation 5%
    seamaug export runs/mine --to trl,openrlhf --out data --merge-with prefs.jsonl --ratio 4:1
    seamaug export runs/shard-* --to verl --out data
    seamaug export runs/mine --push-to-hub me/hard-prompts
    """
    given = {**arguments(flags), "merge_with": list(merge_with) or None}
    if repo is not None:
        _push(runs, repo, public, bool(to or any(flags.values()) or merge_with))
        return
    if not to or public:
        raise click.UsageError("--public goes with --push-to-hub" if to else "give --to NAME")
    from seamaug.exporting import export as write
    from seamaug.report.exports import print_exports

    given["settings"] = {key: value for key, value in given["settings"].items() if value}
    print_exports(write(runs, to=to, **given))


def _push(runs: tuple[str | Path, ...], repo: str, public: bool, others: bool) -> None:
    if len(runs) > 1:
        raise click.UsageError("--push-to-hub uploads one run: name one")
    if others:
        raise click.UsageError(
            "--push-to-hub uploads the run's own datasets, as `expand` wrote them: leave out the "
            "other options"
        )
    from seamaug.publishing import push_to_hub

    url = push_to_hub(runs[0], repo, public=public)
    click.echo(f"{url} ({'public' if public else 'private'})")
