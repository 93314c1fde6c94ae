"""Room beyond memory: files in the folder for temporary ones (TMPDIR).

That folder should be on a disk: a tmpfs is memory. A file has no name there: it is gone with what
is read from it, or with the process. The system keeps of it in memory what there is room for.
"""

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import numpy as np

from seamaug.errors import InputError

IN_MEMORY = 32 << 20
"""Bytes that are held; what is more goes to a file."""
_BLOCK = 1 << 20


@contextmanager
def taking_room() -> Iterator[None]:
    """Turn a failed write of a scratch file into an error that says what to do."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"the folder for temporary files cannot hold what a run keeps of its seeds ({error}); "
            "let TMPDIR name one with more room"
        ) from error


def scratch_file() -> IO[bytes]:
    """An empty file without a name."""
    return tempfile.TemporaryFile(prefix="seamaug-")


def scratch_array(shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
    """Zeros to be filled; where they are many, in a mapped file.

    Raises InputError where the disk has no room for them.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY:
        return np.zeros(shape, dtype)
    with taking_room(), scratch_file() as file:
        # All of it now: a write to a mapping that finds the disk full would kill the process.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:  # macOS
            for start in range(0, size, _BLOCK):
                file.write(bytes(min(_BLOCK, size - start)))
            file.flush()
        mapped = mmap.mmap(file.fileno(), size)
    return np.frombuffer(mapped, dtype).reshape(shape)
