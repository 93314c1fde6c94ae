"""Decontamination of a run: evaluation texts, what overlaps with them, and the report of it.

This is where verbs meet (seeds, verify, write), so it stands beside the pipeline.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seamaug.config import VerifyConfig
from seamaug.log import logger
from seamaug.records import Message
from seamaug.run.folder import whole_file
from seamaug.seeds import Seeds
from seamaug.seeds.texts import read_texts
from seamaug.verify.contamination import EvaluationTexts, Overlap, Place
from seamaug.verify.screen import CONTAMINATED

REPORT = "contamination.parquet"
_SCHEMA = pa.schema(
    [
        ("kind", pa.string()),
        ("id", pa.string()),
        ("where", pa.string()),
        ("part", pa.string()),
        ("file", pa.string()),
        ("row", pa.string()),
        ("words", pa.string()),
    ]
)
"""`kind` and `id` are a seed's or a candidate's, `where` the seed's place in its file; `part`
overlaps with `row` of the evaluation `file`, first in these `words`."""

Overlaps = dict[str, Overlap]
"""By part: prompt, chosen, rejected."""


def read_evaluation(config: VerifyConfig) -> EvaluationTexts | None:
    """The texts of the evaluation files that the config names; None where it names none.

    Raises InputError if one is missing, unreadable or without text.
    """
    if not config.decontaminate:
        return None
    rows = read_texts(config.decontaminate)
    return EvaluationTexts(((Place(file, row), text) for file, row, text in rows), config.ngram)


def overlapping_seeds(seeds: Seeds, evaluation: EvaluationTexts | None) -> dict[int, Overlaps]:
    """Seeds whose prompt or golden response overlaps with an evaluation text, by position."""
    if evaluation is None:
        return {}
    goldens = (text.as_py() for text in seeds.table["golden"])
    found = {}
    for position, (prompt, golden) in enumerate(zip(seeds.prompts(), goldens, strict=True)):
        if overlaps := _overlaps(evaluation, prompt, {"chosen": golden}):
            found[position] = overlaps
    logger.info(
        f"{len(found):,} of {len(seeds):,} seeds overlap with {len(evaluation):,} rows of the "
        "evaluation files and are not selected"
    )
    return found


def _overlaps(
    evaluation: EvaluationTexts, prompt: list[Message], responses: dict[str, str]
) -> Overlaps:
    found = {"prompt": evaluation.of_prompt(prompt)}
    found |= {part: evaluation.of_response(text) for part, text in responses.items()}
    return {part: overlap for part, overlap in found.items() if overlap is not None}


def write_report(
    folder: Path,
    evaluation: EvaluationTexts | None,
    seeds: Seeds,
    seed_overlaps: dict[int, Overlaps],
    parts: Iterable[pa.Table],
) -> None:
    """Say for each seed and candidate that was left out what it overlaps with, and where."""
    if evaluation is None:
        return
    rows = [*_seed_rows(seeds, seed_overlaps), *_candidate_rows(evaluation, parts)]
    with whole_file(folder / REPORT) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), temporary)


def _seed_rows(seeds: Seeds, found: dict[int, Overlaps]) -> Iterator[dict[str, Any]]:
    for seed, overlaps in zip(seeds.at(list(found)), found.values(), strict=True):
        for part, overlap in overlaps.items():
            yield {"kind": "seed", "id": seed.id, "where": seed.where, "part": part} | (
                overlap._asdict()
            )


def _candidate_rows(
    evaluation: EvaluationTexts, parts: Iterable[pa.Table]
) -> Iterator[dict[str, Any]]:
    for part in parts:
        for row in part.filter(pc.equal(part["reason"], CONTAMINATED)).to_pylist():
            responses = {name: row[name] for name in ("chosen", "rejected")}
            for name, overlap in _overlaps(evaluation, row["prompt"], responses).items():
                yield {"kind": "candidate", "id": row["id"], "where": "", "part": name} | (
                    overlap._asdict()
                )
