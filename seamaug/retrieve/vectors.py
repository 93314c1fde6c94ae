"""A file of vectors that grows by synced batches, and is mapped into memory when it is whole.

Beside it lies the SHA-256 of each batch, so that one that was damaged is found, before the file is
whole and after.
"""

import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError

import numpy as np

from seamaug.errors import RunFolderError
from seamaug.run.folder import writing

# What numpy raises of a damaged header, which it reads as a Python literal.
_UNREADABLE = (OSError, ValueError, SyntaxError, TokenError)
_SUM = 65
"""Bytes of a line of checksums."""


@dataclass(frozen=True)
class GrowingVectors:
    """An .npy file of shape (rows, dimensions) under another name, until `finish` renames it."""

    path: Path
    rows: int
    dtype: np.dtype
    batch: int
    """Rows that are put at once."""

    @property
    def _partial(self) -> Path:
        return self.path.with_suffix(".partial")

    @property
    def _sums(self) -> Path:
        return self.path.with_suffix(".sha256")

    def found(self) -> np.ndarray:
        """The whole rows that are there, mapped; shape (0, 0) where none are."""
        try:
            with self._partial.open("rb") as file:
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                start = file.tell()
            there = (self._partial.stat().st_size - start) // (shape[1] * dtype.itemsize)
            return np.memmap(self._partial, dtype, "r", start, (there, shape[1]))
        except _UNREADABLE:  # none, or nothing but a piece of the header
            return np.empty((0, 0), self.dtype)

    def sound(self) -> int:
        """Rows from the first one on that are as they were put."""
        path = self.path if self.path.exists() else self._partial
        rows = 0
        try:
            with path.open("rb") as file, self._sums.open("rb") as sums:
                np.lib.format.read_magic(file)
                shape, _, dtype = np.lib.format.read_array_header_1_0(file)
                size = self.batch * shape[1] * dtype.itemsize
                # The first batch is hashed with the header before it.
                length, end = file.tell() + size, path.stat().st_size
                file.seek(0)
                while told := sums.read(_SUM):
                    content = file.read(min(length, end))
                    if hashlib.sha256(content).hexdigest().encode() + b"\n" != told:
                        break
                    rows, length = rows + self.batch, size
        except _UNREADABLE:  # none, or nothing but a piece of the header
            return 0
        return min(rows, self.rows)

    def reopen(self) -> None:
        """The whole file has unsound rows: it is one that grows again."""
        with writing(self.path):
            self.path.replace(self._partial)

    def put(self, start: int, vectors: np.ndarray) -> None:
        """Store this batch on disk from row `start` on; what followed it is dropped."""
        header = io.BytesIO()
        shape = (self.rows, vectors.shape[1])
        descr = np.lib.format.dtype_to_descr(self.dtype)
        np.lib.format.write_array_header_1_0(
            header, {"descr": descr, "fortran_order": False, "shape": shape}
        )
        with writing(self.path):
            self.path.parent.mkdir(exist_ok=True)
            # Written, not mapped: on a full disk a write to a mapping kills the process.
            with self._partial.open("r+b" if start else "wb") as file:
                content = vectors.astype(self.dtype).tobytes()
                if start == 0:
                    content = header.getvalue() + content
                else:
                    file.seek(len(header.getvalue()) + start * shape[1] * self.dtype.itemsize)
                file.truncate()
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            with self._sums.open("r+b" if start else "wb") as file:
                file.seek(start // self.batch * _SUM)
                file.truncate()
                file.write(hashlib.sha256(content).hexdigest().encode() + b"\n")

    def finish(self) -> None:
        """All rows are there: give the file its name."""
        with writing(self.path):
            self._partial.replace(self.path)


def open_vectors(path: Path) -> np.ndarray:
    """A whole file of vectors, mapped; raises RunFolderError with the fix where it is damaged."""
    try:
        # "c": writes would stay in memory, and torch takes such an array as it is.
        vectors: np.ndarray = np.load(path, mmap_mode="c", allow_pickle=False)
    except _UNREADABLE as error:
        raise RunFolderError(
            f"{path} is missing or damaged ({error}); delete it and run the same command again: "
            "what is missing is made anew"
        ) from None
    return vectors


def evenly(count: int, wanted: int) -> np.ndarray:
    """Positions among `count`, at most `wanted` of them, at even distances."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(np.int64))
