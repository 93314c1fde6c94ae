"""The funnel of a run: what became of each row, seed and candidate. Report and terminal draw it."""

from dataclasses import dataclass
from typing import Any

LOST, KEPT, WHOLE = "lost", "kept", "whole"


@dataclass(frozen=True, slots=True)
class Step:
    """A count of the funnel; `share` is of the whole that it is a part of, in [0, 1]."""

    label: str
    count: int
    share: float
    kind: str
    """WHOLE for rows, seeds and candidates; of their parts, KEPT for what went on, LOST for the
    rest."""
    note: str = ""

    @property
    def is_whole(self) -> bool:
        """Whether the steps below are its parts."""
        return self.kind == WHOLE


def funnel_steps(counts: dict[str, Any]) -> list[Step]:
    """The steps from rows to kept candidates, out of `counts` of run.json.

    What was rejected or failed has one step for each reason, the most frequent first.
    """
    return [*_rows(counts), *_seeds(counts["seeds"]), *_candidates(counts["candidates"])]


def _rows(counts: dict[str, Any]) -> list[Step]:
    whole = _Whole(counts["rows"])
    steps = [whole.step("rows read")]
    if unusable := counts.get("unusable", 0):
        steps.append(whole.lost("unusable", unusable, "listed in the file of bad rows"))
    if counts["merged"]:
        steps.append(whole.lost("merged", counts["merged"], "share a prompt with an earlier row"))
    return steps


def _seeds(seeds: dict[str, Any]) -> list[Step]:
    whole = _Whole(seeds["total"])
    steps = [
        whole.step("seeds", "different prompts"),
        whole.kept("scored", seeds["scored"]),
        whole.lost("failed", seeds["failed"], ", ".join(seeds["failed_because"])),
    ]
    if seeds["contaminated"]:
        note = "overlap with the evaluation files: contamination.parquet"
        steps.append(whole.lost("contaminated", seeds["contaminated"], note))
    steps.append(whole.kept("selected", seeds["selected"], "highest SEAM"))
    return steps + whole.reasons("set aside", seeds["set_aside"])


def _candidates(candidates: dict[str, Any]) -> list[Step]:
    whole = _Whole(candidates["total"])
    return [
        whole.step("candidates"),
        whole.kept("kept", candidates["kept"]),
        *whole.reasons("rejected", candidates["rejected"]),
        *whole.reasons("failed", candidates["failed"]),
    ]


@dataclass(frozen=True, slots=True)
class _Whole:
    count: int

    def step(self, label: str, note: str = "") -> Step:
        return Step(label, self.count, 1.0 if self.count else 0.0, WHOLE, note)

    def kept(self, label: str, count: int, note: str = "") -> Step:
        return Step(label, count, count / max(self.count, 1), KEPT, note)

    def lost(self, label: str, count: int, note: str = "") -> Step:
        return Step(label, count, count / max(self.count, 1), LOST, note)

    def reasons(self, label: str, counts: dict[str, int]) -> list[Step]:
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [self.lost(label, count, reason) for reason, count in ranked]
