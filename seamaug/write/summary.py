"""run.json: what a run was and did."""

import json
from pathlib import Path
from typing import Any

from seamaug.errors import RunFolderError
from seamaug.run.folder import whole_file

Summary = dict[str, Any]
"""outcome, budget, weighting, counts, discrepancy, decontamination, kept, foreseen, generation,
reward_scores, models, licences, versions, config, times."""

_SHOWN = {"outcome", "budget", "weighting", "counts", "kept", "times"}


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
