"""All seeds of a run as one Arrow table, rows that share a prompt merged."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.log import logger
from seamaug.records import Message, Seed, to_table, user_text
from seamaug.seeds.bad_rows import Sieve
from seamaug.seeds.columns import Layouts
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
        for batch in self.table.select(["id", "golden", "worse", "source", "licence"]).to_batches(
            max_chunksize=_CHUNK
        ):
            digest.update(repr(batch.to_pylist()).encode("utf-8"))
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
    store = RowStore(Seed.SCHEMA)
    chunk: list[Seed] = []
    position: dict[str, int] = {}
    extra: dict[int, dict[str, None]] = {}
    for seed in seeds:
        if seed.id in position:
            extra.setdefault(position[seed.id], {}).update(dict.fromkeys(seed.worse))
            continue
        position[seed.id] = len(position)
        chunk.append(seed)
        if len(chunk) == _CHUNK:
            store.add(to_table(chunk, Seed.SCHEMA))
            chunk = []
    store.add(to_table(chunk, Seed.SCHEMA))
    return _join_worse(store.table(), extra) if extra else store.table()


def _join_worse(table: pa.Table, extra: Mapping[int, Iterable[str]]) -> pa.Table:
    """Add the worse responses of merged rows; none twice, none equal to the golden response."""
    store = RowStore(Seed.SCHEMA)
    for start in range(0, table.num_rows, _CHUNK):
        chunk = table.slice(start, _CHUNK)
        if own := extra.keys() & range(start, start + _CHUNK):
            rows = chunk.to_pylist()
            for position in own:
                row = rows[position - start]
                texts = [text for text in extra[position] if text.strip() != row["golden"].strip()]
                row["worse"] = list(dict.fromkeys([*row["worse"], *texts]))
            chunk = pa.Table.from_pylist(rows, Seed.SCHEMA)
        store.add(chunk)
    return store.table()
