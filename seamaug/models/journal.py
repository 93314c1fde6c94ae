"""Replies as they arrive, stored so that none is paid for twice, and what they came to."""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from seamaug.errors import RunFolderError
from seamaug.models.engines import Reply

_AT_ONCE = 500  # keys in one query


@dataclass(slots=True)
class Account:
    """What the requests of one operator came to, over all processes of a run."""

    requests: int = 0
    """That were answered."""
    prompt_tokens: int = 0
    new_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Tokens read and written."""
        return self.prompt_tokens + self.new_tokens

    def join(self, other: "Account", times: int = 1) -> None:
        """Add what is in another; `times=-1` takes it out."""
        self.requests += times * other.requests
        self.prompt_tokens += times * other.prompt_tokens
        self.new_tokens += times * other.new_tokens

    def cost(self, price_in: float, price_out: float) -> float:
        """USD, at prices per million tokens."""
        return (self.prompt_tokens * price_in + self.new_tokens * price_out) / 1e6


class Journal:
    """Replies by key in a SQLite file; each is on its way to the disk before the next arrives.

    Beside them it counts the requests that have none.

    What a killed process had stored is there for the next one. (After a loss of power the last
    replies may be missing, never damaged.) For one process and thread: the run folder is locked.
    `path` None keeps them in memory.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.accounts: dict[str, Account] = {}
        self.total = Account()
        """Of all operators."""
        with self._usable():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
            # What is damaged shall fail by its checksum, not by its encoding.
            self._db.text_factory = lambda stored: stored.decode("utf-8", "replace")
            # Exclusive, so that WAL does without shared memory, which network file systems lack.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS replies (key TEXT PRIMARY KEY, operator TEXT, "
                "text TEXT, error TEXT, cut INTEGER, prompt_tokens INTEGER, new_tokens INTEGER, "
                "unreadable INTEGER DEFAULT 0, sum TEXT) WITHOUT ROWID"
            )
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS failures (key TEXT PRIMARY KEY, operator TEXT) "
                "WITHOUT ROWID"
            )
            for operator, *counts in self._db.execute(
                "SELECT operator, count(*), sum(prompt_tokens), sum(new_tokens) FROM replies "
                "GROUP BY operator ORDER BY operator"
            ):
                self.accounts[operator] = Account(*counts)
                self.total.join(self.accounts[operator])

    def replies(self, keys: Sequence[str]) -> dict[str, Reply]:
        """The stored replies among these keys."""
        found = {}
        for start in range(0, len(keys), _AT_ONCE):
            some = keys[start : start + _AT_ONCE]
            marks = ",".join("?" * len(some))
            with self._usable():
                rows = self._db.execute(
                    "SELECT key, text, error, cut, prompt_tokens, new_tokens, sum FROM replies "
                    f"WHERE key IN ({marks})",
                    some,
                ).fetchall()
                for key, text, error, cut, prompt_tokens, new_tokens, told in rows:
                    found[key] = Reply(text, error, bool(cut), prompt_tokens, new_tokens)
                    if _sum(key, found[key]) != told:
                        raise sqlite3.DatabaseError("the checksum of a reply is wrong")
        return found

    def add(self, key: str, operator: str, reply: Reply) -> None:
        """Store a reply, in place of an earlier one with this key, and count it."""
        for account in (self.accounts.setdefault(operator, Account()), self.total):
            for earlier in self.replies([key]).values():
                account.join(_of(earlier), times=-1)
            account.join(_of(reply))
        with self._usable():
            self._db.execute("DELETE FROM failures WHERE key = ?", (key,))
            self._db.execute(
                "INSERT OR REPLACE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?)",
                (
                    key,
                    operator,
                    reply.text,
                    reply.error,
                    reply.cut,
                    reply.prompt_tokens,
                    reply.new_tokens,
                    _sum(key, reply),
                ),
            )

    def add_failure(self, key: str, operator: str) -> None:
        """Note that a request has no reply yet: it may be made again."""
        with self._usable():
            self._db.execute("INSERT OR REPLACE INTO failures VALUES (?, ?)", (key, operator))

    def mark_unreadable(self, keys: Iterable[str]) -> None:
        """Note that these replies were of no use."""
        with self._usable():
            self._db.executemany(
                "UPDATE replies SET unreadable = 1 WHERE key = ?", ((key,) for key in keys)
            )

    def unreadable(self) -> dict[str, int]:
        """Replies that were of no use, by operator."""
        return self._counts("SELECT operator FROM replies WHERE unreadable")

    def failed(self) -> dict[str, int]:
        """Requests that got no text, by operator; some of them were answered, and paid."""
        return self._counts(
            "SELECT operator FROM failures UNION ALL SELECT operator FROM replies WHERE error != ''"
        )

    def _counts(self, operators: str) -> dict[str, int]:
        with self._usable():
            return dict(
                self._db.execute(f"SELECT operator, count(*) FROM ({operators}) GROUP BY operator")
            )

    def close(self) -> None:
        """Let the file go."""
        self._db.close()

    @contextmanager
    def _usable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise RunFolderError(
                f"cannot write {self._path}: {error}. What was finished is kept; put this right "
                "and run the same command again"
            ) from None
        except (sqlite3.DatabaseError, OSError) as error:
            raise RunFolderError(
                f"{self._path} is damaged ({error}); delete it and run the same command again: "
                "replies of finished parts are not asked for again, others that were in it are, "
                "and paid, once more"
            ) from None


def _sum(key: str, reply: Reply) -> str:
    """SQLite itself finds damage to its own structures alone."""
    told = [key, reply.text, reply.error, reply.cut, reply.prompt_tokens, reply.new_tokens]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _of(reply: Reply) -> Account:
    return Account(1, reply.prompt_tokens, reply.new_tokens)
