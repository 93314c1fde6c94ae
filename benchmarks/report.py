"""Targets against what was measured, and the tables that show it."""

from typing import Any

from rich.console import Console
from rich.table import Table

# (what is faster, than what, target on the short workload, on the long one). "default" stands for
# the harness in the precision that it takes by itself. None: shown, with no target.
POLICY_RATIOS = (
    ("seamaug float32", "hflm float32", 1.7, 4.0),
    ("seamaug auto", "hflm default", 5.0, 10.0),
    ("seamaug auto", "published", 6.0, 20.0),
    ("seamaug float32", "published", None, None),
    ("seamaug auto", "hflm bfloat16", None, None),
    ("seamaug bfloat16", "hflm bfloat16", None, None),
)
REWARD_RATIOS = (
    ("seamaug float32", "pipeline, one at a time", 5.0, 5.0),
    ("seamaug float32", "padded batches", 2.0, 2.0),
    ("seamaug auto", "pipeline, one at a time", None, None),
    ("seamaug auto", "padded batches", None, None),
)
MATMUL_SHARE, MEMORY_GIB = 0.5, 1.5
TARGET_SHAPE = "135M"
"""The targets were set for this shape; the other models' figures stand beside them."""


def ratios(model: str, workload: str, role: str, part: dict[str, Any]) -> list[dict[str, Any]]:
    """Each ratio of medians that the engines which ran allow."""
    engines = part["engines"]
    names = {
        "hflm default": f"hflm {part.get('hflm_default')}",
        "padded batches": _fastest(engines, "padded batches"),
    }
    found = []
    for ours, theirs, short, long in POLICY_RATIOS if role == "policy" else REWARD_RATIOS:
        peer = names.get(theirs, theirs)
        if ours not in engines or peer not in engines:
            continue
        medians = [engines[name]["seconds"]["median"] for name in (peer, ours)]
        target = {"short": short, "long": long}[workload] if model == TARGET_SHAPE else None
        found.append(
            _line(
                f"{model}, {workload}, {role}: {ours} over {theirs}",
                target,
                round(medians[0] / medians[1], 2),
                at_least=True,
            )
        )
    for ours, efficiency in part.get("efficiency", {}).items():
        what = f"{model}, {workload}, {role}: {ours}, useful work / rate of its matmuls"
        target = MATMUL_SHARE if model == TARGET_SHAPE and role == "policy" else None
        found.append(_line(what, target, efficiency["share"], at_least=True))
    return found


def memory_lines(memory: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """GiB above the loaded model, per precision."""
    return [
        _line(
            f"GiB above the loaded model: {item['asked']} ({item['dtype']}), "
            f"{item['batch_tokens']:,} tokens, vocabulary {item['vocabulary']:,}",
            MEMORY_GIB,
            item["peak_above_loading_gib"],
            at_least=False,
        )
        for item in memory
    ]


def _fastest(engines: dict[str, Any], kind: str) -> str:
    found = [name for name in engines if name.startswith(kind)]
    return min(found, key=lambda name: engines[name]["seconds"]["median"], default=kind)


def _line(what: str, target: float | None, measured: float, *, at_least: bool) -> dict[str, Any]:
    met = None if target is None else (measured >= target if at_least else measured <= target)
    return {
        "what": what,
        "target": target,
        "is": "at least" if at_least else "at most",
        "measured": measured,
        "met": met,
    }


def show(result: dict[str, Any], console: Console) -> None:
    """The results as tables: engines by workload, then the ratios."""
    for model, workloads in result["models"].items():
        for workload, parts in workloads.items():
            for role in ("policy", "reward"):
                if role in parts:
                    console.print(_engines(f"{model}, {workload}, {role}", parts[role]))
    console.print(_targets(result["targets"]))


def _engines(title: str, part: dict[str, Any]) -> Table:
    table = Table(title=f"{title}: {part['rows']} responses to {part['prompts']} prompts")
    for heading in ("engine", "median s", "min – max", "runs", "max |difference|"):
        table.add_column(heading, justify="left" if heading == "engine" else "right")
    for name, item in part["engines"].items():
        seconds = item["seconds"]
        label = f"{name}, batch {item['batch_size']}" if "batch_size" in item else name
        table.add_row(
            label,
            f"{seconds['median']:.2f}",
            f"{seconds['min']:.2f} – {seconds['max']:.2f}",
            str(item["runs"]),
            f"{item['max_difference']:.1e}",
        )
    return table


def _targets(lines: list[dict[str, Any]]) -> Table:
    table = Table(title="targets")
    for heading in ("what", "target", "measured"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for line in lines:
        target = "" if line["target"] is None else f"{line['is']} {line['target']:g}"
        colour = {True: "green", False: "red", None: "default"}[line["met"]]
        table.add_row(line["what"], target, f"[{colour}]{line['measured']:g}[/]")
    return table
