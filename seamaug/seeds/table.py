"""All seeds of a run as one Arrow table, rows that share a prompt merged."""

import hashlib
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.log import logger
from seamaug.records import Message, Seed, to_table, user_text
from seamaug.seeds.bad_rows import Sieve
from seamaug.seeds.columns import Layouts
from seamaug.seeds.repeats import first_of_each
from seamaug.seeds.store import RowStore, taken

SeedSource = str | Sequence[str] | Sequence[dict[str, Any]] | Any
"""What a caller may pass as seeds: path(s) or a dataset id, rows, or a `datasets.Dataset`."""

MIN_SEEDS = 3
_CHUNK = 10_000


class Seeds:
    """Seeds by position; their texts are Arrow's, in a mapped file where there are many."""

    def __init__(self, table: pa.Table, rows_read: int, unusable: int = 0) -> None:
        self.table = table
        self.rows_read = rows_read
        """Rows before those that share a prompt were merged, the unusable ones among them."""
        self.unusable = unusable

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __reduce__(self) -> tuple[Any, ...]:
        # Without what was derived from them.
        return Seeds, (self.table, self.rows_read, self.unusable)

    @property
    def merged(self) -> int:
        """Rows that share a prompt with an earlier one."""
        return self.rows_read - self.unusable - len(self)

    def __getitem__(self, position: int) -> Seed:
        return next(self.at([position]))

    def at(self, positions: Sequence[int] | np.ndarray) -> Iterator[Seed]:
        """The seeds at these positions, in their order."""
        for row in taken(self.table, positions).to_pylist():
            yield Seed(**row)

    def prompts(self) -> Iterator[list[Message]]:
        """All prompts in order, a chunk at a time."""
        for batch in self.table.select(["prompt"]).to_batches(max_chunksize=_CHUNK):
            yield from batch.column(0).to_pylist()

    def prompts_at(self, positions: np.ndarray) -> list[list[Message]]:
        """The prompts at these positions, in their order."""
        found: list[list[Message]] = taken(self.table.select(["prompt"]), positions)[
            "prompt"
        ].to_pylist()
        return found

    def texts(self, start: int, stop: int) -> list[str]:
        """What is embedded of the seeds in [start, stop)."""
        prompts = self.table["prompt"].slice(start, stop - start).to_pylist()
        return [user_text(prompt) for prompt in prompts]

    def texts_at(self, positions: np.ndarray) -> list[str]:
        """What is embedded of the seeds at these positions."""
        return [user_text(prompt) for prompt in self.prompts_at(positions)]

    @cached_property
    def ids(self) -> list[str]:
        """Seed ids by position."""
        ids: list[str] = self.table["id"].to_pylist()
        return ids

    @cached_property
    def fingerprint(self) -> str:
        """Content hash of all that a run takes from the seeds."""
        digest = hashlib.blake2b(digest_size=16)
        own = self.table.select(["id", "golden", "worse", "source", "licence"])
        for start in range(0, len(self), _CHUNK):  # however the table is cut into chunks
            digest.update(repr(own.slice(start, _CHUNK).to_pylist()).encode("utf-8"))
        return digest.hexdigest()


def read_seeds(
    config: SeedsConfig,
    rows: Iterable[dict[str, Any]] | None = None,
    *,
    prompts_alone: bool = False,
) -> Seeds:
    """All seeds of the configured paths, or of `rows` where a caller has them in memory.

    `prompts_alone`: whether rows without a golden response will do; theirs is then empty.
    Raises InputError that lists the bad rows (file, line, field, fix) where `config.bad_rows` does
    not set them aside, or says that there are too few seeds to compare.
    """
    layouts = Layouts(dict(config.columns), prompts_alone=prompts_alone)
    sieve = Sieve()
    table = _collect(sieve.each(config, rows, layouts.seed))
    seeds = Seeds(table, sieve.read, sieve.bad)
    name = ", ".join(config.paths)
    if len(seeds) < MIN_SEEDS:
        raise InputError(
            f"{name}: {len(seeds)} seed(s) with a prompt of their own; at least {MIN_SEEDS} are "
            "needed, since a prompt's hack set is made of the other prompts' golden responses"
        )
    if merged := seeds.merged:
        logger.info(
            f"{merged:,} of {seeds.rows_read:,} rows share a prompt with an earlier row: merged "
            "(the first golden response stays, worse ones are joined)"
        )
    return seeds


def _collect(seeds: Iterable[Seed]) -> pa.Table:
    """All seeds; rows that share a prompt are merged at the end, since then 8 bytes of each do."""
    store, keys, rest = RowStore(Seed.SCHEMA), array("Q"), iter(seeds)
    while chunk := list(islice(rest, _CHUNK)):
        keys.extend(int(seed.id, 16) for seed in chunk)
        store.add(to_table(chunk, Seed.SCHEMA))
    first = first_of_each(np.frombuffer(keys, np.uint64))
    alone = first == np.arange(len(first))
    return store.table() if alone.all() else _merged(store.table(), first, alone)


def _merged(table: pa.Table, first: np.ndarray, alone: np.ndarray) -> pa.Table:
    """The rows that stand `alone`, with the worse responses of those of which they are the first;
    none twice, none equal to the golden response."""
    extra: dict[int, dict[str, None]] = {}
    again = np.flatnonzero(~alone)
    for start in range(0, len(again), _CHUNK):
        some = again[start : start + _CHUNK]
        worse = taken(table.select(["worse"]), some)["worse"].to_pylist()
        for position, texts in zip(first[some].tolist(), worse, strict=True):
            extra.setdefault(position, {}).update(dict.fromkeys(texts))
    store = RowStore(Seed.SCHEMA)
    for start in range(0, len(first), _CHUNK):
        chunk = table.slice(start, _CHUNK)
        if own := extra.keys() & range(start, start + _CHUNK):
            rows = chunk.to_pylist()
            for position in own:
                row = rows[position - start]
                texts = [text for text in extra[position] if text.strip() != row["golden"].strip()]
                row["worse"] = list(dict.fromkeys([*row["worse"], *texts]))
            chunk = pa.Table.from_pylist(rows, Seed.SCHEMA)
        store.add(chunk.filter(pa.array(alone[start : start + _CHUNK])))
    return store.table()
