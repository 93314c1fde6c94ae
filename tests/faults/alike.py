"""What a run that went on in smaller batches has in common with the undisturbed one.

Smaller batches round otherwise, in the seventh digit of float32. And where the policy writes in
smaller batches it draws other texts from the same seed: what follows from these is then another.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tests.faults.scene import parts_in, summary

TOLERANCE = 1e-4
"""Nats of a response, logits of a reward, and what follows from them. With batches of 500 down to
16 tokens 6e-6 at most were measured."""
_OF_DRAWS = ("worse", "worse_sources", "verifiers", "verifier_scores", "seams")
"""Columns of a parent that depend on what the policy wrote."""
_OF_TEXTS = ("prompt", "chosen", "operator", "neighbours", "logprob_chosen")
"""Columns of a candidate that do not."""

Rows = list[dict[str, Any]]


def unlike(out: Path, whole: Path, *, draws: bool) -> str:
    """What is wrong with a finished run; empty if nothing is. `draws`: others may be drawn."""
    found = list(_wrong_counts(out, whole))
    found.append(_difference(_stored(out, "score-contrast"), _stored(whole, "score-contrast")))
    parents, expected = _stored(out, "parents"), _stored(whole, "parents")
    made, undisturbed = _candidates(out), _candidates(whole)
    if draws and not _drew_alike(out, whole):
        parents, expected = (_without(rows, _OF_DRAWS) for rows in (parents, expected))
        both = {row["id"] for row in made} & {row["id"] for row in undisturbed}
        found.append("" if both else "no candidate is in both runs")
        made, undisturbed = (_texts_of(rows, both) for rows in (made, undisturbed))
    found += [_difference(parents, expected), _difference(made, undisturbed)]
    return "; ".join(filter(None, found))


def _wrong_counts(out: Path, whole: Path) -> Iterator[str]:
    counts, expected = summary(out)["counts"], summary(whole)["counts"]
    for name in ("total", "scored", "failed", "selected"):
        if counts["seeds"][name] != expected["seeds"][name]:
            yield f"seeds, {name}: {counts['seeds'][name]}, not {expected['seeds'][name]}"
    own = counts["candidates"]
    ends = own["kept"] + sum(own["rejected"].values())
    if own["failed"] or own["total"] != ends or own["kept"] != expected["candidates"]["kept"]:
        yield f"candidates: {own}"
    rows = len(_candidates(out)), pq.read_metadata(out / "sft/train.parquet").num_rows
    if rows != (own["total"], own["kept"]):
        yield f"rows of provenance and sft: {rows}, counted: {own}"


def _stored(out: Path, stage: str) -> Rows:
    return [row for path in parts_in(out, stage) for row in pq.read_table(path).to_pylist()]


def _candidates(out: Path) -> Rows:
    return list(pq.read_table(out / "provenance.parquet").to_pylist())


def _drew_alike(out: Path, whole: Path) -> bool:
    """Whether the policy wrote the same texts, for parents and to watch the reward variance."""

    def drawn(folder: Path) -> list[Any]:
        watched = [row["features"] for row in _stored(folder, "on-policy")]
        return [
            [row["worse"] for row in _stored(folder, "parents")],
            [np.frombuffer(features, np.float32).tolist() for features in watched],
        ]

    return not _difference(drawn(out), drawn(whole))


def _without(rows: Rows, names: tuple[str, ...]) -> Rows:
    return [{name: row[name] for name in row if name not in names} for row in rows]


def _texts_of(rows: Rows, ids: set[str]) -> Rows:
    some = sorted((row for row in rows if row["id"] in ids), key=lambda row: str(row["id"]))
    return [{name: row[name] for name in _OF_TEXTS} for row in some]


def _difference(mine: Any, theirs: Any, where: str = "") -> str:
    """Where two nested values first differ by more than the tolerance; empty if nowhere."""
    if isinstance(mine, dict) and isinstance(theirs, dict) and mine.keys() == theirs.keys():
        pairs = [(mine[name], theirs[name], f"{where}.{name}") for name in mine]
    elif isinstance(mine, list) and isinstance(theirs, list) and len(mine) == len(theirs):
        pairs = [(a, b, f"{where}[{i}]") for i, (a, b) in enumerate(zip(mine, theirs, strict=True))]
    elif isinstance(mine, float) and isinstance(theirs, float):
        alike = math.isclose(mine, theirs, rel_tol=0, abs_tol=TOLERANCE)
        return "" if alike else f"{where}: {mine}, not {theirs}"
    else:
        return "" if mine == theirs else f"{where}: {str(mine)[:100]!r}, not {str(theirs)[:100]!r}"
    return next(filter(None, (_difference(*pair) for pair in pairs)), "")
