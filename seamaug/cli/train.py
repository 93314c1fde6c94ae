"""seamaug train-rm."""

from pathlib import Path
from typing import Any

import click

from seamaug.cli.options import PLACE, SEED_OPTIONS, options, quiet, reading

_FLAGS = {
    "smoothing": "smoothing.rate",
    "contrastive": "contrastive.method",
    "meta_step": "meta.step",
    "lora": "lora.rank",
    "model": "start.name",
    "policy": "policy.name",
    "seed": "seed",
}


@click.command("train-rm")
@click.argument("pairs", nargs=-1)
@click.option("--model", metavar="MODEL", help="Start: a causal LM or a reward model.")
@click.option(
    "--out",
    type=PLACE,
    default="seamaug-rm",
    show_default=True,
    help="Folder of the reward model, or an address such as s3://bucket/rm.",
)
@click.option(
    "--eval",
    "evaluation",
    multiple=True,
    metavar="FILE",
    help="Pairs to measure accuracy on in the end; can be repeated.",
)
@click.option("--config", type=click.Path(), metavar="FILE", help="YAML settings; flags go before.")
@options(
    *SEED_OPTIONS,
    click.option("--smoothing", type=float, help="Label smoothing.  [default: 0]"),
    click.option(
        "--contrastive",
        type=click.Choice(["none", "simcse", "swav"]),
        help="Contrastive term.  [default: none]",
    ),
    click.option(
        "--meta-step", type=float, help="MetaRM's step up the difference objective.  [default: 0]"
    ),
    click.option("--policy", metavar="MODEL", help="Whose samples MetaRM looks at."),
    click.option("--lora", type=click.IntRange(min=0), help="Rank of LoRA.  [default: 0, full]"),
    click.option("--epochs", type=float, help="Passes over the pairs.  [default: 3]"),
    click.option("--learning-rate", type=float, help="[default: 1e-4]"),
    click.option(
        "--batch-size", type=click.IntRange(min=1), help="Pairs per device.  [default: 8]"
    ),
    click.option("--seed", type=int, help="[default: 0]"),
)
def train_rm(
    pairs: tuple[str, ...],
    out: str | Path,
    evaluation: tuple[str, ...],
    config: str | None,
    **flags: Any,
) -> None:
    """Train a reward model that stands label noise, and follows the policy (arXiv 2401.06080).

    PAIRS are files, globs or a dataset id: rows with a prompt, a chosen and a rejected response.
    `margin` (by how much the chosen one is better) and `smoothing` (share of the label that goes to
    the rejected one; 1 flips it) are read where rows have them. TRL trains; the losses are ours.

    OUT gets the model, its tokenizer and train.json, and goes straight into `--reward` of the other
    commands. The same command resumes a training that was stopped.

    \b
    seamaug train-rm prefs.jsonl --model my-sft --out my-rm --eval test.jsonl
    seamaug train-rm prefs.jsonl --model my-sft --contrastive simcse --out my-rm
    seamaug train-rm prefs.jsonl --model my-rm --meta-step 0.01 --policy my-policy --out my-rm2
    """
    from seamaug.report.training import print_training
    from seamaug.train import train_rm as train

    settings = reading(flags, "pairs")
    trainer = {
        "trainer.num_train_epochs": flags.pop("epochs"),
        "trainer.learning_rate": flags.pop("learning_rate"),
        "trainer.per_device_train_batch_size": flags.pop("batch_size"),
    }
    named = {_FLAGS[name]: value for name, value in flags.items()} | trainer
    named["evaluation"] = evaluation or None
    settings |= {name: value for name, value in named.items() if value is not None}
    print_training(
        out, train(list(pairs) or None, out=out, config=config, settings=settings, quiet=quiet())
    )
