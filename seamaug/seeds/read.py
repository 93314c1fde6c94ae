"""Rows with their place (file and line) from JSONL, JSON, CSV, Parquet and datasets."""

import csv
import glob
import gzip
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.resources import EMBEDDED, resource

Row = dict[str, Any]
Located = tuple[str, Row]
"""A row and where it stands, such as ``("seeds.jsonl:12", {...})``."""

_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")


def read_rows(config: SeedsConfig) -> Iterator[Located]:
    """All rows of all sources in order; raises InputError naming file and line."""
    for path in config.paths:
        if path == EMBEDDED:
            yield from _read_file(resource("embedded", "seeds.jsonl.gz"), "embedded seeds")
        elif os.path.isfile(path):  # False, not an error, for a name that no file can have
            yield from _read_file(Path(path), path)
        elif glob.has_magic(path):
            matches = sorted(glob.glob(path, recursive=True))
            if not matches:
                raise InputError(f"no file matches {path}")
            for match in matches:
                yield from _read_file(Path(match), match)
        elif _kind(Path(path)):
            raise InputError(f"seeds file {path} does not exist; check the path")
        else:
            yield from _read_dataset(path, config)


def _kind(path: Path) -> str:
    name = path.name.removesuffix(".gz")
    return next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")


def _read_file(path: Path, name: str) -> Iterator[Located]:
    try:
        try:
            yield from _read_kind(path, name)
        except UnicodeDecodeError:
            line = _first_undecodable_line(path)  # may find the gzip file damaged further on
            raise InputError(
                f"{name}:{line} is not UTF-8 text; convert the file to UTF-8"
            ) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{name} is not a readable gzip file ({error}); copy it again") from None
    except EOFError:
        raise InputError(f"{name}: the gzip file is truncated; copy it again") from None
    except OSError as error:
        raise InputError(f"{name} cannot be read: {error.strerror or error}") from None


def _read_kind(path: Path, name: str) -> Iterator[Located]:
    kind = _kind(path)
    if kind in (".jsonl", ".ndjson", ".json"):
        yield from _read_json(path, name)
    elif kind in (".csv", ".tsv"):
        yield from _read_csv(path, name, "\t" if kind == ".tsv" else ",")
    elif kind == ".parquet":
        yield from _read_parquet(path, name)
    else:
        raise InputError(
            f"{name}: cannot tell the format from the name; "
            f"use one of {', '.join(_SUFFIXES)} (text formats may end in .gz)"
        )


def _first_undecodable_line(path: Path) -> int:
    """The decoder itself only knows the place within its buffer."""
    with gzip.open(path) if path.name.endswith(".gz") else open(path, "rb") as stream:
        for number, line in enumerate(stream, 1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return 1  # the file changed meanwhile


def _open_text(path: Path, newline: str | None = None) -> IO[str]:
    if path.name.endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", newline=newline)
    return open(path, encoding="utf-8-sig", newline=newline)


def _read_json(path: Path, name: str) -> Iterator[Located]:
    with _open_text(path) as stream:
        start = next((line.lstrip() for line in stream if line.strip()), "")
    with _open_text(path) as stream:
        if start.startswith("["):
            yield from _read_json_array(stream, name)
            return
        for number, line in enumerate(stream, 1):
            if not line.strip():
                continue
            where = f"{name}:{number}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError: also a 5,000-digit number
                raise InputError(
                    f"{where}: expected one JSON object per line, found malformed JSON ({error})"
                ) from None
            yield where, _as_object(row, where)


def _read_json_array(stream: IO[str], name: str) -> Iterator[Located]:
    try:
        rows = json.load(stream)
    except UnicodeDecodeError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{name}: malformed JSON array ({error})") from None
    for number, row in enumerate(rows, 1):
        yield f"{name}:item {number}", _as_object(row, f"{name}:item {number}")


def _as_object(row: Any, where: str) -> Row:
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected a JSON object, found {type(row).__name__}")
    return row


def _read_csv(path: Path, name: str, delimiter: str) -> Iterator[Located]:
    csv.field_size_limit(2**31 - 1)  # responses can exceed the module's 128 KiB default
    with _open_text(path, newline="") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter, strict=True)
        try:
            for row in reader:
                where = f"{name}:{reader.line_num}"
                if None in row or None in row.values():
                    raise InputError(
                        f"{where}: the row has not as many fields as the header "
                        f"({len(reader.fieldnames or [])}); quote fields that hold the delimiter"
                    )
                yield where, row
        except csv.Error as error:
            start = reader.line_num + 1  # of the row that failed: line_num is where the last ended
            raise InputError(f"{name}:{start}: malformed CSV ({error})") from None


def _read_parquet(path: Path, name: str) -> Iterator[Located]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1024):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{name}:row {number}", row
    except pa.ArrowException as error:
        raise InputError(f"{name} is not a readable Parquet file ({error})") from None
    except (ValueError, OverflowError) as error:  # bytes that are no text, dates past 9999
        raise InputError(
            f"{name}: a value after row {number} cannot be read ({error}); write the file anew"
        ) from None


def _read_dataset(path: str, config: SeedsConfig) -> Iterator[Located]:
    import datasets

    try:
        rows = datasets.load_dataset(path, config.subset, split=config.split)
    except Exception as error:  # the library raises many kinds; each has a usable message
        raise InputError(
            f"{path} is neither a file nor a dataset that load_dataset opens "
            f"(subset {config.subset!r}, split {config.split!r}): {error}"
        ) from None
    for number, row in enumerate(rows, 1):
        yield f"{path}:row {number}", row
