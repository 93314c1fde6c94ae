"""seamaug strength."""

from pathlib import Path
from typing import Any

import click

from seamaug.cli.options import PLACE, SEED_OPTIONS, options, quiet, reading

_FLAGS = {
    "incorrect": "treat.incorrect",
    "ambiguous": "treat.ambiguous",
    "smoothing": "treat.smoothing",
    "heads": "ensemble.heads",
    "seed": "seed",
}


@click.command()
@click.argument("pairs", nargs=-1)
@click.option(
    "--out",
    type=PLACE,
    required=True,
    help="Folder for pairs.parquet and strength.json, or an address such as s3://bucket/votes.",
)
@click.option(
    "--reward",
    multiple=True,
    metavar="MODEL",
    help="A reward model that votes; give two or more, or an ensemble trained earlier.",
)
@click.option("--model", metavar="MODEL", help="Without --reward: what the ensemble starts from.")
@click.option("--judge", metavar="MODEL|MODULE:FUNCTION", help="Show the bands against it.")
@click.option("--config", type=click.Path(), metavar="FILE", help="YAML settings; flags go before.")
@options(
    *SEED_OPTIONS,
    click.option(
        "--incorrect",
        type=click.Choice(["auto", "keep", "flip", "soften", "drop"]),
        help="What becomes of labels found incorrect; auto: flip, where the votes prove good "
        "enough, else keep.  [default: auto]",
    ),
    click.option(
        "--ambiguous",
        type=click.Choice(["keep", "soften", "drop"]),
        help="What becomes of ambiguous ones.  [default: soften]",
    ),
    click.option("--smoothing", type=float, help="Of a softened label.  [default: 0.3]"),
    click.option("--margin", is_flag=True, help="Write mu as `margin`, on every pair."),
    click.option("--heads", type=int, help="Of the ensemble trained here.  [default: 10]"),
    click.option("--seed", type=int, help="[default: 0]"),
)
def strength(
    pairs: tuple[str, ...],
    out: str | Path,
    reward: tuple[str, ...],
    model: str | None,
    judge: str | None,
    config: str | None,
    margin: bool,
    **flags: Any,
) -> None:
    """How strong is each preference, and which labels are wrong (arXiv 2401.06080).

    An ensemble of reward models votes on PAIRS: mu is the mean margin of the chosen response, sigma
    its standard deviation. Where they agree against the label, it is called incorrect, where they
    do not agree, ambiguous. Without --reward an ensemble is trained on the pairs themselves, ten
    last layers on one backbone for the price of one reward model. Models trained apart (`seamaug
    train-rm`, with another --seed each) cost more and judge better: heads are wrong together.

    OUT/pairs.parquet has the pairs as treated, for TRL's RewardTrainer or `seamaug train-rm`, and
    OUT/ensemble what was trained, for `seamaug expand --judge`, where it votes on every new pair.

    \b
    seamaug strength prefs.jsonl --model my-sft --out strength
    seamaug strength prefs.jsonl --reward rm-1 --reward rm-2 --reward rm-3 --margin --out strength
    seamaug train-rm strength/pairs.parquet --model my-sft --out my-rm
    seamaug expand strength/pairs.parquet --judge strength/ensemble --out runs/mine
    """
    from seamaug.report.training import print_strength
    from seamaug.voting import strength as find

    settings = reading(flags, "pairs")
    settings |= {_FLAGS[name]: value for name, value in flags.items() if value is not None}
    if margin:
        settings["treat.margin"] = True
    found = find(
        list(pairs) or None,
        out=out,
        reward=reward,
        model=model,
        judge=judge,
        config=config,
        settings=settings,
        quiet=quiet(),
    )
    print_strength(out, found)
