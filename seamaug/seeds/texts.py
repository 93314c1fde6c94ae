"""Texts of evaluation files, whatever their columns."""

import glob
import os
from collections.abc import Iterator, Sequence
from typing import Any

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.places import file_here
from seamaug.seeds.bounds import LONGEST_ROW, NOT_UTF8, TOO_LONG, is_utf8, lines, open_text
from seamaug.seeds.read import matching, read_rows, refuse
from seamaug.storage import remote


def read_texts(patterns: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """(file, row, text) of every text in every row; of a .txt file, every line.

    Raises InputError that says what to do if a file is missing, unreadable or without text.
    """
    for pattern in patterns:
        for path in _matches(pattern):
            empty = True
            for row, text in _texts_of(path):
                empty = False
                yield path, row, text
            if empty:
                raise InputError(
                    f"evaluation file {path} holds no text; check that it is the right file, or "
                    "leave it out"
                )


def _matches(pattern: str) -> list[str]:
    if os.path.isfile(pattern):
        return [pattern]
    if (there := remote(pattern)) is not None:
        return [file.url for file in matching(there)]
    found = sorted(path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    if not found:
        raise InputError(
            f"there is no evaluation file {pattern}; check the path. A dataset on the hub is saved "
            "as one by load_dataset(ID, split=SPLIT).to_parquet(FILE)"
        )
    return found


def _texts_of(path: str) -> Iterator[tuple[str, str]]:
    if path.endswith(".txt"):
        yield from _lines(path)
        return
    for where, row in read_rows(SeedsConfig(paths=(path,))):
        for text in _strings(row):
            yield where.removeprefix(f"{path}:"), text


def _lines(path: str) -> Iterator[tuple[str, str]]:
    try:
        with file_here(path) as copy, open_text(copy, path) as stream:
            for number, line in enumerate(lines(stream), 1):
                if len(line) > LONGEST_ROW:
                    refuse(f"{path}:{number}", TOO_LONG)
                if not is_utf8(line):
                    refuse(f"{path}:{number}", NOT_UTF8)
                if line.strip():
                    yield str(number), line
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def _strings(value: Any) -> Iterator[str]:
    """All texts in a row, also those in lists and messages."""
    if isinstance(value, str):
        if value.strip():
            yield value
    elif isinstance(value, dict):
        message = {"role", "content"} <= value.keys()  # whose role is no text
        for item in [value["content"]] if message else value.values():
            yield from _strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _strings(item)
