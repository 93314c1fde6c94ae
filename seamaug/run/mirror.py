"""A run folder beyond this disk: worked on here, and sent there part by part.

    CACHE/<name>-<hash of the address>/<name>/     the run folder as it is on any disk
    CACHE/<name>-<hash of the address>/writer      who this folder is, at the other end
    CACHE/<name>-<hash of the address>/sent        what was sent of it, one line for each file

CACHE is `seamaug` in XDG_CACHE_HOME, by default ~/.cache. The other end has the same files, but for
what grows (vectors until they are whole), and `stages/writer.json`: whose work lies there. Where
that is this folder's, nobody else wrote since, and what is here counts; else what is here goes, and
what is there is fetched. Either way what is missing here is fetched. A part is sent before the next
one is begun, so what another machine finds lacks the part in flight and nothing else.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pyarrow as pa
from filelock import FileLock, Timeout

from seamaug.clock import clock
from seamaug.errors import RunFolderError, SeamaugError
from seamaug.log import logger
from seamaug.places import folder_here
from seamaug.run.folder import BEGUN, RunFolder, writing
from seamaug.run.lease import LOCK, Lease
from seamaug.storage import Place, Remote, remote, renamed_errors

_WRITER = "stages/writer.json"
_RECORD = "stages/identity.json"
_VOUCHES = "run.json"
"""Says that the other files are whole, so it is sent last and removed first."""
_LAST = (_VOUCHES, "train.json", "strength.json")
"""The latter say so of a training and of votes, which are never made anew."""
_REPLIES_EVERY = 60.0
"""Seconds at least between two copies of the replies, which are one growing file."""


@contextmanager
def opened_run(out: Place, identity: dict[str, Any]) -> Iterator[RunFolder]:
    """The run folder at a place, not yet entered; beyond this disk it is this process's alone.

    At the end of the block all that is finished has been sent. Raises RunFolderError and
    StorageError.
    """
    there = remote(out)
    if there is None:
        yield RunFolder(Path(out), identity)
        return
    mirror = Mirror(there)
    # What stands below it is said as it is, since it is here that it may have to be removed.
    with renamed_errors(re.escape(str(mirror.folder)) + "(?!/)", there.url), mirror.owned(identity):
        yield _MirroredRun(mirror, identity)


def run_here(place: Place, *patterns: str) -> AbstractContextManager[Path]:
    """The folder of a run, or a copy of run.json and the files that match, for the block."""
    wanted = (_VOUCHES, _RECORD, *patterns)
    return folder_here(place, lambda name: any(fnmatch(name, pattern) for pattern in wanted))


def folder_of(out: Place) -> Path:
    """Where on this disk the files of a run lie."""
    there = remote(out)
    return Path(out) if there is None else Mirror(there).folder


def remove_run(out: Place) -> None:
    """Remove a run folder, at both ends."""
    there = remote(out)
    if there is None:
        shutil.rmtree(out)
        return
    there.remove_all()
    shutil.rmtree(Mirror(there).folder.parent)


class Mirror:
    """A folder of this disk and its other end."""

    def __init__(self, there: Remote) -> None:
        self.there = there
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "seamaug"
        mark = hashlib.sha256(there.url.encode()).hexdigest()[:16]
        self._entry = base / f"{there.name}-{mark}"
        self.folder = self._entry / there.name
        self._log = self._entry / "sent"
        self._sent: dict[str, list[int]] = {}
        """Time and size of each file as it was when it was sent."""

    @contextmanager
    def owned(self, identity: dict[str, Any]) -> Iterator[None]:
        """Both ends are this process's alone for the block, at whose beginning they agree."""
        with writing(self.folder):
            self._entry.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._entry / "lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RunFolderError(
                f"another process is at work in {self.there.url}; wait for it, or choose another "
                "--out"
            ) from None
        try:
            writer = self._writer()
            self._lease = Lease(self.there, writer)
            self._lease.take()
            try:
                self._agree(writer, identity)
                with self._sent_at_last():
                    yield
            finally:
                self._lease.release()
        finally:
            lock.release()

    def send(self, name: str) -> None:
        """Send a file, unless that was done since it was written."""
        path = self.folder / name
        stat = path.stat()
        state = [stat.st_mtime_ns, stat.st_size]
        if self._sent.get(name) != state:
            self._lease.check()
            with clock.kind("storage"):
                self.there.send(path, name)
            self._note(name, state)

    def send_all(self) -> None:
        """Send what is not there yet."""
        names = list(self._names())
        if _VOUCHES not in names or self._is_new(_VOUCHES):
            self._lease.check()
            self.remove([_VOUCHES])
        for name in sorted(names, key=lambda name: (name in _LAST, name)):
            self.send(name)

    def remove(self, names: list[str]) -> None:
        """Remove files at the other end."""
        self.there.remove(names)
        for name in names:
            self._sent.pop(name, None)

    def remove_folder(self, name: str) -> None:
        """Remove what was sent of a folder."""
        self.remove([sent for sent in self._sent if sent.startswith(f"{name}/")])

    @contextmanager
    def _sent_at_last(self) -> Iterator[None]:
        """Whatever ends the block: what is finished goes out. The first error is the one told."""
        try:
            yield
        except BaseException:
            try:
                if self.folder.is_dir():
                    self.send_all()
            except (SeamaugError, OSError) as error:
                logger.warning(f"not all of {self.folder} was sent: {error}")
            raise
        self.send_all()

    def _agree(self, writer: str, identity: dict[str, Any]) -> None:
        names = self.there.names()
        for own_object in (LOCK, _WRITER):
            names.pop(own_object, None)
        last = self.there.read(_WRITER)
        own = json.dumps({"writer": writer}).encode()
        if last == own:
            self._sent = {name: state for name, state in self._noted().items() if name in names}
        else:
            self._refuse_another(names, identity)
            shutil.rmtree(self.folder, ignore_errors=True)
            self._log.unlink(missing_ok=True)
        missing = [name for name in names if not (self.folder / name).exists()]
        if missing:
            logger.info(f"{len(missing):,} files are fetched from {self.there.url}")
        with writing(self.folder):
            self.there.fetch(missing, self.folder)
            for name in missing:
                self._note(name, _state(self.folder / name))
        if last != own:
            self.there.write(_WRITER, own)

    def _refuse_another(self, names: dict[str, int], identity: dict[str, Any]) -> None:
        """Raise RunFolderError for what is not this run, before all of it is fetched."""
        if not names:
            return
        if not any(name.startswith(f"{begun}/") for begun in BEGUN for name in names):
            raise RunFolderError(
                f"{self.there.url} exists and is not a seamaug run; choose an empty or new --out"
            )
        parts = [name for name in names if name.startswith("stages/") and name.count("/") == 2]
        smallest = sorted(parts, key=lambda name: names[name])[:1]  # that there are any counts
        with self._glance([*names.keys() & {_RECORD}, *smallest]) as folder:
            RunFolder(folder, identity)

    @contextmanager
    def _glance(self, names: list[str]) -> Iterator[Path]:
        """Some of the files, for as long as the block lasts."""
        folder = self._entry / "glance"
        try:
            with writing(folder), renamed_errors(re.escape(str(folder)), self.there.url):
                shutil.rmtree(folder, ignore_errors=True)
                self.there.fetch(names, folder)
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _writer(self) -> str:
        """Who this folder is."""
        path = self._entry / "writer"
        if not path.exists():
            with writing(path):
                path.write_text(secrets.token_hex(16))
        return path.read_text()

    def _names(self) -> Iterator[str]:
        """What belongs at the other end of what is here."""
        for path in self.folder.rglob("*"):
            grows = path.suffix == ".partial" or path.name.endswith(("-wal", "-shm"))
            if not (path.name.startswith(".") or path.name == "lock" or grows) and path.is_file():
                yield path.relative_to(self.folder).as_posix()

    def _is_new(self, name: str) -> bool:
        return self._sent.get(name) != _state(self.folder / name)

    def _note(self, name: str, state: list[int]) -> None:
        self._sent[name] = state
        with writing(self._log), self._log.open("a", encoding="utf-8") as log:
            log.write(json.dumps([name, *state]) + "\n")

    def _noted(self) -> dict[str, list[int]]:
        """What `_note` noted; the last line may be torn."""
        found = {}
        if self._log.exists():
            for line in self._log.read_text(encoding="utf-8").splitlines():
                try:
                    name, *state = json.loads(line)
                except ValueError:
                    continue
                found[name] = state
        return found


class _MirroredRun(RunFolder):
    """A run folder whose parts are sent as they are finished."""

    def __init__(self, mirror: Mirror, identity: dict[str, Any]) -> None:
        self._mirror = mirror
        self._stage = ""
        self._replies_sent = time.monotonic()
        super().__init__(mirror.folder, identity)

    def part(
        self, stage: str, number: int, make: Callable[[], pa.Table], *, chained: bool = False
    ) -> pa.Table:
        """As of any run; when it returns the part is at the other end, too."""
        table = super().part(stage, number, make, chained=chained)
        if stage != self._stage:  # what the stage before made beside parts, such as vectors
            self._mirror.send_all()
            self._stage = stage
        self._mirror.send(f"stages/{stage}/{number:05d}.parquet")
        # Without its log, which the process that has it open writes to, it lacks the last replies.
        if self.replies.exists() and time.monotonic() - self._replies_sent >= _REPLIES_EVERY:
            self._mirror.send(self.replies.relative_to(self.path).as_posix())
            self._replies_sent = time.monotonic()
        return table

    def remember(self, name: str, value: Any) -> None:
        """As of any run; at the other end, too, before what goes by it."""
        super().remember(name, value)
        self._mirror.send("stages/found.json")

    def drop(self, stage: str) -> None:
        """As of any run; at the other end first, or it would be fetched again."""
        self._mirror.remove_folder(f"stages/{stage}")
        super().drop(stage)

    def _drop_from(self, stage: str, number: int) -> None:
        """Of a chain, no later parts may be left at the other end beside earlier ones made anew."""
        doomed = [self._path(stage, own) for own in self._numbers(stage) if own >= number]
        self._mirror.remove([path.relative_to(self.path).as_posix() for path in reversed(doomed)])
        super()._drop_from(stage, number)


def _state(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_mtime_ns, stat.st_size]
