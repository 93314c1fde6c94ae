"""Freed memory goes back to the system."""

import platform
from pathlib import Path

import pytest

from seamaug.heap import give_back

SIZE, COUNT = 4096, 20_000


def anonymous() -> int:
    """Bytes of this process's memory that are no file's."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (found,) = (line for line in lines if line.startswith("RssAnon:"))
    return int(found.split()[1]) * 1024


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc keeps it")
def test_what_is_freed_between_pieces_in_use_is_given_back() -> None:
    pieces = [bytearray(SIZE) for _ in range(COUNT)]
    pieces = pieces[::100]  # so that no free room is at the end, which glibc gives back by itself
    before = anonymous()
    give_back()
    assert before - anonymous() > SIZE * COUNT / 2
    assert len(pieces) == COUNT // 100


def test_elsewhere_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    monkeypatch.setattr("ctypes.CDLL", opened.append)
    monkeypatch.setattr("sys.platform", "darwin")
    give_back()
    assert opened == []
