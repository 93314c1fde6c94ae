"""The run folder: all that one job did, and from which it resumes.

    OUT/stages/identity.json        what the run is: config, fingerprints, versions
    OUT/stages/found.json           what it found out at its start and goes by from then on
    OUT/stages/<stage>/00000.parquet, 00001.parquet, ...
    OUT/stages/replies.sqlite       what an LLM replied, in and between parts
    OUT/stages/embed/               vectors and their index: see retrieve/

A part appears under its final name only when it is whole: it is written to a temporary name,
synced and renamed. So a killed run loses the part in flight and nothing else.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from seamaug.errors import RunFolderError

_MEANING = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file-size limit is reached",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
}


_BEGUN = ("stages", "tensorboard", "wandb")
"""What a run has before its first part is finished; the trackers name the last two."""


class RunFolder:
    """A folder of finished parts; the same identity resumes, another is refused.

    Entered as a context, it is this process's alone until the context ends.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self.stages = path / "stages"
        self.replies = self.stages / "replies.sqlite"
        """Where an LLM's replies are kept as they arrive."""
        self._found = self.stages / "found.json"
        self._claim(identity)

    def _claim(self, identity: dict[str, Any]) -> None:
        record = self.stages / "identity.json"
        with writing(self.path):
            begun = record.is_file() and any(
                not file.name.startswith(".") for file in self.stages.glob("*/*")
            )
        if begun:
            if changes := _diff(_read_json(record), json.loads(json.dumps(identity))):
                raise RunFolderError(
                    f"{self.path} holds a run with other settings:\n"
                    + "\n".join(changes)
                    + "\nrepeat the earlier settings to resume it, choose another --out, or "
                    f"remove {self.path} to start over"
                )
        elif self.path.exists() and (not self.path.is_dir() or any(self._foreign())):
            raise RunFolderError(
                f"{self.path} exists and is not a seamaug run; choose an empty or new --out"
            )
        else:
            text = json.dumps(identity, indent=2, sort_keys=True).encode() + b"\n"
            if not record.is_file() or record.read_bytes() != text:
                with whole_file(record) as temporary:
                    self._found.unlink(missing_ok=True)  # by another run, that never got far
                    temporary.write_bytes(text)

    def __enter__(self) -> "RunFolder":
        self._lock = FileLock(self.stages / "lock")
        with writing(self.path):
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise RunFolderError(
                    f"another process is at work in {self.path}; wait for it, or choose another "
                    "--out"
                ) from None
        return self

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def recall(self, name: str) -> Any:
        """What `remember` stored under this name; None if nothing yet."""
        return _read_json(self._found).get(name) if self._found.is_file() else None

    def remember(self, name: str, value: Any) -> None:
        """Store what a resumed run is to go by, though it might find something else."""
        found = _read_json(self._found) if self._found.is_file() else {}
        if found.get(name) != value:
            with whole_file(self._found) as temporary:
                temporary.write_text(json.dumps({**found, name: value}) + "\n", encoding="utf-8")

    def _foreign(self) -> Iterator[Path]:
        """Whatever a run that finished no part yet would not have left."""
        return (item for item in self.path.iterdir() if item.name not in _BEGUN)

    def part(self, stage: str, number: int, make: Callable[[], pa.Table]) -> pa.Table:
        """The finished part, or the one that `make` computes, once it is safely stored."""
        path = self.stages / stage / f"{number:05d}.parquet"
        if not path.exists():
            table = make()
            with whole_file(path) as temporary:
                pq.write_table(table, temporary)
        return read_part(path)

    def has_part(self, stage: str, number: int) -> bool:
        """Whether the part is finished."""
        return (self.stages / stage / f"{number:05d}.parquet").exists()

    def parts(self, stage: str) -> Iterator[pa.Table]:
        """All finished parts of a stage in order."""
        paths = (self.stages / stage).glob("*.parquet")
        for path in sorted(paths, key=lambda path: int(path.stem)):
            yield read_part(path)


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{path} is damaged ({error}), so it cannot be told which run this folder holds; "
            "choose another --out"
        ) from None


def read_part(path: Path) -> pa.Table:
    """A stored part; raises RunFolderError that names it and the fix where it is damaged."""
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RunFolderError(
            f"{path} is missing or damaged ({error}); delete it and run the same command again: "
            "what is missing is made anew"
        ) from None


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A temporary file to fill; it gets the name `path`, synced, when the block ends well."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            _sync(temporary)
            temporary.replace(path)
            _sync(path.parent)
    except BaseException:  # Ctrl-C too must leave no half file; it goes on to the caller
        with suppress(OSError):
            temporary.unlink()
        raise


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill; it takes `path`'s place, synced, when the block ends well."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with writing(path):
            shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
            temporary.mkdir(parents=True)
            yield temporary
            for item in (*temporary.rglob("*"), temporary):
                _sync(item)
            if path.exists():
                shutil.rmtree(path)
            temporary.replace(path)
            _sync(path.parent)
    except BaseException:  # as above
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failed write into an error that says what to do."""
    try:
        yield
    except OSError as error:
        meaning = _MEANING.get(error.errno or 0, error.strerror or str(error))
        raise RunFolderError(
            f"cannot write {path}: {meaning}. What was finished is kept; put this right and run "
            "the same command again"
        ) from error


def _diff(earlier: Any, now: Any, name: str = "") -> list[str]:
    if isinstance(earlier, dict) and isinstance(now, dict):
        lines = []
        for key in sorted(earlier.keys() | now.keys()):
            dotted = f"{name}.{key}" if name else key
            lines += _diff(earlier.get(key), now.get(key), dotted)
        return lines
    return [] if earlier == now else [f"  {name}: {json.dumps(earlier)} -> {json.dumps(now)}"]
