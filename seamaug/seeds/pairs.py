"""Preference pairs: rows as they are, none merged, each with what it says of its label."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.records import Message
from seamaug.seeds.columns import FieldError, Layouts
from seamaug.seeds.table import located_rows

MARGIN, SMOOTHING = "margin", "smoothing"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with a chosen and a rejected response."""

    prompt: list[Message]
    chosen: str
    rejected: str
    margin: float | None
    """By how much the chosen one is better, in units of reward; None where the row does not say."""
    smoothing: float | None
    """Share of the label that goes to the rejected one: 0 none, 1 all; None likewise."""
    row: dict[str, Any]
    """The row itself."""
    where: str


def read_pairs(config: SeedsConfig, rows: Iterable[dict[str, Any]] | None = None) -> Iterator[Pair]:
    """A pair for each rejected response of each row, in order.

    rows: in memory; None reads the configured paths. Raises InputError, after the last row, that
    lists the bad ones with file, line, field and fix.
    """
    layouts = Layouts(dict(config.columns))
    problems: list[str] = []
    bad = count = 0
    for where, row in located_rows(config, rows):
        count += 1
        try:
            seed = layouts.seed(row, where)
            if not seed.worse:
                raise FieldError(
                    "there is no rejected response, or it equals the chosen one; remove the row, "
                    "or name the column with --column worse=NAME"
                )
            margin, smoothing = (_number(row, name) for name in (MARGIN, SMOOTHING))
        except FieldError as error:
            bad += 1
            if len(problems) < _SHOWN:
                problems.append(f"{where}: {error}")
            continue
        for rejected in seed.worse:
            yield Pair(seed.prompt, seed.golden, rejected, margin, smoothing, row, where)
    if bad:
        more = f"\n... and {bad - len(problems):,} more" if bad > len(problems) else ""
        raise InputError(f"{bad:,} of {count:,} rows are no pairs:\n" + "\n".join(problems) + more)
    if not count:
        raise InputError(f"{', '.join(config.paths)}: there are no rows")


def _number(row: dict[str, Any], name: str) -> float | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise FieldError(f"field {name!r} must be a number, not {value!r}") from None
    if not math.isfinite(number) or (name == SMOOTHING and not 0 <= number <= 1):
        bounds = "between 0 and 1" if name == SMOOTHING else "finite"
        raise FieldError(f"field {name!r} must be {bounds}, not {value!r}")
    return number
