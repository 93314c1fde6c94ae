"""Files and folders at a place: on this disk as they are, beyond it by way of a copy.

A copy lies in the folder for temporary files (TMPDIR) as long as it is needed.
"""

import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seamaug.errors import ConfigError, StorageError
from seamaug.run.folder import whole_file, whole_folder, writing
from seamaug.storage import Place, remote, renamed_errors

_GUIDE = "README.md"


def below(place: Place, name: str) -> Place:
    """A file or folder in a folder."""
    return Path(place) / name if remote(place) is None else f"{str(place).rstrip('/')}/{name}"


def exists(place: Place) -> bool:
    """Whether there is a file of this name."""
    there = remote(place)
    return Path(place).exists() if there is None else there.is_file()


@contextmanager
def written(place: Place) -> Iterator[Path]:
    """A temporary file to fill; when the block ends well it is under its name, whole."""
    there = remote(place)
    if there is None:
        with whole_file(Path(place)) as temporary:
            yield temporary
        return
    with _temporary() as folder:
        path = folder / there.name
        with writing(path):
            yield path
        there.send(path)


@contextmanager
def written_folder(place: Place) -> Iterator[Path]:
    """A temporary folder to fill; when the block ends well it takes the place of what is there.

    On this disk at once; beyond it file by file, the guide last and old files after it.
    """
    there = remote(place)
    if there is None:
        with whole_folder(Path(place)) as temporary:
            yield temporary
        return
    with _temporary() as folder:
        with writing(folder):
            yield folder
        paths = [path for path in folder.rglob("*") if path.is_file()]
        names = [path.relative_to(folder).as_posix() for path in paths]
        for name in sorted(names, key=lambda name: (name == _GUIDE, name)):
            there.send(folder / name, name)
        there.remove(there.names().keys() - {*names})


def refuse_another_file(place: Place, begin: bytes, option: str, what: str) -> None:
    """Raise ConfigError where a file that begins so would replace another, such as the seeds.

    option, what: where the name was given, and for what kind of file.
    """
    with writing(Path(place)):
        if not exists(place):
            return
        with file_here(place) as path, path.open("rb") as stream:
            found = stream.read(len(begin))
    if found not in (b"", begin):
        raise ConfigError(f"{option} {place} exists and is no {what}; choose another name")


@contextmanager
def file_here(place: Place) -> Iterator[Path]:
    """The file, or a copy of it that lasts as long as the block."""
    there = remote(place)
    if there is None:
        yield Path(place)
        return
    with _temporary() as folder:
        copy = folder / there.name
        with writing(copy):
            there.fetch_file(copy)
        yield copy


@contextmanager
def folder_here(place: Place, is_wanted: Callable[[str], bool]) -> Iterator[Path]:
    """The folder, or a copy of its wanted files that lasts as long as the block.

    Errors of the block name the place, not the copy.
    """
    there = remote(place)
    if there is None:
        yield Path(place)
        return
    names = there.names()
    if not names:
        raise StorageError(f"there is nothing at {there.url}; check the address")
    with _temporary() as folder:
        copy = folder / there.name
        with writing(copy):
            copy.mkdir()
            there.fetch(filter(is_wanted, names), copy)
        with renamed_errors(re.escape(str(copy)), there.url):
            yield copy


@contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="seamaug-") as folder:
        yield Path(folder)
