"""The rows that the page's scripts show: prompts, the map's dots, responses and examples.

Each table takes at most its share of the page's size; what does not fit is left out and counted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seamaug.records import Message
from seamaug.report.candidates import Candidates
from seamaug.report.prompts import PromptMap
from seamaug.report.responses import ScoredResponses
from seamaug.report.sample import clipped, rounded, within
from seamaug.report.words import changes

PROMPTS, SEEDS, EXAMPLES = 1500, 4000, 3000
"""Rows aimed at in a sample: prompts with their examples, dots of the map, examples."""
_MIB = 2**20
_SIZES = {"prompts": 2 * _MIB, "seeds": _MIB // 2, "responses": _MIB, "examples": 5 * _MIB}
"""Bytes at most, so that the page stays below 10 MB whatever the texts are."""
_TURNS = 6
_PROMPT_CHARS, _RESPONSE_CHARS, _CONTEXT_CHARS, _POINT_CHARS = 1200, 800, 300, 200


@dataclass(frozen=True)
class Table:
    """Rows of one kind; `total` says how many the run has."""

    fields: Sequence[str]
    rows: list[list[Any]]
    total: int

    @property
    def is_sample(self) -> bool:
        """Whether the run has more of them."""
        return len(self.rows) < self.total

    def data(self) -> dict[str, Any]:
        """For the page's scripts."""
        return {"fields": self.fields, "rows": self.rows, "total": self.total}


def _table(name: str, fields: Sequence[str], rows: Iterable[list[Any]], total: int) -> Table:
    return Table(fields, within(rows, _SIZES[name]), total)


def prompt_table(
    texts: Mapping[str, dict[str, Any]],
    ids: Iterable[str],
    labels: Mapping[str, int],
    candidates: Candidates,
    total: int,
) -> Table:
    """Selected prompts; `texts` are their stored rows by id, `labels` their clusters."""
    fields = ("id", "context", "text", "golden", "seam", "cluster", "made", "kept")
    rows = (_prompt(texts[name], labels, candidates) for name in ids if name in texts)
    return _table("prompts", fields, rows, total)


def _prompt(row: dict[str, Any], labels: Mapping[str, int], candidates: Candidates) -> list[Any]:
    number = labels.get(row["id"])
    return [
        row["id"],
        _context(row["prompt"]),
        clipped(row["prompt"][-1]["content"], _PROMPT_CHARS),
        clipped(row["golden"], _RESPONSE_CHARS),
        rounded(row["seams"][0]) if row["seams"] else None,
        None if number is None else number + 1,
        candidates.made[row["id"]],
        candidates.kept[row["id"]],
    ]


def _context(prompt: Sequence[Message]) -> list[list[str]]:
    """The last turns before the one that is rewritten."""
    turns = prompt[:-1][-_TURNS:]
    return [[turn["role"], clipped(turn["content"], _CONTEXT_CHARS)] for turn in turns]


def seed_table(
    found: PromptMap | None, seams: Sequence[float], prompts: Mapping[int, int], total: int
) -> Table:
    """The dots of the map; `prompts` are rows of the prompt table by position of the seed."""
    rows: list[list[Any]] = []
    if found is not None:
        for position, (x, y) in zip(found.positions.tolist(), found.plane.tolist(), strict=True):
            seam = seams[position]
            known = seam == seam
            rows.append(
                [rounded(x), rounded(y), rounded(seam) if known else None, position,
                 prompts.get(position)]
            )  # fmt: skip
    # Those of the highest SEAM last: they are drawn over the others.
    rows.sort(key=lambda row: (row[4] is not None, row[2] or 0.0))
    return _table("seeds", ("x", "y", "seam", "position", "prompt"), rows, total)


def response_table(found: ScoredResponses, prompts: Mapping[int, int]) -> Table:
    """Dots of the scatter plot: those that weigh most, and a random sample of all."""
    fields = ("logprob", "reward", "margin", "weight", "golden", "worst", "position", "prompt",
              "text")  # fmt: skip
    most = {(own.position, own.text) for own in found.worst}
    others = [own for own in found.points if own.is_golden or (own.position, own.text) not in most]
    rows = [
        [
            *map(rounded, (own.logprob, own.reward, own.margin, own.weight)),
            int(own.is_golden),
            int(number < len(found.worst)),
            own.position,
            prompts.get(own.position),
            clipped(own.text, _POINT_CHARS),
        ]
        for number, own in enumerate([*found.worst, *others])
    ]
    return _table("responses", fields, rows, found.count)


def example_table(
    candidates: Candidates, prompts: Mapping[str, int], texts: Mapping[str, dict[str, Any]]
) -> Table:
    """Candidates with their numbers and their changes; `prompts` are rows of the prompt table."""
    fields = (
        "id", "row", "prompt", "verdict", "reason", "operator", "before", "after", "margin",
        "mu", "sigma", "reduction", "worth", "variance", "logprobChosen", "logprobRejected",
        "tokens", "changes", "chosenSource", "chosen", "rejectedSource", "rejected", "verifier",
        "reply",
    )  # fmt: skip
    rows = (_example(row, prompts.get(row["parent"]), texts) for row in candidates.sample)
    return _table("examples", fields, rows, candidates.total)


def _example(
    row: dict[str, Any], prompt: int | None, texts: Mapping[str, dict[str, Any]]
) -> list[Any]:
    parent = texts.get(row["parent"])
    after = clipped(row["prompt"][-1]["content"], _PROMPT_CHARS)
    before = clipped(parent["prompt"][-1]["content"], _PROMPT_CHARS) if parent else ""
    is_golden = parent is not None and row["chosen"] == parent["golden"]
    numbers = ("seam_before", "seam_after", "margin_after", "mu", "sigma", "predicted_reduction",
               "worth", "predicted_variance", "logprob_chosen", "logprob_rejected")  # fmt: skip
    return [
        row["id"], row["row"], prompt, row["verdict"], row["reason"], row["operator"],
        *(rounded(row[name]) for name in numbers),
        row["tokens"],
        changes(before, after),
        row["chosen_source"],
        None if is_golden and prompt is not None else clipped(row["chosen"], _RESPONSE_CHARS),
        row["rejected_source"],
        clipped(row["rejected"], _RESPONSE_CHARS),
        row["verifier"],
        clipped(row["reply"], _CONTEXT_CHARS),
    ]  # fmt: skip
