"""Rows that cannot be used: refused together, or left out and listed in a file."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, TypeVar

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.log import logger
from seamaug.places import refuse_another_file, written
from seamaug.seeds.layouts import FieldError
from seamaug.seeds.read import Located, Report, Row, read_rows

_SHOWN = 5
_BEGIN = b'{"where": '
"""How a list of bad rows begins."""
Made = TypeVar("Made")


class Sieve:
    """Reads rows, and knows at the end how many there were and how many were bad."""

    def __init__(self) -> None:
        self.read = 0
        """Rows, good and bad."""
        self.bad = 0
        self._first: list[str] = []
        self._list: IO[bytes] | None = None

    def each(
        self, config: SeedsConfig, rows: Iterable[Row] | None, make: Callable[[Row, str], Made]
    ) -> Iterator[Made]:
        """What `make` makes of each row and its place; FieldError says that the row is bad.

        rows: in memory; None reads the configured paths. Bad rows are left out and listed in
        `config.bad_rows`; where that names no file, InputError is raised after the last row, with
        file, line, field and fix of the first few.
        """
        if config.bad_rows is None:
            yield from self._good(config, rows, make)
            if self.bad:
                raise InputError(self._refusal())
            return
        target = config.bad_rows
        refuse_another_file(target, _BEGIN, "--bad-rows", "list of bad rows")
        with written(target) as temporary, temporary.open("wb") as self._list:
            yield from self._good(config, rows, make)
        if self.bad:
            logger.warning(
                f"{self.bad:,} of {self.read:,} rows are unusable and left out: see {target}"
            )

    def _good(
        self, config: SeedsConfig, rows: Iterable[Row] | None, make: Callable[[Row, str], Made]
    ) -> Iterator[Made]:
        for where, row in _located(config, rows, self._report):
            try:
                made = make(row, where)
            except FieldError as error:
                self._report(where, str(error))
            else:
                self.read += 1
                yield made

    def _report(self, where: str, problem: str) -> None:
        self.read += 1
        self.bad += 1
        if self._list is not None:
            line = json.dumps({"where": where, "problem": problem})
            self._list.write(line.encode() + b"\n")
        elif len(self._first) < _SHOWN:
            self._first.append(f"{where}: {problem}")

    def _refusal(self) -> str:
        left = self.bad - len(self._first)
        more = [f"... and {left:,} more"] if left else []
        head = f"{self.bad:,} of {self.read:,} rows are unusable:"
        fix = (
            "repair them, or go on without them: --bad-rows FILE (`bad_rows` in the config) lists "
            "each"
        )
        return "\n".join([head, *self._first, *more, fix])


def _located(config: SeedsConfig, rows: Iterable[Row] | None, report: Report) -> Iterator[Located]:
    """Rows in memory, or else those of the configured paths, each with its place."""
    if rows is None:
        yield from read_rows(config, report)
        return
    for number, row in enumerate(rows, 1):
        if isinstance(row, Mapping):
            yield f"row {number}", dict(row)
        else:
            kind = type(row).__name__
            report(f"row {number}", f"expected a mapping of columns to values, found {kind}")
