"""What a training of a reward model came to, in the terminal."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from seamaug.printable import printable
from seamaug.units import human_seconds


def print_training(folder: Path, summary: dict[str, Any]) -> None:
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
    console.print(Text(printable(f"Reward model in {folder}: give it to --reward")))
