"""A diagnosis as a page of its own, and as a section of a run's report."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from seamaug.diagnosis.result import FIGURES, Cell, Diagnosis
from seamaug.errors import InputError
from seamaug.places import written
from seamaug.report.diagnosis import GRID, RANKED, shade, shown, with_short_names
from seamaug.report.html import render
from seamaug.storage import Place

_LISTED = 20
_PER_PROMPT = ("reward_variance", "on_policy_accuracy", "seam_prob", "hack_rate", "conflict")
_CHARACTERS = 300


def write_page(found: Diagnosis, out: Place) -> None:
    """Write the page; raises RunFolderError or StorageError where that cannot be done."""
    found = with_short_names(found)
    text = render(
        "diagnosis.html.jinja",
        **_shared(found),
        prompts=[_prompts(found, cell) for cell in found.cells],
        per_prompt=_PER_PROMPT,
    )
    with written(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def section(found: Diagnosis, models: Mapping[str, Any]) -> dict[str, Any]:
    """What a run's report shows of a diagnosis; `models` are those of the run, by role."""
    known = {"policy": found.policies, "reward": found.rewards}
    absent = [
        f"{role} {models[role]['name']}"
        for role, names in known.items()
        if models[role]["name"] not in names
    ]
    return {**_shared(with_short_names(found)), "absent": absent}


def read_diagnosis(path: str | Path) -> Diagnosis:
    """A diagnosis from the JSON that `seamaug diagnose --json` prints; raises InputError."""
    try:
        return Diagnosis.from_dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise InputError(
            f"{path} is no diagnosis: give what `seamaug diagnose --json` prints"
        ) from None


def _shared(found: Diagnosis) -> dict[str, Any]:
    """What both pages show."""
    grids = [_heat_map(found, name) for name in GRID] if len(found.cells) > 1 else []
    return {"found": found, "grids": grids, "titles": FIGURES, "ranked": RANKED}


def _heat_map(found: Diagnosis, name: str) -> dict[str, Any]:
    """Places and shades of an SVG's cells."""
    rows = [
        [found.cell(policy, reward).figures[name] for reward in found.rewards]
        for policy in found.policies
    ]
    return {
        "title": FIGURES[name],
        "rows": [
            [
                {
                    "text": "–" if figure.value is None else f"{figure.value:.2f}",
                    "shade": f"{0.08 + 0.62 * shade(found, name, figure):.2f}",
                    "title": shown(figure),
                }
                for figure in row
            ]
            for row in rows
        ],
    }


def _prompts(found: Diagnosis, cell: Cell) -> dict[str, Any]:
    """The prompts on which a pair is worst, by its own numbers."""
    flattest = _ordered(cell, "reward_variance", 1)
    return {
        "cell": cell,
        "worst": list(_rows(found, cell, _ordered(cell, "seam_prob", -1))),
        "flattest": list(_rows(found, cell, flattest)),
    }


def _ordered(cell: Cell, name: str, sign: int) -> list[int]:
    values = cell.per_prompt[name]
    known = [place for place, value in enumerate(values) if not math.isnan(value)]
    return sorted(known, key=lambda place: sign * values[place])[:_LISTED]


def _rows(found: Diagnosis, cell: Cell, places: list[int]) -> Iterator[dict[str, Any]]:
    for place in places:
        prompt = found.prompts[place]
        values = (cell.per_prompt[name][place] for name in _PER_PROMPT)
        yield {
            "where": prompt.where,
            "text": prompt.text[:_CHARACTERS],
            "values": ["–" if math.isnan(value) else f"{value:.2f}" for value in values],
        }
