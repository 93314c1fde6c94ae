"""A JSON array item by item, so that memory holds one item and not the file."""

import json
import re
from collections.abc import Iterator
from typing import IO, Any

from seamaug.seeds.bounds import LONGEST_ROW

_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"[ \t\n\r]*")
_CHUNK = 1 << 16


def items(stream: IO[str]) -> Iterator[tuple[str, Any]]:
    """Each item's text and value.

    Raises ValueError, or RecursionError, that says what is malformed; no item can be told after it.
    """
    window = _Window(stream)
    window.take("[")
    if window.next() != "]":
        yield window.item()
        while window.next() == ",":
            window.take(",")
            yield window.item()
    window.take("]")
    if window.next():
        raise ValueError("there is more behind its end")


class _Window:
    """The part of the text that is looked at."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0

    def next(self) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text) or not self._more(_CHUNK):
                return self._text[self._at : self._at + 1]

    def take(self, sign: str) -> None:
        """Step over this sign."""
        if (found := self.next()) != sign:
            raise ValueError(f"expected {sign!r}, found {found!r}")
        self._at += 1

    def item(self) -> tuple[str, Any]:
        """Text and value of the item that begins here."""
        self.next()
        size = _CHUNK
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except (ValueError, RecursionError):
                if len(self._text) - self._at > LONGEST_ROW or not self._more(size):
                    raise
            else:
                # A number may go on where the window ends: of 1e+ that is read as 1, two are left.
                if end + 2 < len(self._text) or not self._more(size):
                    text = self._text[self._at : end]
                    self._at = end
                    return text, value
            size *= 2  # so that time is linear in the item's length

    def _more(self, size: int) -> bool:
        """Read on; whether there was more."""
        chunk = self._stream.read(size)
        if chunk:
            self._text = self._text[self._at :] + chunk
            self._at = 0
        return bool(chunk)
