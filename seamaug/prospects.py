"""Where the next variants pay: by what is foreseen to be left to remove around each parent.

A variant is much like its parent, so what training on the parent's own pair would remove, as the
outlook foresees it after all that was kept, foretells what is foreseen of its variants: correlation
0.87 on the bundled data (benchmarks/README.md, Spending). A round is planned as the keeper chooses:
the best parent is taken, the outlook learns its pair, and the others are looked at again in that
light. So a parent that paid has little left, and gets no more until the others have as little.

Cost of a round: for each parent a step of the heads and the SEAM of the probes, width² + probes'
responses x width multiplications each.
"""

import heapq
from collections.abc import Sequence

import numpy as np

from seamaug.keep.outlook import Outlook
from seamaug.records import Parent


class Prospects:
    """Plans rounds by an outlook, which the keeper moves on as examples are kept."""

    def __init__(
        self, outlook: Outlook, parents: Sequence[Parent], tolerance: float | None
    ) -> None:
        """`tolerance`: by what share the reward variance may fall (`keep.variance_tolerance`)."""
        self._outlook = outlook
        self._tolerance = tolerance
        self._ids = [parent.id for parent in parents]
        self._pairs = [outlook.own_pair(parent.id) for parent in parents]
        self._lengths = [max(len(parent.text), 1) for parent in parents]

    def best_parents(self, slots: int, room: np.ndarray) -> np.ndarray:
        """How many of the slots each parent gets, at most `room`; none where nothing is foreseen.

        Only what may now be the best is looked at again (lazy greedy selection, Minoux 1978). It is
        the greedy choice where taking one makes no other worth more; one that it does is seen when
        the next round begins, for which all are looked at.
        """
        outlook, given, taken = self._outlook.copy(), np.zeros_like(room), 0
        queue = [(-self._worth(outlook, i), 0, i) for i, most in enumerate(room) if most]
        heapq.heapify(queue)
        while queue and taken < slots:
            worth, seen, place = heapq.heappop(queue)
            if worth >= 0:
                continue
            if seen == taken and (pair := self._pairs[place]):
                given[place] += 1
                taken += 1
                outlook.take(pair)
            if given[place] < room[place]:
                heapq.heappush(queue, (-self._worth(outlook, place), taken, place))
        return given

    def _worth(self, outlook: Outlook, place: int) -> float:
        """The fall of SEAM foreseen, for each character of the parent's prompt."""
        pair = self._pairs[place]
        if pair is None or outlook.flattens(pair, self._tolerance):
            return 0.0
        return outlook.fall(pair, self._ids[place]) / self._lengths[place]
