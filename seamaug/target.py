"""When a run has what its budget is for: so many examples, or an LLM's work for so much."""

from collections.abc import Iterator
from contextlib import contextmanager

from seamaug.config import Config
from seamaug.models.generation import BUDGET_SPENT, Generation
from seamaug.run.folder import RunFolder
from seamaug.units import Spend

BUDGET_MET = "budget met"
FILLED = (BUDGET_MET, BUDGET_SPENT)
"""Outcomes of a run that has what its budget is for."""
_LAST = "last part"


class Target:
    """How far a run is, and whether it is there."""

    def __init__(self, config: Config, run: RunFolder, generation: Generation | None) -> None:
        """`generation`: where the budget is in tokens or money, what spends it."""
        self._run = run
        self._budget = config.budget
        self._generation = generation if isinstance(config.budget, Spend) else None

    @property
    def total(self) -> float:
        """Of `done`."""
        return self._budget.amount if isinstance(self._budget, Spend) else self._budget

    @property
    def unit(self) -> str:
        """What is counted."""
        return self._budget.unit if isinstance(self._budget, Spend) else "kept"

    def done(self, kept: int) -> float:
        """What is kept or spent so far."""
        if self._generation and isinstance(self._budget, Spend):
            return self._generation.taken(self._budget)
        return kept

    def room(self, kept: int, cases: int) -> int:
        """How many of these may be kept."""
        return cases if isinstance(self._budget, Spend) else self._budget - kept

    @contextmanager
    def part(self, number: int) -> Iterator[None]:
        """A part in the making. The one in which the budget ends is made of what was paid for, and
        noted as the last one before it is stored: with the replies of a part that would follow, a
        process that resumes could not tell any more that it was spent."""
        if self._generation is None:
            yield
            return
        with self._generation.using_up():
            yield
        if self._generation.is_used_up:
            self._run.remember(_LAST, number)

    def outcome(self, kept: int, part: int) -> str:
        """Why the run ends with this part; empty while it does not."""
        if isinstance(self._budget, Spend):
            return BUDGET_SPENT if self._run.recall(_LAST) == part else ""
        return BUDGET_MET if kept >= self._budget else ""
