"""Where the budget went and what it bought, by operator and by cluster of seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa

from seamaug.clusters import Clusters
from seamaug.records import KEPT, Parent
from seamaug.seeds import Seeds
from seamaug.steering import LEARNT_FROM, removed

_NAME_CHARS = 60


@dataclass(slots=True)
class _Account:
    candidates: int = 0
    """In which it had a part."""
    kept: int = 0
    tokens: float = 0.0
    """Its share of what was generated: operators of one candidate share alike."""
    fall: float = 0.0
    """Its share of the discrepancy removed."""

    def take(self, row: dict[str, Any], parts: int) -> None:
        self.candidates += 1
        self.kept += row["verdict"] == KEPT
        self.tokens += row["tokens"] / parts
        self.fall += removed(row) / parts

    def summary(self) -> dict[str, Any]:
        per_1k = 1000 * self.fall / self.tokens if self.tokens else None
        return {**asdict(self), "fall_per_1k_tokens": per_1k}


def spending(
    candidates: Iterable[pa.Table], parents: Sequence[Parent], clusters: Clusters, seeds: Seeds
) -> dict[str, Any]:
    """Candidates, kept, tokens and fall of SEAM: `operators` by name, `clusters` as a list.

    A cluster is named by its most central seed. Falls are predicted for mean SEAM (`predicted`
    true), or else those of each kept variant below its parent. Best per token first.
    """
    labels = {parent.id: clusters.labels[parent.position] for parent in parents}
    operators: dict[str, _Account] = {}
    accounts = [_Account() for _ in clusters.centres]
    predicted = False
    for table in candidates:
        for row in table.select(LEARNT_FROM).to_pylist():
            predicted |= row["predicted_reduction"] is not None
            accounts[labels[row["parent"]]].take(row, 1)
            names = row["operator"].split("+")
            for name in names:
                operators.setdefault(name, _Account()).take(row, len(names))
    centres = [seed.text for seed in seeds.at(clusters.centres)]
    return {
        "predicted": predicted,
        "operators": dict(_best_first({n: own.summary() for n, own in operators.items()})),
        "clusters": [
            {"cluster": _short(centres[label]), **own}
            for label, own in _best_first({i: own.summary() for i, own in enumerate(accounts)})
        ],
    }


def _best_first(accounts: dict[Any, dict[str, Any]]) -> list[tuple[Any, dict[str, Any]]]:
    return sorted(accounts.items(), key=lambda item: -(item[1]["fall_per_1k_tokens"] or 0.0))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _NAME_CHARS else line[: _NAME_CHARS - 1] + "…"
