"""seamaug report."""

from pathlib import Path

import click

from seamaug.cli.options import PLACE


@click.command()
@click.argument("run", type=PLACE)
@click.option(
    "--out",
    type=PLACE,
    metavar="FILE",
    help="The page.  [default: report.html in RUN]",
)
@click.option(
    "--diagnosis",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="What `seamaug diagnose --json` printed about the run's models: a section of the page.",
)
def report(run: str | Path, out: str | Path | None, diagnosis: Path | None) -> None:
    """Write a run's report: one HTML page that needs no network, below 10 MB.

    The funnel, SEAM before and after, what the policy says against what the reward model likes, a
    map of the prompts, operators, reward variance and length, and the examples, kept and rejected,
    with their changes to the parent.

    \b
    seamaug report runs/mine
    seamaug report runs/mine --out mine.html
    seamaug diagnose prefs.jsonl --policy my-sft --reward my-rm --json > teacher.json
    seamaug report runs/mine --diagnosis teacher.json
    """
    from seamaug.reporting import report as write_report

    click.echo(write_report(run, out, diagnosis=diagnosis))
