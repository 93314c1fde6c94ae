"""Tables for the terminal. Texts of seeds and models are shown as text, never as markup."""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from rich.bar import Bar
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from seamaug.plan import KEEP_SHARE, Plan
from seamaug.printable import printable
from seamaug.records import KEPT
from seamaug.report import funnel
from seamaug.report.funnel import funnel_steps
from seamaug.report.scores import WORST, score_summary
from seamaug.rounds import SATURATED
from seamaug.run.folder import REPLIES, read_part
from seamaug.storage import Place, remote
from seamaug.target import FILLED
from seamaug.units import Spend, human_count, human_seconds
from seamaug.write.datasets import PROVENANCE, dataset_file
from seamaug.write.summary import Summary, use_of_budget

_SHOWN_CHARS = 400
_LITTLE = 0.002
"""Share of SEAM that 5 % of a budget should lower at least, as it is foreseen."""
_SHOWN_BEST, _SHOWN_WORST = 5, 2
_BAR = 24
_COLORS = {funnel.WHOLE: "bright_black", funnel.KEPT: "blue", funnel.LOST: "yellow"}


def _console() -> Console:
    """A console that takes no text for markup or the name of an emoji."""
    return Console(markup=False, emoji=False)


def _plain(text: str) -> Text:
    return Text(printable(text))


def print_summary(place: Place, summary: Summary) -> None:
    """The funnel of a run, what it changed, and where its time went."""
    console = _console()
    what, share = use_of_budget(summary)
    done = "bold green" if summary["outcome"] in FILLED else "bold yellow"
    console.print(Text(f"\n{what} ({share:.0%}): {summary['outcome']}", style=done))
    console.print(_funnel(summary["counts"]))
    found = summary["kept"]
    if found["seam_before"] is not None:
        fall = 1 - found["seam_after"] / found["seam_before"]
        console.print(
            f"Mean SEAM ({summary['weighting']}) of what was kept: {found['seam_before']:.4f} for "
            f"the parents, {found['seam_after']:.4f} for the variants ({-fall:+.0%})"
        )
        if (foreseen := summary.get("foreseen", {})).get("curve"):
            console.print(_foreseen(foreseen, summary["outcome"]))
        console.print(_spending(summary["spending"]))
    if accounts := summary.get("generation"):
        console.print(_generation(accounts))
        if remote(place) is None and any(own["unreadable"] for own in accounts.values()):
            told = Text(f"What could not be read: {_unreadable(place)}", "dim")
            console.print(told, soft_wrap=True)  # to be copied whole
    console.print(_times(summary["times"]))
    console.print(Text(f"Datasets in {place}: sft, preference, prompts; why: {PROVENANCE}.parquet"))


def _funnel(counts: dict[str, Any]) -> Table:
    """Each step with its count, and a bar for its share of the rows, seeds or candidates."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    table.add_column(max_width=_BAR)
    for step in funnel_steps(counts):
        label = step.label if step.is_whole else f"  {step.label}"
        bar = Bar(1, 0, step.share, color=_COLORS[step.kind])
        table.add_row(label, f"{step.count:,}", _plain(step.note), bar)
    return table


def _spending(spent: dict[str, Any]) -> Table:
    """Where the budget went and what it bought: the operators and clusters that paid most, and
    those that paid least."""
    fall = "predicted fall of SEAM" if spent["predicted"] else "fall below the parents"
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("best and worst per token", "candidates", "kept", "tokens", fall, "per 1k tokens"):
        table.add_column(name, justify="right" if table.columns else "left")
    operators = [{"name": name, **own} for name, own in spent["operators"].items()]
    clusters = [{**own, "name": f"like: {own['cluster']}"} for own in spent["clusters"]]
    for rows in (operators, clusters):
        best, rest = rows[:_SHOWN_BEST], rows[_SHOWN_BEST:]
        for row in (*best, *rest[-_SHOWN_WORST:]):
            table.add_row(
                _plain(row["name"]),
                f"{row['candidates']:,}",
                f"{row['kept']:,}",
                human_count(row["tokens"]),
                f"{row['fall']:.3g}",
                f"{row['fall_per_1k_tokens'] or 0:.3g}",
            )
    return table


def _foreseen(foreseen: dict[str, Any], outcome: str) -> str:
    """What training the reward model on the kept examples is predicted to do."""
    first, last = foreseen["curve"][0], foreseen["curve"][-1]
    text = (
        f"Training the reward model on them is predicted to move SEAM of other seeds from "
        f"{_change(first['seam'], last['seam'])}, and the variance of its rewards from "
        f"{_change(first['variance'], last['variance'])} (rule {foreseen['rule']})"
    )
    if foreseen["last"]:
        count, share = foreseen["last"]
        text += f"; the last {count:,} examples lowered SEAM by {share:.1%}"
        if share < _LITTLE or outcome == SATURATED:
            text += ": more of them buy nothing"
    return text


def _change(first: float, last: float) -> str:
    return f"{first:.4f} to {last:.4f} ({last / first - 1 if first else 0:+.0%})"


def _generation(accounts: dict[str, dict[str, Any]]) -> Table:
    """What each operator of the LLM asked for, and what it took."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    names = ("LLM operator", "replies", "unreadable", "failed", "tokens read", "written", "USD")
    for name in names:
        table.add_column(name, justify="left" if name == "LLM operator" else "right")
    counts = ("requests", "unreadable", "failed", "prompt_tokens", "new_tokens")
    costs = [account["cost"] for account in accounts.values()]
    for name, account in accounts.items():
        table.add_row(Text(name), *(f"{account[c]:,}" for c in counts), _usd(account["cost"]))
    sums = (sum(account[count] for account in accounts.values()) for count in counts)
    table.add_row("all", *(f"{n:,}" for n in sums), _usd(None if None in costs else sum(costs)))
    return table


def _unreadable(place: Place) -> str:
    """A command that shows the replies of no use."""
    query = "SELECT operator, text FROM replies WHERE unreadable"
    return f'sqlite3 {shlex.quote(f"{place}/{REPLIES}")} "{query}"'


def _usd(cost: float | None) -> str:
    return "no prices" if cost is None else f"{cost:,.2f}"


def _times(times: dict[str, dict[str, float]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("stage")
    table.add_column("time", justify="right")
    table.add_column("of which")
    for stage, kinds in times.items():
        if (seconds := sum(kinds.values())) >= 0.05:
            parts = sorted(kinds.items(), key=lambda item: -item[1])
            shown = ", ".join(
                f"{kind} {t / seconds:.0%}" for kind, t in parts if t / seconds >= 0.01
            )
            table.add_row(stage, human_seconds(seconds), shown)
    total = sum(sum(kinds.values()) for kinds in times.values())
    table.add_row("all", human_seconds(total), "")
    return table


def print_examples(folder: Path, count: int) -> None:
    """Kept examples, one per parent, with different operators first: those that training is
    predicted to gain most from, or else whose own SEAM is farthest below the parent's."""
    console = _console()
    parents = {row["id"]: row["prompt"][-1]["content"] for row in _parents(folder)}
    for row in _most_instructive(folder, count):
        parent = parents.get(row["parent"])
        title = f"{row['operator']}   SEAM {row['seam_before']:.3f} → {row['seam_after']:.3f}"
        predicted = row["predicted_reduction"]
        foreseen = "" if predicted is None else f"mean SEAM lower by {predicted:.2g}"
        body = Group(
            _labelled("before", parent or "(its part file is gone)", "dim"),
            _labelled("after", row["prompt"][-1]["content"], ""),
            _labelled("chosen", row["chosen"], "green"),
            _labelled(f"rejected ({row['rejected_source']})", row["rejected"], "red"),
            *([_labelled("training on it, as predicted", foreseen, "dim")] if foreseen else []),
        )
        console.print(Panel(body, title=_plain(title), title_align="left"))


def _parents(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "stages" / "parents").glob("*.parquet"))
    return [row for file in files for row in read_part(file).select(["id", "prompt"]).to_pylist()]


def _most_instructive(folder: Path, count: int) -> list[dict[str, Any]]:
    numbers = read_part(dataset_file(folder, PROVENANCE))
    kept = np.flatnonzero(pc.equal(numbers["verdict"], KEPT).to_numpy())
    gain = numbers["predicted_reduction"]
    if gain.null_count == len(gain):
        gain = pc.subtract(numbers["seam_before"], numbers["seam_after"])
    gains = gain.to_numpy()[kept]
    chosen: list[int] = []
    seen: set[str] = set()
    ranked = [int(i) for i in kept[np.argsort(-gains, kind="stable")]]
    for unseen_operator in (True, False):  # second pass: whatever is left
        for i in ranked:
            parent, operator = numbers["parent"][i].as_py(), numbers["operator"][i].as_py()
            if len(chosen) == count:
                break
            if parent in seen or (unseen_operator and operator in seen):
                continue
            seen |= {parent, operator}
            chosen.append(i)
    rows: list[dict[str, Any]] = numbers.take(pa.array(chosen, pa.int64())).to_pylist()
    return rows


def _labelled(label: str, text: str, style: str) -> Text:
    shown = text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"
    return Text.assemble((printable(f"{label}: "), "bold"), (printable(shown), style))


def print_scores(table: Dataset, out: Place) -> None:
    """Quartiles of SEAM and of what it is made of; how far the estimators agree."""
    console = _console()
    found = score_summary(table)
    view = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("", "min", "25 %", "median", "75 %", "max"):
        view.add_column(name, justify="right" if name else "left")
    for name, cells in found["quartiles"].items():
        view.add_row(name.replace("_", " "), *(f"{cell:.3f}" for cell in cells))
    console.print(view)
    for estimator, shared in found["agreement"].items():
        console.print(
            f"of the worst {WORST:.0%} by {found['estimators'][0]}, {shared:.0%} are among the "
            f"worst {WORST:.0%} by {estimator} (by chance {WORST:.0%})"
        )
    console.print(Text(f"{found['scored']:,} seeds scored, {found['failed']:,} failed: {out}"))


def _llm(plan: Plan) -> str:
    cost = "" if plan.cost is None else f", {plan.cost:,.2f} USD"
    return (
        f"The LLM gets about {plan.generator_calls:,} requests, with {human_count(plan.read)} "
        f"tokens to read and about {human_count(plan.written)} to write{cost}; the time leaves "
        "them out. "
    )


def _yield(plan: Plan) -> str:
    pilot = plan.pilot
    how = f"Candidates assume that {KEEP_SHARE:.0%} are kept. "
    if pilot:
        how = (
            f"Of {pilot.candidates:,} candidates of a pilot {pilot.share:.0%} were kept (95 % "
            f"interval {pilot.low:.0%} to {pilot.high:.0%}). "
        )
    return how + f"{plan.candidates:,} candidates are to give {plan.kept:,} examples. "


def _aim(plan: Plan) -> str:
    budget = plan.budget
    return f"{budget} to spend" if isinstance(budget, Spend) else f"{budget:,} to keep"


def print_plan(plan: Plan) -> None:
    """What a run would do."""
    console = _console()
    view = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("stage", "rows", "calls per model", "tokens", "time"):
        view.add_column(name, justify="left" if name == "stage" else "right")
    for step in plan.steps:
        view.add_row(
            step.stage,
            f"{step.rows:,}",
            f"{step.calls:,}",
            human_count(step.tokens),
            human_seconds(step.seconds),
        )
    console.print(view)
    console.print(
        f"{plan.rows:,} rows, {plan.seeds:,} different prompts, {plan.selected:,} selected, "
        f"{_aim(plan)}; about {human_seconds(plan.seconds)} at the speed just measured"
    )
    console.print(
        _yield(plan)
        + (_llm(plan) if plan.generator_calls else "")
        + "Nothing was written."
    )  # fmt: skip
