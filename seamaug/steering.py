"""Who gets the next variants, by which operators: even at first, then where it pays."""

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from seamaug.allocation import Beliefs, Ledger, evenly
from seamaug.config import Config, GenerateConfig
from seamaug.errors import ConfigError
from seamaug.generate.operators import at_random
from seamaug.keep.outlook import Outlook
from seamaug.keep.quotas import Quotas
from seamaug.prospects import Prospects
from seamaug.records import KEPT, Parent, text_key
from seamaug.units import Spend

LEARNT_FROM = (
    "parent", "operator", "tokens", "verdict",
    "predicted_reduction", "seam_before", "seam_after",
)  # fmt: skip
"""Columns of a candidate that `removed` and Steering read."""


def removed(row: Mapping[str, Any]) -> float:
    """Discrepancy that a candidate removes: the predicted fall of mean SEAM by training on it, or
    else how far it lies below its parent; 0 for one that is not kept."""
    if row["verdict"] != KEPT:
        return 0.0
    if row["predicted_reduction"] is not None:
        return float(row["predicted_reduction"])
    return float(row["seam_before"] or 0) - float(row["seam_after"] or 0)


def check_allocation(config: GenerateConfig, *, features: bool) -> None:
    """Raise ConfigError for one that needs to see what the reward models' scores are made of."""
    if config.allocation == "lookahead" and not features:
        raise ConfigError(
            "`generate.allocation: lookahead` needs reward models that transformers runs and that "
            "end in a linear layer; set `reward.engine: transformers`, or leave it at `uniform`"
        )


class Steering:
    """Plans rounds from the seeds and the finished parts alone, so a run that resumes plans alike.

    Learns where a round begins: what is made in it does not depend on where the run was killed.
    """

    def __init__(
        self,
        config: Config,
        parents: Sequence[Parent],
        clusters: Mapping[int, int],
        rules: Sequence[str],
        llm: Sequence[str],
        outlook: Outlook | None,
    ) -> None:
        """`clusters`: cluster by position of the seed; `outlook`: as for the keeper."""
        self._config = config
        self.clusters = {parent.id: clusters[parent.position] for parent in parents}
        self._places = {parent.id: place for place, parent in enumerate(parents)}
        hints = [max(parent.seams) / max(len(parent.text), 1) for parent in parents]
        self._ledger = Ledger(rules, llm, list(self.clusters.values()), hints)
        self._beliefs: Beliefs | None = None
        self._prospects: Prospects | None = None
        if outlook and config.generate.allocation == "lookahead":
            self._prospects = Prospects(outlook, parents, config.keep.variance_tolerance)
        self.quotas = Quotas(
            config,
            seeds=len(parents),
            clusters=len(set(self.clusters.values())),
            operators=len(rules) + len(llm),
        )
        self._tried = np.zeros(len(parents), np.int64)
        self._barren = np.zeros(len(parents), np.int64)
        self._exhausted = np.zeros(len(parents), bool)

    def take(self, group: Sequence[Parent], part: pa.Table) -> None:
        """Learn from a finished part, made for these parents."""
        made = set()
        for row in part.select(LEARNT_FROM).to_pylist():
            place, operator = self._places[row["parent"]], row["operator"]
            made.add(place)
            self._tried[place] += 1
            self._barren[place] += 1
            if row["verdict"] == KEPT:
                self._barren[place] = 0
                self.quotas.take(row["parent"], self.clusters[row["parent"]], operator)
            self._ledger.take(operator.split("+"), place, row["tokens"], removed(row))
        for parent in group:
            self._exhausted[self._places[parent.id]] |= self._places[parent.id] not in made

    def next_round(self, number: int) -> dict[str, int]:
        """Variants to make by parent, for those that get any."""
        own = self._config.generate
        if own.allocation == "thompson":
            self._beliefs = self._ledger.beliefs()
            self._ledger.fade()
        rng = np.random.default_rng(int(text_key([self._config.seed, "round", number])[:16], 16))
        budget = self._config.budget
        # How many variants tokens or money buy shows late, so rounds grow with what was made.
        whole = int(self._tried.sum()) if isinstance(budget, Spend) else budget
        slots = max(-(-whole // own.rounds), own.batch_parents)
        room = self._room()
        even = own.explore if self._beliefs or self._prospects else 1.0
        given = evenly(round(even * slots), room, self._tried, rng)
        if self._prospects:
            given += self._prospects.best_parents(slots - int(given.sum()), room - given)
        elif self._beliefs:
            given += self._beliefs.best_parents(slots - int(given.sum()), room - given, rng)
        given += evenly(slots - int(given.sum()), room - given, self._tried + given, rng)
        return {parent: int(given[place]) for parent, place in self._places.items() if given[place]}

    def _room(self) -> np.ndarray:
        """Variants that each parent may still get in this round."""
        own = self._config.generate
        room = np.minimum(own.per_round, own.per_parent - self._tried)
        full = [
            self.quotas.is_full("seed", parent) or self.quotas.is_full("cluster", cluster)
            for parent, cluster in self.clusters.items()
        ]
        closed = (
            self._exhausted | (self._barren >= self._config.keep.patience) | np.array(full, bool)
        )
        return np.where(closed, 0, room)

    def order(self, parent: Parent, names: Sequence[str], rng: random.Random) -> Iterable[str]:
        """These operators, less those whose quota is full, in the order in which to try them."""
        open_ = [name for name in names if not self.quotas.is_full("operator", name)]
        if self._beliefs is None or rng.random() < self._config.generate.explore:
            return at_random(open_, rng)
        return self._beliefs.order(self._places[parent.id], open_, rng)
