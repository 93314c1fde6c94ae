"""Scores as tables: one row per prompt, or one per response."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.json as pa_json
import pyarrow.parquet as pq
from datasets import Dataset

from seamaug.config import ScoreConfig
from seamaug.errors import InputError
from seamaug.places import file_here
from seamaug.records import Evidence, Seed
from seamaug.scoring.seam import Discrepancy, mean_logprobs, misjudgements
from seamaug.scoring.seeds import EstimatorScores, ScoredSet, SeedScores
from seamaug.seeds import Seeds
from seamaug.seeds.parquet import batches
from seamaug.storage import Place

_AT_ONCE = 1000
_SHARED = ("golden_reward", "golden_logprob")
"""Parts of a discrepancy that do not depend on the estimator."""


def prefix_of(estimator: str) -> str:
    """What an estimator's columns begin with."""
    return estimator.replace("-", "_") + "_"


def score_table(seeds: Seeds, scores: SeedScores, config: ScoreConfig) -> pa.Table:
    """One row per seed: SEAM under the first estimator and the weighting, then all that it is of.

    Columns that begin with an estimator's name are its own. `error` says why where a seed has no
    scores.
    """
    return _table(_rows(seeds, scores, config))


def _rows(seeds: Seeds, scores: SeedScores, config: ScoreConfig) -> Iterator[dict[str, Any]]:
    for position, seed in enumerate(_each(seeds)):
        yield _row(position, seed, scores, config)


def _each(seeds: Seeds) -> Iterator[Seed]:
    """All seeds, a few of them as Python objects at a time."""
    for start in range(0, len(seeds), _AT_ONCE):
        yield from seeds.at(range(start, min(start + _AT_ONCE, len(seeds))))


def _table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """The rows, a few of them as Python objects at a time."""
    tables, left = [], iter(rows)
    while some := list(islice(left, _AT_ONCE)):
        tables.append(pa.table({name: [row[name] for row in some] for name in some[0]}))
    # A column may hold nothing in one of them.
    return pa.concat_tables(tables, promote_options="default")


def _row(position: int, seed: Seed, scores: SeedScores, config: ScoreConfig) -> dict[str, Any]:
    main = scores.main.item(position)
    own = [_described(position, found, scores, config) for found in scores.by_estimator.values()]
    first = own[0]
    prefix = prefix_of(scores.main.name)
    row: dict[str, Any] = {
        "id": seed.id,
        "where": seed.where,
        "prompt": seed.prompt,
        "golden": seed.golden,
        "seam": main.under(config.weighting) if main else None,
        "seam_low": first[f"{prefix}low"],
        "seam_high": first[f"{prefix}high"],
        **{name: getattr(main, name) if main else None for name in _SHARED},
        "error": scores.errors.get(position),
    }
    for described in own:
        row |= described
    return row


_PARTS = [name for name in Discrepancy.__dataclass_fields__ if name not in _SHARED]


def _described(
    position: int, found: EstimatorScores, scores: SeedScores, config: ScoreConfig
) -> dict[str, Any]:
    item = found.item(position)
    parts: dict[str, Any]
    if item is None:
        parts = dict.fromkeys((*_PARTS, "low", "high", "worst_response"))
    else:
        row = found.row(position)
        low, high = row.interval(scores.scale, config.weighting, seed=position)
        parts = {name: value for name, value in asdict(item).items() if name not in _SHARED}
        parts |= {"low": low, "high": high, "worst_response": _worst(row, scores)}
    prefix = prefix_of(found.name)
    return {f"{prefix}{name}": value for name, value in parts.items()} | {
        f"{prefix}error": found.errors.get(position)
    }


def _worst(row: ScoredSet, scores: SeedScores) -> str | None:
    return next((row.worse[i] for i in row.worst(scores.scale)), None)


def response_table(seeds: Seeds, scores: SeedScores) -> pa.Table:
    """One row per scored response of each prompt and estimator; the golden one comes first.

    `logprob` is a sum in nats over `tokens`; `rewards` are one raw score per reward model;
    `misjudgement` is in standard deviations and 0 for the golden response.
    """
    return _table(
        row for found in scores.by_estimator.values() for row in _responses(seeds, found, scores)
    )


def _responses(
    seeds: Seeds, found: EstimatorScores, scores: SeedScores
) -> Iterator[dict[str, Any]]:
    for position, seed in enumerate(_each(seeds)):
        if position in found.errors:
            continue
        row = found.row(position)
        eps = np.append(0.0, misjudgements(row.scores, scores.scale))
        per_token = mean_logprobs(row.scores)
        worse = zip(row.worse, row.kinds, row.evidence, row.counts, strict=True)
        for i, made in enumerate([(seed.golden, "golden", Evidence(""), 1), *worse]):
            text, kind, evidence, count = made
            yield {
                "id": seed.id,
                "estimator": found.name,
                "role": "worse" if i else "golden",
                "response": text,
                "kind": kind,
                "verifier": evidence.verifier,
                "verifier_score": evidence.score,
                "count": int(count),
                "logprob": row.scores.logprobs[i],
                "tokens": row.scores.tokens[i],
                "logprob_per_token": float(per_token[i]),
                "rewards": [values[i] for values in row.scores.rewards],
                "misjudgement": float(eps[i]),
            }


def read_scores(source: str | Path | Dataset, column: str) -> dict[str, float]:
    """A column of a score table by seed id, from the table or its file; NaN where it has none.

    Raises InputError if the file or the column is not there, or the column holds no number.
    """
    name = "the scores" if isinstance(source, Dataset) else str(source)
    table = source.with_format("arrow")[:] if isinstance(source, Dataset) else _table_of(source)
    try:
        return _by_id(table, name, column)
    except UnicodeError as error:
        raise InputError(f"{name} holds text that is no UTF-8: {error}; write it anew") from None


def _by_id(table: pa.Table, name: str, column: str) -> dict[str, float]:
    if missing := {"id", column} - set(table.column_names):
        numbers = [c for c in table.column_names if "seam" in c]
        raise InputError(
            f"{name} has no column {' or '.join(sorted(missing))}; columns with SEAM: "
            f"{', '.join(numbers) or 'none: is it what `seamaug score` wrote?'}"
        )
    try:
        found = [math.nan if value is None else float(value) for value in table[column].to_pylist()]
    except (TypeError, ValueError):
        raise InputError(f"{name}: column {column} does not hold numbers") from None
    if all(map(math.isnan, found)):
        raise InputError(f"{name}: column {column} holds no number: no prompt was scored")
    return dict(zip(table["id"].to_pylist(), found, strict=True))


def scores_by_id(seeds: Seeds, scores: str | Path | Dataset, column: str) -> dict[str, float]:
    """A column of the scores by seed id; raises InputError where a seed is not among them."""
    found = read_scores(scores, column)
    if missing := [seed_id for seed_id in seeds.ids if seed_id not in found]:
        name = "the scores" if isinstance(scores, Dataset) else str(scores)
        raise InputError(
            f"{len(missing):,} of {len(seeds):,} prompts are not in {name}, the first one at "
            f"{seeds[seeds.ids.index(missing[0])].where}; score these seeds first"
        )
    return found


def _table_of(place: Place) -> pa.Table:
    with file_here(place) as path:
        read = _READERS.get(path.suffix)
        if read is None or not path.is_file():
            raise InputError(
                f"{place}: no such file of scores; `seamaug score SEEDS --out scores.parquet` "
                "writes one"
            )
        try:
            return read(path)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{place} cannot be read: {error}") from None


def _parquet(path: Path) -> pa.Table:
    found = list(batches(path, str(path)))
    return pa.Table.from_batches(found) if found else pq.read_schema(path).empty_table()


_BLOCK = 1 << 26  # bytes: a row has to fit into one
_READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".parquet": _parquet,
    ".jsonl": lambda path: pa_json.read_json(path, pa_json.ReadOptions(block_size=_BLOCK)),
    ".csv": lambda path: pa_csv.read_csv(
        path,
        pa_csv.ReadOptions(block_size=_BLOCK),
        pa_csv.ParseOptions(newlines_in_values=True),
        pa_csv.ConvertOptions(column_types={"id": pa.string()}),  # hex digits may look like 12e4
    ),
}
