"""A table to a file whose name says the format."""

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
from datasets import Dataset

from seamaug.errors import ConfigError
from seamaug.run.folder import whole_file

_WRITERS: dict[str, Callable[[Dataset, Path], object]] = {
    ".parquet": lambda table, path: pq.write_table(table.data.table, path),
    ".jsonl": lambda table, path: table.to_json(path, force_ascii=False),
    ".csv": lambda table, path: table.to_csv(path),
}


def check_target(path: Path) -> None:
    """Raise ConfigError before any work if the file could not be written in the end."""
    if path.suffix not in _WRITERS:
        raise ConfigError(
            f"--out {path}: the name must end in one of {', '.join(_WRITERS)} to say the format"
        )
    if path.exists():
        raise ConfigError(f"--out {path} exists; choose another name or remove it")


def write_table(table: Dataset, path: Path) -> None:
    """Write all rows in the format of the path's suffix; the file appears whole or not at all."""
    with whole_file(path) as temporary:
        _WRITERS[path.suffix](table, temporary)
