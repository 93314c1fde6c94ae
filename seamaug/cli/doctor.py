"""seamaug doctor."""

import sys
from dataclasses import asdict

import click

from seamaug.cli.options import JSON_OPTION, options, print_json

_STYLES = {"ok": "green", "off": "dim", "warning": "yellow", "broken": "bold red"}


@click.command()
@options(JSON_OPTION)
def doctor(as_json: bool) -> None:
    """What works on this machine: packages, devices, engines, the bundled models, hub and disk,
    with a line of advice on what does not.

    `off` is optional and not there; `broken` keeps seamaug from working, and the exit code is 1.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from seamaug.doctor import examine
    from seamaug.printable import printable

    checks = list(examine())
    broken = any(check.status == "broken" for check in checks)
    if as_json:
        print_json({"works": not broken, "checks": [asdict(check) for check in checks]})
    else:
        view = Table(box=None, pad_edge=False, header_style="dim")
        for name in ("", "status", "found", "advice"):
            view.add_column(name)
        for check in checks:
            found, advice = (Text(printable(text)) for text in (check.found, check.advice))
            status = Text(check.status, style=_STYLES[check.status])
            view.add_row(Text(check.name), status, found, advice)
        Console(markup=False, emoji=False).print(view)
    if broken:
        sys.exit(1)
