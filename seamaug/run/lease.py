"""One writer at a time in a folder beyond this disk, where there are no locks.

Who works there keeps an object `stages/lock.json`, made only if there is none, and writes a new
number into it every 20 seconds. Whoever finds one watches it for 90 seconds of the own clock: where
the number changes the folder is in use, where it does not the writer is gone and the newcomer takes
over. A writer that was only asleep, or cut off, finds that out at its next beat and stops.

Not guarded: what such a writer sends between waking and that beat; and stores that cannot make an
object only if there is none (S3, GCS and Azure can), where two that start within a second may both
begin, until the next beat of one of them.
"""

import json
import os
import secrets
import socket
import threading
import time
from typing import Any

from seamaug.errors import RunFolderError, StorageError
from seamaug.log import logger
from seamaug.storage import Remote

LOCK = "stages/lock.json"
BEAT = 20.0
PATIENCE = 90.0
"""Seconds: several beats, since one may fail."""


class Lease:
    """The right to write in a folder, from `take` to `release`.

    writer: names the local folder that the writer works in. Of those that share it one process runs
        at a time, so a lock in this name is of a process that is gone.
    """

    def __init__(self, remote: Remote, writer: str) -> None:
        self._remote = remote
        self._mark = {
            "writer": writer,
            "process": secrets.token_hex(8),
            "at": f"{socket.gethostname()}, process {os.getpid()}",
        }
        self._beats = 0
        self._lost = threading.Event()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def take(self) -> None:
        """Become the writer; raises RunFolderError where another one is at work."""
        while not self._remote.create(LOCK, self._content()):
            found = self._found()
            if found and found.get("writer") != self._mark["writer"]:
                self._watch(found)
            self._remote.remove([LOCK])
        self._check_own()
        self._thread.start()

    def check(self) -> None:
        """Raise RunFolderError where another process took over."""
        if self._lost.is_set():
            raise RunFolderError(
                f"another process took over {self._remote.url}, or {LOCK} was removed there; what "
                "was sent is kept: once the other one has ended, the same command goes on"
            )

    def release(self) -> None:
        """Let others write; does nothing where they do already."""
        self._done.set()
        self._thread.join()
        if not self._lost.is_set():
            self._remote.remove([LOCK])

    def _watch(self, found: dict[str, Any]) -> None:
        """Wait until the writer that was found must be gone."""
        logger.warning(
            f"{self._remote.url} is in use at {found.get('at')}, or was when that process ended: "
            f"watching it for {PATIENCE:g} seconds"
        )
        end = time.monotonic() + PATIENCE
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, BEAT / 2))
            now = self._found()
            if now is None:
                return
            if now != found:
                raise RunFolderError(
                    f"another process is at work in {self._remote.url} ({now.get('at')}); wait for "
                    "it, or choose another --out"
                )

    def _check_own(self) -> None:
        if not self._is_own():
            raise RunFolderError(
                f"another process began in {self._remote.url} at the same time; wait for it, or "
                "choose another --out"
            )

    def _is_own(self) -> bool:
        return (self._found() or {}).get("process") == self._mark["process"]

    def _beat(self) -> None:
        while not self._done.wait(BEAT):
            try:
                if not self._is_own():
                    self._lost.set()
                    return
                self._beats += 1
                self._remote.write(LOCK, self._content())
            except StorageError as error:
                logger.warning(f"{error}")  # the next beat may get through

    def _content(self) -> bytes:
        return json.dumps({**self._mark, "beat": self._beats}).encode()

    def _found(self) -> dict[str, Any] | None:
        content = self._remote.read(LOCK)
        try:
            found: Any = None if content is None else json.loads(content)
        except ValueError:
            return {}
        return found if isinstance(found, dict) or found is None else {}
