"""Preference pairs: rows as they are, none merged, each with what it says of its label."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.records import Message
from seamaug.seeds.bad_rows import Sieve
from seamaug.seeds.columns import Layouts
from seamaug.seeds.layouts import FieldError

MARGIN, SMOOTHING = "margin", "smoothing"


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
    source: str
    licence: str
    where: str


def read_pairs(config: SeedsConfig, rows: Iterable[dict[str, Any]] | None = None) -> Iterator[Pair]:
    """A pair for each rejected response of each row, in order.

    rows: in memory; None reads the configured paths. Bad rows are dealt with as in `read_seeds`.
    """
    layouts = Layouts(dict(config.columns))
    sieve = Sieve()
    for pairs in sieve.each(config, rows, lambda row, where: _pairs(row, where, layouts)):
        yield from pairs
    if sieve.read == sieve.bad:
        raise InputError(f"{', '.join(config.paths)}: there are no rows to use")


def _pairs(row: dict[str, Any], where: str, layouts: Layouts) -> list[Pair]:
    seed = layouts.seed(row, where)
    if not seed.worse:
        raise FieldError(
            "there is no rejected response, or it equals the chosen one; remove the row, or name "
            "the column with --column worse=NAME"
        )
    margin, smoothing = (number_of(row, name) for name in (MARGIN, SMOOTHING))
    return [
        Pair(
            prompt=seed.prompt,
            chosen=seed.golden,
            rejected=rejected,
            margin=margin,
            smoothing=smoothing,
            row=row,
            source=seed.source,
            licence=seed.licence,
            where=where,
        )
        for rejected in seed.worse
    ]


def number_of(row: dict[str, Any], name: str) -> float | None:
    """What a row says under MARGIN or SMOOTHING; None where it does not. Raises FieldError."""
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
