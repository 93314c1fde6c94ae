"""What a file may hold, so that a small one cannot fill the memory or run for ever."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from seamaug.errors import InputError

LONGEST_ROW = 1 << 24
"""Characters of one row."""
TOO_LONG = f"longer than {LONGEST_ROW:,} characters, as a row may be; shorten or remove it"
NOT_UTF8 = "not UTF-8 text; convert the file to UTF-8"
_EXPANSION = 100
"""What a packed file may expand to, in times its size: text packs to a tenth, templates to less."""
_ALWAYS = 64 << 20
"""Bytes that any file may expand to."""


class Expansion:
    """Counts what comes out of a packed file; raises InputError where that is absurd."""

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._most = max(_ALWAYS, _EXPANSION * path.stat().st_size)
        self._found = 0

    def add(self, size: int) -> None:
        """So many more bytes came out."""
        self._found += size
        self.check(self._found)

    def check(self, size: int) -> None:
        """Raise InputError if the whole is larger than it may be."""
        if size > self._most:
            raise InputError(
                f"{self._name} unpacks to more than {self._most >> 20:,} MiB, over {_EXPANSION} "
                "times its size, as files do that are made to fill a memory; if it is sound, give "
                "it unpacked, as JSON lines"
            )


class _Unpacked(io.RawIOBase):
    """The content of a gzip file, counted."""

    def __init__(self, path: Path, name: str) -> None:
        self._expansion = Expansion(path, name)
        self._stream = gzip.open(path)  # noqa: SIM115 - closed with this

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        size = self._stream.readinto(buffer)
        self._expansion.add(size)
        return size

    def close(self) -> None:
        self._stream.close()
        super().close()


def open_text(path: Path, name: str, newline: str | None = None) -> IO[str]:
    """The file as text, unpacked if it is gzip; bytes that are no UTF-8 become lone surrogates."""
    packed = path.name.endswith(".gz")
    stream = io.BufferedReader(_Unpacked(path, name)) if packed else open(path, "rb")  # noqa: SIM115
    return io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def is_utf8(text: str) -> bool:
    """Whether the bytes that this was read from are UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def lines(stream: IO[str]) -> Iterator[str]:
    """Lines with their ends; of one that is longer than a row may be, only its start."""
    while line := stream.readline(LONGEST_ROW + 1):
        rest = line
        while len(rest) > LONGEST_ROW and not rest.endswith("\n"):
            rest = stream.readline(LONGEST_ROW + 1)
        yield line
