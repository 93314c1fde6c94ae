"""seamaug operators."""

import click


@click.command()
@click.option(
    "--from",
    "folder",
    type=click.Path(),
    metavar="FOLDER",
    help="Also those of a folder of your own, as `generate.operators_from` names one.",
)
def operators(folder: str | None) -> None:
    """What can make variants: each operator by kind, with what it preserves and what it does.

    Operators of kind `rule` need no LLM. One that does not preserve the answer has a new golden
    response written, which a judge must prefer to the old one. Choose under `generate.operators`;
    those of kind `golden` and `worse` write responses (`generate.golden_rewrites`,
    `generate.llm_worse`).

    A folder's operators are checked as at the start of a run, so this tries out your own.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from seamaug.generate.llm.operators import load_operators
    from seamaug.generate.operators import OPERATORS

    groups: dict[str, list[tuple[str, str]]] = {
        "rule, preserves answer": [(rule.name, rule.preserves) for rule in OPERATORS.values()]
    }
    for llm in load_operators(folder).values():
        kept = f", preserves {', '.join(llm.preserves)}" if llm.preserves else ""
        groups.setdefault(f"{llm.kind}{kept}", []).append((llm.name, llm.does))
    console = Console()
    for heading, rows in groups.items():
        view = Table(box=None, pad_edge=False, show_header=False)
        for name, does in rows:
            view.add_row(f"  {name}", Text(does))
        console.print(Text(heading, style="bold"), view)
