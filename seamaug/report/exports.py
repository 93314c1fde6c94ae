"""The terminal's table of what was exported."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seamaug.exporting import Export


def print_exports(exports: Sequence[Export]) -> None:
    """Files and rows of each export, and what was left out of it."""
    console = Console(markup=False, emoji=False)
    for export in exports:
        console.print(Text(f"\n{export.path}", style="bold"))
        table = Table(box=None, pad_edge=False)
        table.add_column("file")
        for heading in ("rows", "original", "augmented"):
            table.add_column(heading, justify="right")
        for file, sources in export.rows.items():
            counts = [
                sum(sources.values()),
                sources.get("original", 0),
                sources.get("augmented", 0),
            ]
            table.add_row(file, *(f"{count:,}" for count in counts))
        console.print(table)
        for heading, told in (("left out of", export.left_out), ("to mind in", export.remarks)):
            for form, reasons in told.items():
                for reason, count in reasons.items():
                    console.print(Text(f"{heading} {form}: {count:,}, each {reason}"))
    if exports:
        console.print(Text("\nREADME.md in each folder says how to run what."))
