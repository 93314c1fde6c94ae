"""What is beyond memory lies in files without names."""

import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamaug import scratch
from seamaug.errors import InputError
from seamaug.scratch import scratch_array


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def in_a_file(folder: Path) -> bool:
    return any(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.parametrize(("limit", "mapped"), [(3 * 5 * 8, False), (3 * 5 * 8 - 1, True)])
def test_many_lie_in_a_file_without_a_name(
    folder: Path, monkeypatch: pytest.MonkeyPatch, limit: int, mapped: bool
) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY", limit)
    own = scratch_array((3, 5), np.uint64)
    assert in_a_file(folder) == mapped
    assert not list(folder.iterdir())
    assert not own.any()
    own[1] = np.arange(5)[::-1]
    own[1].sort()
    assert own.tolist() == [[0] * 5, [0, 1, 2, 3, 4], [0] * 5]
    del own
    assert not in_a_file(folder)


def test_where_no_room_can_be_reserved_zeros_are_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "IN_MEMORY", 0)
    monkeypatch.delattr(os, "posix_fallocate")
    monkeypatch.setattr(scratch, "_BLOCK", 7)
    assert scratch_array((2, 2), np.float64).tolist() == [[0, 0], [0, 0]]


def test_no_room_is_an_error_that_says_where(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scratch, "IN_MEMORY", 0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(InputError, match=r"temporary files cannot hold.*No space left.*TMPDIR"):
        scratch_array((1,), np.float64)
