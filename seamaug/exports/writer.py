"""One dialect's files: each form's rows by side, and the provenance beside them, as they come."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

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
        ("run", pa.string()),
        ("left_out", pa.string()),
    ]
)
"""One row for each row of each file, numbered from 0; and one for each example that a form cannot
carry: `row` is null there, and `left_out` says why."""
_CHUNK = 4_000


class _Table:
    """A Parquet file, which is there once it has a row."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._writer: pq.ParquetWriter | None = None

    def write(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        if self._writer is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = pq.ParquetWriter(self._path, self._schema)
        self._writer.write_table(pa.Table.from_pylist(rows, self._schema))

    def close(self) -> None:
        if self._writer:
            self._writer.close()


class _FormFile:
    """One side of a form, and its part of the provenance; a chunk of rows is in memory."""

    def __init__(self, name: str, table: _Table, provenance: _Table, *, shuffled: bool) -> None:
        self._name, self._table, self._provenance = name, table, provenance
        self._order = random.Random(0) if shuffled else None
        self._waiting: list[tuple[Example, Row | None, str]] = []
        self._count = 0

    def add(self, example: Example, row: Row | None, left_out: str = "") -> None:
        """A row of this example; None with the reason why it has none."""
        self._waiting.append((example, row, left_out))
        if len(self._waiting) == _CHUNK:
            self._flush()

    def close(self) -> None:
        self._flush()
        self._table.close()

    def _flush(self) -> None:
        if self._order:
            self._order.shuffle(self._waiting)
        origins = []
        for example, row, left_out in self._waiting:
            number = None if row is None else self._count
            self._count += row is not None
            made_of = (example.id, example.parent, example.source, example.run)
            values = (self._name, number, *made_of, left_out)
            origins.append(dict(zip(PROVENANCE.names, values, strict=True)))
        self._table.write([row for _, row, _ in self._waiting if row is not None])
        self._provenance.write(origins)
        self._waiting = []


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
    files: dict[str, _FormFile] = {}

    def open_file(name: str, form: Form) -> _FormFile:
        schema = form.schema.append(MARGIN) if margin and form.takes_margin else form.schema
        return _FormFile(name, _Table(folder / name, schema), provenance, shuffled=form.shuffled)

    try:
        for example in examples:
            side = side_of(example.parent, validation)
            for form in forms:
                name = f"{form.name}/{side}.parquet"
                if name not in files:
                    files[name] = open_file(name, form)
                if reason := form.unfit(example):
                    counts.left_out.setdefault(form.name, Counter())[reason] += 1
                    files[name].add(example, None, reason)
                    continue
                if remark := form.remark(example):
                    counts.remarks.setdefault(form.name, Counter())[remark] += 1
                extra = {MARGIN.name: example.margin} if margin and form.takes_margin else {}
                for row in form.rows(example):
                    files[name].add(example, {**row, **extra})
                    counts.rows.setdefault(name, Counter())[example.source] += 1
    finally:
        for file in files.values():
            file.close()
        provenance.close()
    order = [f"{form.name}/{side}.parquet" for form in forms for side in (TRAIN, VALIDATION)]
    counts.rows = {name: counts.rows[name] for name in order if name in counts.rows}
    return counts
