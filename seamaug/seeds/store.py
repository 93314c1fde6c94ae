"""A table of rows that may be larger than memory: what is beyond a few lies in a mapped file."""

import mmap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from seamaug import scratch


class RowStore:
    """Takes rows chunk by chunk and gives them back as one table."""

    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._held: list[pa.Table] = []
        self._bytes = 0
        self._file: Any = None
        self._writer: Any = None

    def add(self, chunk: pa.Table) -> None:
        """The next rows. Raises InputError where the disk takes no more."""
        self._held.append(chunk)
        self._bytes += chunk.nbytes
        if self._bytes > scratch.IN_MEMORY:
            self._write()

    def table(self) -> pa.Table:
        """All rows; in one chunk where they are held. Nothing is added after that."""
        if self._writer is None:
            return pa.concat_tables([self._schema.empty_table(), *self._held]).combine_chunks()
        self._write(last=True)
        with self._file:
            mapped = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped))).read_all()

    def _write(self, *, last: bool = False) -> None:
        with scratch.taking_room():
            if self._writer is None:
                self._file = scratch.scratch_file()
                self._writer = pa.ipc.new_file(self._file, self._schema)
            for chunk in self._held:
                self._writer.write_table(chunk)
            if last:
                self._writer.close()
                self._file.flush()
        self._held = []


def taken(table: pa.Table, positions: Sequence[int] | np.ndarray) -> pa.Table:
    """The rows at these positions, in their order, in one chunk.

    Arrow itself joins all chunks of a column of text first, and so copies the whole of it.
    """
    at = pa.array(positions, pa.int64()).to_numpy()
    chunks = table.to_batches()
    if len(chunks) < 2:
        return table.take(pa.array(at))
    starts = np.cumsum([0, *map(len, chunks)])
    own = np.searchsorted(starts, at, side="right") - 1
    found = [
        chunks[chunk].take(pa.array(at[own == chunk] - starts[chunk])) for chunk in np.unique(own)
    ]
    by_chunk = pa.Table.from_batches(found, table.schema).combine_chunks()
    back = np.argsort(np.argsort(own, kind="stable"))
    return by_chunk.take(pa.array(back))
