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
    """What can make variants: each operator's name, kind, what it preserves and what it does.

    Those of kind `rule` need no LLM. One that does not preserve the answer also writes a new golden
    response, which a judge must prefer to the old one. Name them under `generate.operators`; those
    of kind `golden` and `worse` write responses (`generate.golden_rewrites`, `generate.llm_worse`).

    A folder's operators are checked as at the start of a run, so this tries out your own.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from seamaug.generate.llm.operators import load_operators
    from seamaug.generate.operators import OPERATORS
    from seamaug.generate.variants import RULE

    view = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("operator", "kind", "preserves", "does"):
        view.add_column(name, no_wrap=name in ("operator", "kind"))
    for rule in OPERATORS.values():
        view.add_row(rule.name, RULE, "meaning, numbers, answer", Text(rule.preserves))
    for llm in load_operators(folder).values():
        view.add_row(llm.name, llm.kind, ", ".join(sorted(llm.preserves)), Text(llm.does))
    Console().print(view)
