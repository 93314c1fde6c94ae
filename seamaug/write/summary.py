"""run.json: what a run was and did."""

import json
from pathlib import Path
from typing import Any

from seamaug.errors import RunFolderError
from seamaug.run.folder import whole_file
from seamaug.units import Spend, parse_budget

Summary = dict[str, Any]
"""outcome, budget, weighting, counts, discrepancy, decontamination, kept, foreseen, generation,
reward_scores, models, licences, versions, config, times."""

_SHOWN = {"outcome", "budget", "weighting", "counts", "kept", "times"}


def use_of_budget(summary: Summary) -> tuple[str, float]:
    """What a run has of its budget: in words, and as a share."""
    kept, budget = summary["counts"]["candidates"]["kept"], parse_budget(summary["budget"])
    if not isinstance(budget, Spend):
        return f"{kept:,} of {budget:,} examples kept", kept / budget
    accounts = summary["generation"].values()
    if budget.cost is not None:
        spent = sum(own["cost"] for own in accounts)
        told = f"{spent:,.2f} of {budget.cost:,.2f} USD"
    else:
        spent = sum(own["prompt_tokens"] + own["new_tokens"] for own in accounts)
        told = f"{spent:,} of {budget.tokens:,} tokens"
    return f"{kept:,} examples kept, {told} spent", spent / budget.amount


def write_summary(folder: Path, summary: Summary) -> None:
    """Write run.json, last of all files: its presence says that the others are whole."""
    with whole_file(folder / "run.json") as temporary:
        temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")


def read_summary(folder: Path) -> Summary | None:
    """run.json of a finished run, or None."""
    try:
        summary: Summary = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise RunFolderError(f"{folder / 'run.json'} cannot be read: {error}") from None
    if (
        not isinstance(summary, dict)
        or not {"outcome", "counts", "kept", "times"} <= summary.keys()
    ):
        raise RunFolderError(
            f"{folder / 'run.json'} is not what `seamaug expand` wrote; remove it and run the same "
            "command again: it is made anew from the finished parts"
        )
    return summary


def stored_summary(folder: Path) -> Summary:
    """run.json; raises RunFolderError that says whether the run is unfinished or no run."""
    summary = read_summary(folder)
    if summary is not None:
        return summary
    if (folder / "stages").is_dir():
        raise RunFolderError(f"{folder} is not finished: run its expand command again to resume it")
    raise RunFolderError(f"{folder} is not a run folder that `seamaug expand` wrote")
