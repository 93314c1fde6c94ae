"""A diagnosis as one page that asks nothing of a network."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2

from seamaug.diagnosis.result import FIGURES, Cell, Diagnosis
from seamaug.printable import printable
from seamaug.report.diagnosis import GRID, RANKED, shade, shown, with_short_names
from seamaug.run.folder import whole_file

_TEMPLATE = Path(__file__).parent / "diagnosis.html.jinja"
_LISTED = 20
_PER_PROMPT = ("reward_variance", "on_policy_accuracy", "seam_prob", "hack_rate", "conflict")
_CHARACTERS = 300


def write_page(found: Diagnosis, out: Path) -> None:
    """Write the page; raises RunFolderError where that cannot be done."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    found = with_short_names(found)
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    text = template.render(
        found=found,
        titles=FIGURES,
        ranked=RANKED,
        shown=shown,
        grids=[_heat_map(found, name) for name in GRID] if len(found.cells) > 1 else [],
        prompts=[_prompts(found, cell) for cell in found.cells],
        per_prompt=_PER_PROMPT,
    )
    with whole_file(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _heat_map(found: Diagnosis, name: str) -> dict[str, Any]:
    """Places and shades of an SVG's cells."""
    rows = [
        [found.cell(policy, reward).figures[name] for reward in found.rewards]
        for policy in found.policies
    ]
    return {
        "name": name,
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
