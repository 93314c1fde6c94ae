"""The run folder: all that one job did, and from which it resumes.

    OUT/stages/identity.json        what the run is: config, fingerprints, versions
    OUT/stages/found.json           what it found out at its start and goes by from then on
    OUT/stages/<stage>/00000.parquet, 00001.parquet, ...
    OUT/stages/replies.sqlite       what an LLM replied, in and between parts
    OUT/stages/embed/               vectors and their index: see retrieve/

A part appears under its final name only when it is whole: it is written to a temporary name,
synced and renamed. So a killed run loses the part in flight and nothing else. Its checksum is in it
(see seal.py): one that was damaged later is named and made anew.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from seamaug.errors import RunFolderError
from seamaug.log import logger
from seamaug.run.seal import check, seal, sealed_json, unsealed_json

_MEANING = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file-size limit is reached",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission is denied",
}

REPLIES = "stages/replies.sqlite"
"""Where an LLM's replies are kept as they arrive."""
BEGUN = ("stages", "tensorboard", "wandb")
"""What a run has before its first part is finished; the trackers name the last two."""


class RunFolder:
    """A folder of finished parts; the same identity resumes, another is refused.

    Entered as a context, it is this process's alone until the context ends.
    """

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self.stages = path / "stages"
        self.replies = path / REPLIES
        self._found = self.stages / "found.json"
        self._record = self.stages / "identity.json"
        self._identity = identity
        self._lock = FileLock(self.stages / "lock")
        self._claim()

    def _claim(self) -> None:
        """Make sure that what is there is this run, or begin it."""
        with writing(self.path):
            parts = any(not file.name.startswith(".") for file in self.stages.glob("*/*"))
            known = self._record.is_file()
        if parts and not known:
            raise RunFolderError(
                f"{self._record} is gone, so it cannot be told which run this folder holds; "
                f"choose another --out, or remove {self.path} to start over"
            )
        if parts:
            earlier, now = _read_json(self._record), json.loads(json.dumps(self._identity))
            if changes := _diff(earlier, now):
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
            text = json.dumps(self._identity, indent=2, sort_keys=True).encode() + b"\n"
            if not known or self._record.read_bytes() != text:
                with self._own(), whole_file(self._record) as temporary:
                    self._found.unlink(missing_ok=True)  # by another run, that never got far
                    temporary.write_bytes(text)

    @contextmanager
    def _own(self) -> Iterator[None]:
        """The folder is this process's alone for the length of the block; blocks may be nested."""
        with writing(self.path):
            self.stages.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0)
            except Timeout:
                raise RunFolderError(
                    f"another process is at work in {self.path}; wait for it, or choose another "
                    "--out"
                ) from None
        try:
            yield
        finally:
            self._lock.release()

    def __enter__(self) -> "RunFolder":
        with ExitStack() as stack:
            stack.enter_context(self._own())
            self._claim()  # once more: another process may have been here before the lock was ours
            self._held = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._held.close()

    def recall(self, name: str) -> Any:
        """What `remember` stored under this name; None if nothing yet."""
        return self._recalled().get(name)

    def remember(self, name: str, value: Any) -> None:
        """Store what a resumed run is to go by, though it might find something else."""
        found = self._recalled()
        if found.get(name) != value:
            with whole_file(self._found) as temporary:
                temporary.write_text(sealed_json({**found, name: value}), encoding="utf-8")

    def _recalled(self) -> dict[str, Any]:
        if not self._found.is_file():
            return {}
        try:
            return unsealed_json(self._found.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunFolderError(
                f"{self._found} is damaged ({error}); delete it and run the same command again: "
                "what it said is found out anew"
            ) from None

    def _foreign(self) -> Iterator[Path]:
        """Whatever a run that finished no part yet would not have left."""
        return (item for item in self.path.iterdir() if item.name not in BEGUN)

    def part(
        self, stage: str, number: int, make: Callable[[], pa.Table], *, chained: bool = False
    ) -> pa.Table:
        """The finished part, or the one that `make` computes, once it is safely stored.

        A damaged one is named in the log and made anew. `chained`: each part of the stage follows
        from those before it, so the later ones are then made anew as well.
        """
        path = self._path(stage, number)
        if self.has_sound_part(stage, number):
            return read_part(path)
        self._must_be_there()
        if chained:
            self._drop_from(stage, number)
        table = make()
        self._must_be_there()
        with whole_file(path) as temporary:
            pq.write_table(table, temporary)
            seal(temporary)
        return read_part(path)

    def stored(self, stage: str, number: int) -> pa.Table:
        """A part that is finished; raises RunFolderError where it is damaged since."""
        return read_part(self._path(stage, number))

    def has_part(self, stage: str, number: int) -> bool:
        """Whether the part is finished."""
        return self._path(stage, number).exists()

    def has_sound_part(self, stage: str, number: int) -> bool:
        """Whether the part is finished and as it was written; a damaged one is named in the log."""
        path = self._path(stage, number)
        if not path.exists():
            return False
        try:
            read_part(path)
        except RunFolderError as error:
            if not _is_damage(error.__cause__):
                raise
            logger.warning(f"{path} is damaged ({error.__cause__}): it is made anew")
            return False
        return True

    def parts(self, stage: str) -> Iterator[pa.Table]:
        """All finished parts of a stage in order."""
        self._must_be_there()
        for number in self._numbers(stage):
            yield read_part(self._path(stage, number))

    def drop(self, stage: str) -> None:
        """Remove what a stage left and nothing reads any more, such as checkpoints."""
        shutil.rmtree(self.stages / stage, ignore_errors=True)

    def _path(self, stage: str, number: int) -> Path:
        return self.stages / stage / f"{number:05d}.parquet"

    def _numbers(self, stage: str) -> list[int]:
        """Of the finished parts, in order; paths of all of them would take a kilobyte each."""
        folder = self.stages / stage
        if not folder.is_dir():
            return []
        with os.scandir(folder) as entries:
            own = (entry.name.partition(".") for entry in entries)
            return sorted(int(stem) for stem, _, kind in own if kind == "parquet")

    def _drop_from(self, stage: str, number: int) -> None:
        with writing(self.path):
            for own in reversed(self._numbers(stage)):  # from the end: no gap if this is killed
                if own >= number:
                    self._path(stage, own).unlink()

    def _must_be_there(self) -> None:
        """A folder that somebody removes must not come back with a part of the run."""
        if not self._record.is_file():
            raise RunFolderError(
                f"{self._record} is gone: {self.path} was removed, moved or unmounted while the "
                "run was at work; what was finished went with it. Put it back, or remove what is "
                "left of it, and run the same command again"
            )


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunFolderError(
            f"{path} is damaged ({error}), so it cannot be told which run this folder holds; "
            "choose another --out"
        ) from None


def _is_damage(problem: BaseException | None) -> bool:
    """Whether the file is to blame, not what keeps this process from reading it."""
    return isinstance(problem, OSError) and problem.errno in (None, errno.EIO)


def read_part(path: Path) -> pa.Table:
    """A sealed file of a run; raises RunFolderError that names it and the fix if it is damaged."""
    try:
        check(path)
        # In this thread: pq.read_table waits for ever for a thread that memory is too short for.
        with pq.ParquetFile(path) as file:
            return file.read(use_threads=False)
    except (pa.ArrowInvalid, OSError) as error:
        raise RunFolderError(
            f"{path} is missing or damaged ({error}); run the same command again, of a finished "
            "run after removing its run.json: what is missing or damaged is made anew"
        ) from error


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
