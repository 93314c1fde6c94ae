"""Quotas: how many kept examples one seed, one cluster of seeds and one operator may have."""

import math
from collections import Counter
from collections.abc import Iterator
from copy import copy

from seamaug.config import Config

_FEW = 10  # examples that each may always have


class Quotas:
    """Kept examples by seed, cluster and operator, and how many each of these may have.

    Where there are few seeds, clusters or operators, each may have twice its even share at least:
    a quota is there against one-sided sets, not to end a small run early. With a budget in tokens
    or money shares are of what is kept so far: whatever is full opens again as the others grow.
    """

    def __init__(self, config: Config, *, seeds: int, clusters: int, operators: int) -> None:
        keep, self._config, self._seeds = config.keep, config, max(seeds, 1)
        even = min(1.0, 2 * min(config.generate.depth, operators) / max(operators, 1))
        self._shares = {
            "cluster": max(keep.cluster_share, 2 / max(clusters, 1)),
            "operator": max(keep.operator_share, even),
        }
        self._kept: Counter[tuple[str, str | int]] = Counter()
        self._all = 0

    def is_full(self, what: str, which: str | int) -> bool:
        """Whether this `seed`, `cluster` or `operator` has all the examples that it may have."""
        return self._kept[what, which] >= self._most(what)

    def _most(self, what: str) -> int:
        examples = self._config.examples(self._all + 1)  # with the one that is asked about
        if what == "seed":
            own = self._config.keep.most_per_seed
            return own or max(_FEW, math.ceil(4 * examples / self._seeds))
        return max(_FEW, math.ceil(self._shares[what] * examples))

    def problem(self, seed: str, cluster: int, operator: str) -> str:
        """Why an example by these operators (joined by `+`) may not be kept; empty if it may."""
        for what, which in _counted(seed, cluster, operator):
            if self.is_full(what, which):
                return f"quota of its {what}"
        return ""

    def take(self, seed: str, cluster: int, operator: str) -> None:
        """Count a kept example."""
        self._kept.update(_counted(seed, cluster, operator))
        self._all += 1

    def copy(self) -> "Quotas":
        """With counts of its own: for a part in the making."""
        other = copy(self)
        other._kept = self._kept.copy()
        return other


def _counted(seed: str, cluster: int, operator: str) -> Iterator[tuple[str, str | int]]:
    yield "seed", seed
    yield "cluster", cluster
    for name in operator.split("+"):
        yield "operator", name
