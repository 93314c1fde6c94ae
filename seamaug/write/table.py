"""A table to a file whose name says the format."""

import csv
import json
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow.parquet as pq
from datasets import Dataset

from seamaug.errors import ConfigError
from seamaug.log import logger
from seamaug.places import exists, written
from seamaug.run.folder import writing
from seamaug.storage import Place


def _write_parquet(table: Dataset, path: Path) -> None:
    pq.write_table(table.data.table, path)


def _write_jsonl(table: Dataset, path: Path) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for row in table:
            stream.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")


def _write_csv(table: Dataset, path: Path, guard: bool = False) -> None:
    """Nested values, such as a prompt's messages, are written as JSON."""
    names = (name for name in table.column_names if _is_formula(name))
    formulas: Counter[str] = Counter(names)
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, table.column_names)
        writer.writeheader()
        for row in table:
            cells = {name: _flat(value) for name, value in row.items()}
            found = [name for name, value in row.items() if _is_formula(value)]
            if guard:
                cells |= {name: f"'{row[name]}" for name in found}
            writer.writerow(cells)
            formulas.update(found)
    if formulas and guard:
        logger.info(
            f"{formulas.total():,} cells that begin like a formula have a ' before them (columns "
            f"{', '.join(formulas)}), so that no spreadsheet computes them"
        )
    elif formulas:
        logger.warning(
            f"{formulas.total():,} cells begin like a formula (columns {', '.join(formulas)}): do "
            "not open the CSV file in a spreadsheet, which would compute them; import its columns "
            "as text, or write .jsonl or .parquet"
        )


_SIGNS = tuple("=+-@＝＋－＠")
"""The wide ones too: spreadsheets of East Asia take them for the others."""


def _is_formula(value: Any) -> bool:
    """Whether a spreadsheet might compute it, by OWASP's list of how such cells begin."""
    if not isinstance(value, str):
        return False
    return value.startswith(("\t", "\r")) or value.lstrip().startswith(_SIGNS)


def _flat(value: Any) -> Any:
    nested = isinstance(value, (list, dict))
    return json.dumps(value, ensure_ascii=False, default=str) if nested else value


_Writers = dict[str, Callable[[Dataset, Path], None]]
_WRITERS: _Writers = {
    ".parquet": _write_parquet,
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
}
_GUARDED: _Writers = {**_WRITERS, ".csv": partial(_write_csv, guard=True)}


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


def write_table(table: Dataset, path: Place, *, guard: bool = False) -> None:
    """Write all rows in the format of the path's suffix; the file appears whole or not at all.

    guard: a CSV cell that a spreadsheet would compute gets a ' before it; for tables to look at.
    Elsewhere texts stay as they are, since a model is trained on them, and a warning is logged.
    """
    with written(path) as temporary:
        (_GUARDED if guard else _WRITERS)[_suffix(path)](table, temporary)


def _suffix(path: Place) -> str:
    return PurePosixPath(path).suffix
