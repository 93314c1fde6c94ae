"""The canonical example that every dialect is written from, and where such examples come from."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from seamaug.config import SeedsConfig
from seamaug.errors import RunFolderError
from seamaug.records import KEPT, Message
from seamaug.run.seal import check
from seamaug.seeds.bad_rows import Sieve
from seamaug.seeds.columns import Layouts
from seamaug.seeds.pairs import MARGIN, number_of

AUGMENTED, ORIGINAL = "augmented", "original"
"""Where an example comes from: a run, or the dataset that it is merged with."""
_BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Example:
    """A prompt with its chosen response, and none, one or several responses that are worse."""

    id: str
    """Of the candidate; of an original row, that of the seed which it is."""
    parent: str
    """Id of the seed that it was made from; of an original row, its own."""
    source: str
    """`augmented` or `original`."""
    prompt: list[Message]
    chosen: str
    rejected: Sequence[str]
    margin: float | None = None
    """Preference strength: how far an ensemble puts `chosen` above `rejected`, in logits. A run's
    is mu of its judges, an original row's its own `margin`; None where there is none.
    (`margin_after` of the provenance is what the reward model under test already believes, so it is
    no target for it.)"""
    run: str = ""
    """Which it is from, as the user named it; empty for an original row."""

    def with_response(self, response: str) -> list[Message]:
        """The prompt and this response as one conversation."""
        return [*self.prompt, {"role": "assistant", "content": response}]


def kept_examples(provenance: Path, run: str = "") -> Iterator[Example]:
    """The kept candidates of a finished run, in the order of its datasets, a batch at a time."""
    for row in kept_rows(provenance, ["id", "parent", "prompt", "chosen", "rejected", "mu"]):
        yield Example(
            id=row["id"],
            parent=row["parent"],
            source=AUGMENTED,
            prompt=row["prompt"],
            chosen=row["chosen"],
            rejected=[row["rejected"]],
            margin=row.get("mu"),  # not there in a run of an earlier version
            run=run,
        )


def kept_rows(provenance: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """These columns of the kept candidates, in the same order."""
    try:
        check(provenance)
        with pq.ParquetFile(provenance) as file:
            for batch in file.iter_batches(batch_size=_BATCH, columns=[*columns, "verdict"]):
                for row in batch.to_pylist():
                    if row["verdict"] == KEPT:
                        yield row
    except (pa.ArrowException, OSError) as error:
        raise RunFolderError(
            f"{provenance} is missing or damaged ({error}); remove run.json beside it and run the "
            "expand command again: it is made anew from the finished parts"
        ) from None


def original_examples(
    config: SeedsConfig,
    rows: Iterable[dict[str, Any]] | None,
    layouts: Layouts,
    *,
    margin: bool,
) -> Iterator[Example]:
    """The rows of the dataset to merge with, in their order, whatever prompts they share.

    rows: in memory; None reads the configured paths. margin: whether to read their `margin`. Bad
    rows are dealt with as in `read_seeds`.
    """

    def example(row: dict[str, Any], where: str) -> Example:
        seed = layouts.seed(row, where)
        own = number_of(row, MARGIN) if margin else None
        return Example(seed.id, seed.id, ORIGINAL, seed.prompt, seed.golden, seed.worse, own)

    yield from Sieve().each(config, rows, example)
