"""Rows with their place (file and line) from JSONL, JSON, CSV, Parquet and datasets."""

import csv
import glob
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.places import file_here
from seamaug.resources import EMBEDDED, resource
from seamaug.seeds.bounds import (
    LONGEST_ROW,
    NOT_UTF8,
    TOO_LONG,
    is_utf8,
    lines,
    open_text,
)
from seamaug.seeds.json_array import items
from seamaug.seeds.parquet import parquet_rows
from seamaug.storage import Remote, remote

Row = dict[str, Any]
Located = tuple[str, Row]
"""A row and where it stands, such as ``("seeds.jsonl:12", {...})``."""
Report = Callable[[str, str], None]
"""Told where a row stands that cannot be read, and what is wrong with it; if it returns, the
reading goes on behind that row."""

_SPLIT = SeedsConfig().split
_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


def refuse(where: str, problem: str) -> None:
    """The report of whoever does without bad rows: raises InputError."""
    raise InputError(f"{where}: {problem}")


def read_rows(config: SeedsConfig, report: Report = refuse) -> Iterator[Located]:
    """All rows of all sources in order.

    Raises InputError naming the file where no further row of it can be told.
    """
    if not any(map(_is_dataset, config.paths)) and (config.subset or config.split != _SPLIT):
        raise InputError(
            f"split {config.split!r} and subset {config.subset!r} are of a dataset, and "
            f"{', '.join(config.paths)} is read whole: leave them out, or name the split's own file"
        )
    for path in config.paths:
        if path == EMBEDDED:
            yield from _read_file(resource("embedded", "seeds.jsonl.gz"), "embedded seeds", report)
        elif os.path.isfile(path):  # False, not an error, for a name that no file can have
            yield from _read_file(Path(path), path, report)
        elif (there := remote(path)) is not None:
            yield from _read_remote(there, report)
        elif glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise InputError(f"no file matches {path}")
            for match in matches:
                yield from _read_file(Path(match), match, report)
        elif _is_dataset(path):
            yield from _read_dataset(path, config)
        else:
            raise InputError(f"seeds file {path} does not exist; check the path")


def _is_dataset(path: str) -> bool:
    """Whether it is neither the bundled seeds nor a file, files or an address."""
    file = path == EMBEDDED or os.path.isfile(path) or remote(path) is not None
    return not (file or glob.has_magic(path) or _kind(Path(path)))


def _read_remote(there: Remote, report: Report) -> Iterator[Located]:
    """A file, or those that a glob matches, each copied to this disk while it is read."""
    for file in matching(there):
        with file_here(file.url) as copy:
            yield from _read_file(copy, file.url, report)


def matching(there: Remote) -> list[Remote]:
    """The file, or those that a glob matches; raises InputError where there is none."""
    found = there.matches()
    if not found:
        raise InputError(f"no file matches {there.url}; check the address")
    return found


def _kind(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")


def _read_file(path: Path, name: str, report: Report) -> Iterator[Located]:
    try:
        yield from _read_kind(path, name, report)
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} is not a readable gzip file ({error}); copy it again") from None
    except EOFError:
        raise InputError(f"{name}: the gzip file is truncated; copy it again") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None


def _read_kind(path: Path, name: str, report: Report) -> Iterator[Located]:
    kind = _kind(path)
    if kind in (".jsonl", ".ndjson", ".json"):
        yield from _read_json(path, name, report)
    elif kind in (".csv", ".tsv"):
        yield from _read_csv(path, name, "\t" if kind == ".tsv" else ",", report)
    elif kind == ".parquet":
        yield from _read_parquet(path, name, report)
    else:
        raise InputError(
            f"{name}: cannot tell the format from the name; "
            f"use one of {', '.join(_SUFFIXES)} (text formats may end in .gz)"
        )


def _read_json(path: Path, name: str, report: Report) -> Iterator[Located]:
    with open_text(path, name) as stream:
        start = next((text for part in _parts(stream) if (text := part.lstrip())), "")
    read = _array_items if start.startswith("[") else _json_lines
    with open_text(path, name) as stream:
        for place, text, row in read(stream, name):
            where = f"{name}:{place}"
            if len(text) > LONGEST_ROW:
                report(where, TOO_LONG)
            elif not is_utf8(text):
                report(where, NOT_UTF8)
            elif isinstance(row, Exception):
                report(where, f"expected one JSON object per line, found malformed JSON ({row})")
            elif not isinstance(row, dict):
                report(where, f"expected a JSON object, found {type(row).__name__}")
            else:
                yield where, row


def _parts(stream: IO[str]) -> Iterator[str]:
    while part := stream.read(1 << 10):
        yield part


def _json_lines(stream: IO[str], _: str) -> Iterator[tuple[str, str, Any]]:
    """Place, text and value of each line; the value is the error where it is malformed."""
    for number, line in enumerate(lines(stream), 1):
        if line.strip():
            try:
                value = json.loads(line) if len(line) <= LONGEST_ROW else None
            except (ValueError, RecursionError) as error:  # ValueError: also a 5,000-digit number
                value = error
            yield str(number), line, value


def _array_items(stream: IO[str], name: str) -> Iterator[tuple[str, str, Any]]:
    """Place, text and value of each item."""
    number = 0
    try:
        for number, (text, value) in enumerate(items(stream), 1):
            yield f"item {number}", text, value
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{name}: malformed JSON array behind item {number} "
            f"({getattr(error, 'msg', error)}); repair it, or write one object per line"
        ) from None


class _CsvLines:
    """Lines for csv.reader, no more for one row than it may have."""

    def __init__(self, stream: IO[str]) -> None:
        self._lines = lines(stream)
        self.taken = 0
        """Characters of the row so far; whoever asks for a new row sets it to 0."""
        self.number = 0
        """Lines so far."""

    def __iter__(self) -> "_CsvLines":
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        self.taken += len(line)
        if self.taken > LONGEST_ROW:
            raise csv.Error(TOO_LONG)
        return line


def _read_csv(path: Path, name: str, delimiter: str, report: Report) -> Iterator[Located]:
    csv.field_size_limit(LONGEST_ROW)  # responses can exceed the module's 128 KiB default
    with open_text(path, name, newline="") as stream:
        source = _CsvLines(stream)
        reader = csv.DictReader(source, delimiter=delimiter, strict=True)
        header = _header(reader, name)
        while True:
            start = source.number + 1
            source.taken = 0
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                report(f"{name}:{start}", f"malformed CSV ({error})")
                continue
            where = f"{name}:{source.number}"
            if None in row or None in row.values():
                report(
                    where,
                    f"the row has not as many fields as the header ({len(header)}); quote fields "
                    "that hold the delimiter",
                )
            elif not all(map(is_utf8, row.values())):
                report(where, NOT_UTF8)
            else:
                yield where, row


def _header(reader: "csv.DictReader[str]", name: str) -> list[str]:
    try:
        header = list(reader.fieldnames or ())
    except csv.Error as error:
        raise InputError(f"{name}:1: malformed CSV header ({error}); repair it") from None
    if not all(map(is_utf8, header)):
        raise InputError(f"{name}:1: {NOT_UTF8}")
    return header


def _read_parquet(path: Path, name: str, report: Report) -> Iterator[Located]:
    for number, row in enumerate(parquet_rows(path, name), 1):
        where = f"{name}:row {number}"
        if isinstance(row, str):
            report(where, row)
        else:
            yield where, row


def _read_dataset(path: str, config: SeedsConfig) -> Iterator[Located]:
    import datasets

    _refuse_several_formats(path)
    try:
        if os.path.isfile(os.path.join(path, "state.json")):
            rows = datasets.load_from_disk(path)
        elif os.path.isfile(os.path.join(path, "dataset_dict.json")):
            rows = datasets.load_from_disk(path)[config.split]
        else:
            rows = datasets.load_dataset(path, config.subset, split=config.split)
    except Exception as error:  # the library raises many kinds; each has a usable message
        raise InputError(
            f"{path} is neither a file nor a dataset that load_dataset opens "
            f"(subset {config.subset!r}, split {config.split!r}): {error}"
        ) from None
    for number, row in enumerate(rows, 1):
        yield f"{path}:row {number}", row


def _refuse_several_formats(path: str) -> None:
    """`load_dataset` reads those files of a folder that are of one format, and says nothing."""
    names = os.listdir(path) if os.path.isdir(path) else []
    kinds = sorted({kind for name in names if (kind := _kind(Path(name)))} - {".json"})
    if len(kinds) > 1:
        patterns = " ".join(repr(os.path.join(path, f"*{kind}*")) for kind in kinds)
        raise InputError(
            f"{path} holds files of several formats ({', '.join(kinds)}); name those to be read, "
            f"such as {patterns}"
        )
