"""One dialect's files: each form's rows by side, and the provenance beside them, as they come."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seamaug.exports.example import Example
from seamaug.exports.form import MARGIN, Form, Row
from seamaug.exports.split import TRAIN, VALIDATION, side_of

PROVENANCE = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("id", pa.string()),
        ("parent", pa.string()),
        ("source", pa.string()),
        ("left_out", pa.string()),
    ]
)
"""One row for each row of each file, numbered from 0; and one for each example that a form cannot
carry: `row` is null there, and `left_out` says why."""
_CHUNK = 1_000


class _Table:
    """A Parquet file that is there once it has a row; a chunk of rows is in memory."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._rows: list[Row] = []
        self._writer: pq.ParquetWriter | None = None
        self.count = 0

    def append(self, row: Row) -> None:
        self._rows.append(row)
        self.count += 1
        if len(self._rows) == _CHUNK:
            self._flush()

    def close(self) -> None:
        if self._rows:
            self._flush()
        if self._writer:
            self._writer.close()

    def _flush(self) -> None:
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, self._schema)
        self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
        self._rows = []


class Counts:
    """What was written, and what was not."""

    def __init__(self) -> None:
        self.rows: dict[str, Counter[str]] = {}
        """Rows by source, for each file."""
        self.left_out: dict[str, Counter[str]] = {}
        """Examples by reason, for each form."""
        self.remarks: dict[str, Counter[str]] = {}
        """Examples by remark, for each form."""


def write_forms(
    folder: Path,
    forms: Sequence[Form],
    examples: Iterable[Example],
    *,
    validation: float,
    margin: bool,
) -> Counts:
    """Write every form's files and provenance.parquet; memory does not grow with the examples.

    validation: share of the parents whose examples are validated on; 0 for none.
    margin: write a column `margin` where the form's consumer reads one.
    """
    counts = Counts()
    provenance = _Table(folder / "provenance.parquet", PROVENANCE)
    files: dict[str, _Table] = {}
    try:
        for example in examples:
            side = side_of(example.parent, validation)
            for form in forms:
                name = f"{form.name}/{side}.parquet"
                if reason := form.unfit(example):
                    counts.left_out.setdefault(form.name, Counter())[reason] += 1
                    provenance.append(_origin(example, name, None, reason))
                    continue
                if remark := form.remark(example):
                    counts.remarks.setdefault(form.name, Counter())[remark] += 1
                extra = {MARGIN.name: example.margin} if margin and form.takes_margin else {}
                if name not in files:
                    schema = form.schema.append(MARGIN) if extra else form.schema
                    files[name] = _Table(folder / name, schema)
                for row in form.rows(example):
                    provenance.append(_origin(example, name, files[name].count, ""))
                    files[name].append({**row, **extra})
                    counts.rows.setdefault(name, Counter())[example.source] += 1
    finally:
        for table in (*files.values(), provenance):
            table.close()
    order = [f"{form.name}/{side}.parquet" for form in forms for side in (TRAIN, VALIDATION)]
    counts.rows = {name: counts.rows[name] for name in order if name in counts.rows}
    return counts


def _origin(example: Example, file: str, row: int | None, left_out: str) -> dict[str, Any]:
    return {
        "file": file,
        "row": row,
        "id": example.id,
        "parent": example.parent,
        "source": example.source,
        "left_out": left_out,
    }
