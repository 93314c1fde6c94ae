"""A table to a file whose name says the format."""

import csv
import json
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq
from datasets import Dataset

from seamaug.errors import ConfigError
from seamaug.places import exists, written
from seamaug.run.folder import writing
from seamaug.storage import Place


def _write_parquet(table: Dataset, path: Path) -> None:
    pq.write_table(table.data.table, path)


def _write_jsonl(table: Dataset, path: Path) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for row in table:
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _write_csv(table: Dataset, path: Path) -> None:
    """Nested values, such as a prompt's messages, are written as JSON."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, table.column_names)
        writer.writeheader()
        for row in table:
            writer.writerow({name: _flat(value) for name, value in row.items()})


def _flat(value: Any) -> Any:
    nested = isinstance(value, (list, dict))
    return json.dumps(value, ensure_ascii=False, default=str) if nested else value


_WRITERS: dict[str, Callable[[Dataset, Path], None]] = {
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
}


def check_target(path: Place, option: str = "--out") -> None:
    """Raise ConfigError before any work if the file could not be written in the end."""
    if _suffix(path) not in _WRITERS:
        raise ConfigError(
            f"{option} {path}: the name must end in one of {', '.join(_WRITERS)} to say the format"
        )
    with writing(Path(path)):
        there = exists(path)  # fails, with a reason, on a name that no file can have
    if there:
        raise ConfigError(f"{option} {path} exists; choose another name or remove it")


def write_table(table: Dataset, path: Place) -> None:
    """Write all rows in the format of the path's suffix; the file appears whole or not at all."""
    with written(path) as temporary:
        _WRITERS[_suffix(path)](table, temporary)


def _suffix(path: Place) -> str:
    return PurePosixPath(path).suffix
