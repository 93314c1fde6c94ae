"""Decontamination of a run: evaluation texts, what overlaps with them, and the report of it.

This is where verbs meet (seeds, verify, write), so it stands beside the pipeline.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
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

_AT_ONCE = 1_000
"""Rows that are held of the report, and seeds of which they are made."""

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


class Decontamination:
    """What overlaps with the evaluation texts; nothing where there are none."""

    def __init__(
        self, config: VerifyConfig, evaluation: EvaluationTexts | None, seeds: Seeds
    ) -> None:
        self._config = config
        self._evaluation = evaluation
        self._seeds = seeds
        self.contaminated: list[int] = []
        """Positions of seeds whose prompt or golden response overlaps."""
        if evaluation is not None:
            self.contaminated = list(_contaminated(seeds, evaluation))
            logger.info(
                f"{len(self.contaminated):,} of {len(seeds):,} seeds overlap with the evaluation "
                f"files ({len(evaluation):,} rows) and are not selected"
            )

    def summary(self) -> dict[str, Any] | None:
        """For run.json: what the run was decontaminated against."""
        if self._evaluation is None:
            return None
        files = sorted({Path(name).name for name in self._config.decontaminate})
        return {"files": files, "rows": len(self._evaluation), "ngram": self._config.ngram}

    def write_report(self, folder: Path, parts: Iterable[pa.Table]) -> None:
        """Say for each seed and candidate that was left out what it overlaps with, and where."""
        if self._evaluation is None:
            return
        rows = chain(
            _seed_rows(self._evaluation, self._seeds, self.contaminated),
            _candidate_rows(self._evaluation, parts),
        )
        with (
            whole_file(folder / REPORT) as temporary,
            pq.ParquetWriter(temporary, _SCHEMA) as writer,
        ):
            while some := list(islice(rows, _AT_ONCE)):
                writer.write_table(pa.Table.from_pylist(some, _SCHEMA))


def _contaminated(seeds: Seeds, evaluation: EvaluationTexts) -> Iterator[int]:
    goldens = (text.as_py() for text in seeds.table["golden"])
    for position, (prompt, golden) in enumerate(zip(seeds.prompts(), goldens, strict=True)):
        if _overlaps(evaluation, prompt, {"chosen": golden}):
            yield position


def _overlaps(
    evaluation: EvaluationTexts, prompt: list[Message], responses: dict[str, str]
) -> Overlaps:
    found = {"prompt": evaluation.of_prompt(prompt)}
    found |= {part: evaluation.of_response(text) for part, text in responses.items()}
    return {part: overlap for part, overlap in found.items() if overlap is not None}


def _seed_rows(
    evaluation: EvaluationTexts, seeds: Seeds, positions: list[int]
) -> Iterator[dict[str, Any]]:
    for start in range(0, len(positions), _AT_ONCE):
        for seed in seeds.at(positions[start : start + _AT_ONCE]):
            overlaps = _overlaps(evaluation, seed.prompt, {"chosen": seed.golden})
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
