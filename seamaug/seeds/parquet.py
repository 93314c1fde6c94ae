"""Rows of a Parquet file, whose few bytes may stand for many: what is decoded is bounded."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seamaug.errors import InputError
from seamaug.seeds.bounds import LONGEST_ROW, TOO_LONG, Expansion

_AT_ONCE, _ROWS_AT_ONCE = 1 << 30, 64
"""Bytes, and rows, decoded at a time: each row may hold the largest value of its column."""


def parquet_rows(path: Path, name: str) -> Iterator[dict[str, Any] | str]:
    """Each row; in place of one that cannot be used, what is wrong with it; else as `batches`."""
    for batch in batches(path, name):
        yield from _rows_of(batch)


def batches(path: Path, name: str) -> Iterator[pa.RecordBatch]:
    """The rows, some at a time.

    Raises InputError where the file cannot be read, or holds more than its size allows for.
    """
    expansion = Expansion(path, name)
    try:
        with pq.ParquetFile(path) as file:
            size = _batch_size(file, expansion, name)
            for batch in file.iter_batches(batch_size=size):
                plain = _plain(batch)
                expansion.add(plain.nbytes)
                yield plain
    except pa.ArrowException as error:
        raise InputError(f"{name} is not a readable Parquet file ({error})") from None


def _batch_size(file: pq.ParquetFile, expansion: Expansion, name: str) -> int:
    """Rows to decode at a time; raises InputError for what may not be decoded at all."""
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    expansion.check(sum(group.total_byte_size for group in groups))
    for field in file.schema_arrow:
        if not pa.types.is_dictionary(field.type) and "dictionary<" in str(field.type):
            raise InputError(
                f"{name}: column {field.name!r} has dictionaries inside lists or structs, whose "
                "size nothing bounds; write it as plain strings"
            )
    chunks = (group.column(i) for group in groups for i in range(group.num_columns))
    largest = max((chunk.total_uncompressed_size for chunk in chunks), default=1)
    return max(1, min(_ROWS_AT_ONCE, _AT_ONCE // max(1, largest)))


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with its dictionaries spelt out, so that its size is that of its rows."""
    columns = [
        column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
        for column in batch.columns
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _rows_of(batch: pa.RecordBatch) -> Iterable[Any]:
    try:
        if batch.nbytes <= LONGEST_ROW:
            rows: list[Any] = batch.to_pylist()
            return rows
    except (ValueError, OverflowError):  # bytes that are no text, dates past 9999
        pass
    return (_row_of(batch.slice(i, 1)) for i in range(batch.num_rows))


def _row_of(batch: pa.RecordBatch) -> Any:
    if batch.nbytes > LONGEST_ROW:
        return TOO_LONG
    try:
        return batch.to_pylist()[0]
    except (ValueError, OverflowError) as error:
        return f"a value of the row cannot be read ({error}); repair or remove the row"
