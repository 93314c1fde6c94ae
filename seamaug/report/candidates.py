"""What the provenance of a run says of its candidates, read as a stream: figures and a sample."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from seamaug.errors import RunFolderError
from seamaug.records import KEPT, Candidate
from seamaug.report.sample import Lowest
from seamaug.run.seal import check
from seamaug.write.datasets import PROVENANCE, dataset_file

_BATCH = 2048
_OF_EACH_REASON = 20


@dataclass
class Candidates:
    """Figures over all candidates, and some of them with their texts."""

    total: int = 0
    before: list[float] = field(default_factory=list)
    """SEAM of the parent, for each kept candidate."""
    after: list[float] = field(default_factory=list)
    """SEAM of the kept candidate itself."""
    parents: list[str] = field(default_factory=list)
    """Ids of the kept candidates' parents."""
    chosen_is_longer: int = 0
    """Kept examples whose chosen response has more characters than the rejected one."""
    made: Counter[str] = field(default_factory=Counter)
    """Candidates by parent."""
    kept: Counter[str] = field(default_factory=Counter)
    """Kept candidates by parent."""
    sample: list[dict[str, Any]] = field(default_factory=list)
    """Rows of the provenance, in an order by content hash."""


def read_candidates(run: Path, parents: Collection[str], size: int) -> Candidates:
    """Figures over the provenance of a run, and about `size` of its rows.

    The sample has as many of each of these `parents`, kept ones and others alike, and some of each
    reason. It is drawn by content hash: the same run gives the same rows.
    """
    found = Candidates()
    sample = _Sample(parents, size)
    for batch in _batches(dataset_file(run, PROVENANCE)):
        rows = batch.select(["id", "parent", "verdict", "reason"]).to_pylist()
        for place, row in enumerate(rows):
            found.made[row["parent"]] += 1
            found.kept[row["parent"]] += row["verdict"] == KEPT
            sample.offer(row, batch, place)
        found.total += len(rows)
        _take_kept(found, batch.filter(pc.equal(batch["verdict"], KEPT)))
    found.sample = sample.rows()
    return found


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    columns = ["row", *Candidate.SCHEMA.names]
    try:
        check(path)
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=_BATCH, columns=columns)
    except (pa.ArrowException, OSError) as error:
        raise RunFolderError(
            f"{path} is missing or damaged ({error}); delete it and run the same expand command "
            "again: it is made anew from the finished parts"
        ) from None


def _take_kept(found: Candidates, kept: pa.RecordBatch) -> None:
    found.before += kept["seam_before"].to_pylist()
    found.after += kept["seam_after"].to_pylist()
    found.parents += kept["parent"].to_pylist()
    longer = pc.greater(pc.utf8_length(kept["chosen"]), pc.utf8_length(kept["rejected"]))
    found.chosen_is_longer += pc.sum(longer).as_py() or 0


class _Sample:
    """Some candidates of each parent and of each reason, at random."""

    def __init__(self, parents: Collection[str], size: int) -> None:
        of_each = max(1, size // (2 * max(len(parents), 1)))
        self._families = {
            (parent, kept): Lowest[dict[str, Any]](of_each)
            for parent in parents
            for kept in (True, False)
        }
        self._reasons: dict[tuple[str, str], Lowest[dict[str, Any]]] = {}

    def offer(self, row: dict[str, Any], batch: pa.RecordBatch, place: int) -> None:
        priority = int(row["id"], 16)
        reason = (row["verdict"], row["reason"])
        family = self._families.get((row["parent"], row["verdict"] == KEPT))
        same_reason = self._reasons.setdefault(reason, Lowest(_OF_EACH_REASON))
        wanted = [some for some in (family, same_reason) if some and some.wants(priority)]
        whole = batch.slice(place, 1).to_pylist()[0] if wanted else {}
        for some in wanted:
            some.take(priority, whole)

    def rows(self) -> list[dict[str, Any]]:
        every = chain(self._families.values(), self._reasons.values())
        rows = {row["id"]: row for some in every for row in some.rows()}
        return [rows[key] for key in sorted(rows)]
