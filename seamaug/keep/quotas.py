"""Quotas: how many kept examples one seed, one cluster of seeds and one operator may have."""

import math
from collections import Counter
from collections.abc import Iterator

from seamaug.config import Config

_FEW = 10  # examples that each may always have


class Quotas:
    """Kept examples by seed, cluster and operator, and how many each of these may have.

    Where there are few seeds, clusters or operators, each may have twice its even share at least:
    a quota is there against one-sided sets, not to end a small run early.
    """

    def __init__(self, config: Config, *, seeds: int, clusters: int, operators: int) -> None:
        keep, budget = config.keep, config.budget
        even = min(1.0, 2 * min(config.generate.depth, operators) / max(operators, 1))
        shares = {
            "cluster": max(keep.cluster_share, 2 / max(clusters, 1)),
            "operator": max(keep.operator_share, even),
        }
        self._most = {what: max(_FEW, math.ceil(s * budget)) for what, s in shares.items()}
        own = keep.most_per_seed or max(_FEW, math.ceil(4 * budget / max(seeds, 1)))
        self._most["seed"] = own
        self._kept: Counter[tuple[str, str | int]] = Counter()

    def is_full(self, what: str, which: str | int) -> bool:
        """Whether this `seed`, `cluster` or `operator` has all the examples that it may have."""
        return self._kept[what, which] >= self._most[what]

    def problem(self, seed: str, cluster: int, operator: str) -> str:
        """Why an example by these operators (joined by `+`) may not be kept; empty if it may."""
        for what, which in _counted(seed, cluster, operator):
            if self.is_full(what, which):
                return f"quota of its {what}"
        return ""

    def take(self, seed: str, cluster: int, operator: str) -> None:
        """Count a kept example."""
        self._kept.update(_counted(seed, cluster, operator))

    def copy(self) -> "Quotas":
        """With counts of its own: for a part in the making."""
        other = object.__new__(Quotas)
        other._most, other._kept = self._most, self._kept.copy()
        return other


def _counted(seed: str, cluster: int, operator: str) -> Iterator[tuple[str, str | int]]:
    yield "seed", seed
    yield "cluster", cluster
    for name in operator.split("+"):
        yield "operator", name
