"""SFT, preference and prompt datasets in TRL's canonical columns, and the provenance beside them.

Rows stream from the finished parts, so memory does not grow with the run.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seamaug.log import logger
from seamaug.records import KEPT, MESSAGES, Candidate, Message
from seamaug.run.folder import whole_file
from seamaug.run.seal import check, seal

DATASETS = ("sft", "preference", "prompts")
PROVENANCE = "provenance"

_SCHEMAS = {
    "sft": pa.schema([("messages", MESSAGES)]),
    "preference": pa.schema([("chosen", MESSAGES), ("rejected", MESSAGES)]),
    "prompts": pa.schema([("prompt", MESSAGES)]),
    PROVENANCE: pa.schema([("row", pa.int64()), *Candidate.SCHEMA]),
}
"""`row` is a kept candidate's row in each of the three datasets, null for the others."""


def dataset_file(folder: Path, name: str) -> Path:
    """Where a dataset, or the provenance, lies in a run folder."""
    return folder / (f"{name}.parquet" if name == PROVENANCE else f"{name}/train.parquet")


def is_written(folder: Path) -> bool:
    """Whether the datasets and the provenance are all there, as they were written."""
    for name in _SCHEMAS:
        path = dataset_file(folder, name)
        try:
            check(path)
        except OSError as error:
            logger.warning(f"{path} is missing or damaged ({error})")
            return False
    return True


def write_datasets(folder: Path, parts: Iterable[pa.Table]) -> None:
    """Write the three datasets and the provenance; each file appears whole or not at all."""
    with ExitStack() as stack:
        writers = {}
        for name, schema in _SCHEMAS.items():
            temporary = stack.enter_context(whole_file(dataset_file(folder, name)))
            writers[name] = (temporary, schema)
        _fill(writers, parts)
        for temporary, _ in writers.values():
            seal(temporary)


def _fill(targets: dict[str, tuple[Path, pa.Schema]], parts: Iterable[pa.Table]) -> None:
    row = 0
    with ExitStack() as stack:
        writers = {
            name: stack.enter_context(pq.ParquetWriter(path, schema))
            for name, (path, schema) in targets.items()
        }
        for part in parts:
            kept = part.filter(pc.equal(part["verdict"], KEPT))
            for name, rows in _datasets(kept).items():
                writers[name].write_table(pa.Table.from_pylist(rows, _SCHEMAS[name]))
            told = part.select(Candidate.SCHEMA.names)  # the keeper's own columns are not for users
            writers[PROVENANCE].write_table(told.add_column(0, "row", _rows(part, row)))
            row += kept.num_rows


def _datasets(kept: pa.Table) -> dict[str, list[dict[str, list[Message]]]]:
    rows: dict[str, list[dict[str, list[Message]]]] = {name: [] for name in DATASETS}
    columns = kept.select(["prompt", "chosen", "rejected"]).to_pydict()
    for prompt, chosen, rejected in zip(*columns.values(), strict=True):
        best = [*prompt, {"role": "assistant", "content": chosen}]
        worse = [*prompt, {"role": "assistant", "content": rejected}]
        rows["sft"].append({"messages": best})
        rows["preference"].append({"chosen": best, "rejected": worse})
        rows["prompts"].append({"prompt": prompt})
    return rows


def _rows(part: pa.Table, start: int) -> pa.Array:
    numbers: list[int | None] = []
    for verdict in part["verdict"].to_pylist():
        numbers.append(start if verdict == KEPT else None)
        start += verdict == KEPT
    return pa.array(numbers, pa.int64())
