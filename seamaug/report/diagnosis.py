"""A diagnosis as tables for the terminal."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seamaug.diagnosis.result import FIGURES, Advice, Cell, Diagnosis
from seamaug.diagnosis.statistics import Figure
from seamaug.printable import printable

GRID = ("teacher_score", "reward_variance", "flat_prompts", "on_policy_accuracy", "seam_prob")
"""Figures that a grid of models is shown by."""

RANKED = (
    "Ranked by teacher score, the best first. Where intervals overlap, the order is not certain; "
    "and the score does not show that the reward is flat on some prompts: flat_prompts does."
)


def print_diagnosis(found: Diagnosis) -> None:
    """Figures by policy with the reward models ranked, the grid, and what to do."""
    console, found = Console(markup=False, emoji=False), with_short_names(found)
    for policy in found.policies:
        cells = found.ranked(policy)
        judged = ", ".join(f"{name} {count:,}" for name, count in found.judged[policy].items())
        console.print(
            _plain(
                f"\npolicy {policy}: {found.prompt_count:,} prompts, {found.samples} samples each"
            )
        )
        console.print(_plain(f"judged by: {judged}"))
        console.print(_figures(cells))
        if len(cells) > 1:
            console.print(RANKED)
        for reason, names in _missing(cells).items():
            console.print(_plain(f"not computed: {', '.join(names)}: {reason}"))
    if len(found.cells) > 1 and len(found.policies) > 1:
        console.print(_grid(found))
    console.print(_advice(found.advice))
    if found.left_out:
        console.print(
            f"{len(found.left_out):,} left out; the first: {printable(found.left_out[0].where)}, "
            f"{printable(found.left_out[0].reason)}"
        )


def shown(figure: Figure) -> str:
    """`0.61 [0.47, 0.77]`."""
    if figure.value is None:
        return "–"
    return f"{figure.value:.2f} [{figure.low:.2f}, {figure.high:.2f}]"


def with_short_names(found: Diagnosis) -> Diagnosis:
    """The same with models by the last part of their names, where these tell them apart."""
    policies, rewards = _short(found.policies), _short(found.rewards)
    return replace(
        found,
        policies=list(policies.values()),
        rewards=list(rewards.values()),
        cells=[
            replace(cell, policy=policies[cell.policy], reward=rewards[cell.reward])
            for cell in found.cells
        ],
        advice=[
            replace(item, policy=policies[item.policy], reward=rewards[item.reward])
            for item in found.advice
        ],
        judged={policies[name]: counts for name, counts in found.judged.items()},
    )


def _short(names: Sequence[str]) -> dict[str, str]:
    last = [Path(name).name or name for name in names]
    return dict(zip(names, last if len(set(last)) == len(names) else names, strict=True))


def _plain(text: str) -> Text:
    return Text(printable(text))


def _figures(cells: Sequence[Cell]) -> Table:
    """One column per reward model, the best teacher first."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("95 % intervals", no_wrap=True)
    for place, cell in enumerate(cells, 1):
        name = cell.reward if len(cells) == 1 else f"{place}. {cell.reward}"
        table.add_column(_plain(name), justify="right", overflow="fold")
    for figure in FIGURES:
        table.add_row(figure, *(shown(cell.figures[figure]) for cell in cells))
        if figure == "reward_variance":
            for number, name in enumerate(("minimum", "25 %", "median", "75 %", "maximum")):
                table.add_row(f"  {name}", *(_quantile(c.figures[figure], number) for c in cells))
    return table


def _quantile(figure: Figure, number: int) -> Text:
    return Text(f"{figure.quantiles[number]:.2f}" if figure.quantiles else "–", style="dim")


def _missing(cells: Sequence[Cell]) -> dict[str, list[str]]:
    """Names of figures that no value has, by reason."""
    reasons: dict[str, list[str]] = {}
    for cell in cells:
        for name, figure in cell.figures.items():
            if figure.missing and name not in reasons.setdefault(figure.missing, []):
                reasons[figure.missing].append(name)
    return reasons


def _grid(found: Diagnosis) -> Table:
    """Policies by reward models, the darker the higher within each figure."""
    table = Table(title="policy × reward model", header_style="dim", pad_edge=False)
    table.add_column("policy", overflow="fold")
    table.add_column("figure", no_wrap=True)
    for reward in found.rewards:
        table.add_column(_plain(reward), justify="right", overflow="fold")
    for name in GRID:
        for policy in found.policies:
            cells = [found.cell(policy, reward) for reward in found.rewards]
            table.add_row(
                _plain(policy), name, *(_shaded(found, name, cell.figures[name]) for cell in cells)
            )
    return table


def _shaded(found: Diagnosis, name: str, figure: Figure) -> Text:
    if figure.value is None:
        return Text("–")
    return Text(
        f" {figure.value:.2f} ", style=f"on grey{int(11 + 30 * shade(found, name, figure))}"
    )


def shade(found: Diagnosis, name: str, figure: Figure) -> float:
    """Place of a value between the lowest and the highest of the grid, in [0, 1]."""
    values = [v for cell in found.cells if (v := cell.figures[name].value) is not None]
    low, high = min(values), max(values)
    return 0.0 if figure.value is None or high == low else (figure.value - low) / (high - low)


def _advice(advice: Sequence[Advice]) -> Text:
    text = Text("\nWhat to do\n", style="bold")
    for item in advice:
        text.append(printable(f"{item.policy} with {item.reward}: {item.finding}\n"), "not bold")
        text.append(printable(f"  → {item.do} ({item.source})\n"), "not bold dim")
    return text
