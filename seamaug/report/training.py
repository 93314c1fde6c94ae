"""What reward models were trained on, and came to, in the terminal."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seamaug.places import below
from seamaug.printable import printable
from seamaug.storage import Place, remote
from seamaug.units import human_seconds


def print_training(folder: Place, summary: dict[str, Any]) -> None:
    """Pairs, steps, loss, accuracy by evaluation file, and where the model lies."""
    console = Console(highlight=False)
    counts = summary["counts"]
    left = f" ({counts['too long']:,} left out as too long)" if counts["too long"] else ""
    console.print(
        f"{counts['trained']:,} of {counts['pairs']:,} pairs{left}, {summary['steps']:,} steps in "
        f"{human_seconds(sum(summary['times']['train'].values()))}; mean loss {summary['loss']:.4f}"
    )
    for path, found in summary["evaluation"].items():
        line = f"accuracy {found['accuracy']:.1%} on {found['pairs']:,} pairs of {path}"
        console.print(Text(printable(line)))
    console.print(Text(printable(f"Reward model in {folder}, {_copied(folder)}for --reward")))


def print_strength(folder: Place, found: dict[str, Any]) -> None:
    """The bands with what was done to each, and how far a judge agrees."""
    console = Console(highlight=False)
    view = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("band", "pairs", "mu", "mean sigma", "judge agrees", "treatment"):
        view.add_column(name, justify="left" if name in ("band", "treatment") else "right")
    for row in found["bands"]:
        agreement = row["agreement"]
        view.add_row(
            row["band"],
            f"{row['pairs']:,}",
            f"{row['mu'][0]:+.2f} to {row['mu'][1]:+.2f}",
            f"{row['sigma']:.2f}",
            "-" if agreement is None else f"{agreement:.0%} of {row['judged']:,}",
            row["treatment"],
        )
    console.print(view)
    told = ", ".join(f"{count:,} {name}" for name, count in found["treated"].items())
    console.print(f"{found['pairs']:,} pairs, {found['models']} votes each: {told}")
    worth = found["agreement"]
    if "share" in worth:
        console.print(
            f"votes agree with {worth['share']:.0%} of {worth['pairs']:,} labels that no voter "
            f"saw: flipping pays where more than {worth['flipping_pays_above']:.0%} are wrong"
        )
    if found["unread"]:
        console.print(f"{found['unread']:,} pairs got no vote, and are left as they are")
    console.print(Text(printable(f"Pairs as treated: {below(folder, 'pairs.parquet')}")))
    if found.get("ensemble"):
        told = (
            f"Ensemble: {below(folder, found['ensemble'])}, {_copied(folder)}for `expand --judge`"
        )
        console.print(Text(printable(told)))


def _copied(folder: Place) -> str:
    """What has to be done before a model there can be loaded, which is from a disk alone."""
    return "" if remote(folder) is None else "once it is copied to a disk, "
