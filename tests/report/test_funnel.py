"""The funnel that page and terminal share."""

from seamaug.report.funnel import KEPT, LOST, WHOLE, funnel_steps

COUNTS = {
    "rows": 12,
    "merged": 2,
    "seeds": {
        "total": 10,
        "scored": 9,
        "failed": 1,
        "failed_because": {"too long": 1},
        "contaminated": 2,
        "selected": 4,
        "set_aside": {"not reached": 1},
    },
    "candidates": {
        "total": 40,
        "kept": 10,
        "rejected": {"near duplicate": 5, "over budget": 20},
        "failed": {"generate": 5},
    },
}


def test_each_candidate_has_its_place_and_the_most_frequent_reason_comes_first() -> None:
    steps = funnel_steps(COUNTS)
    start = [step.label for step in steps].index("candidates")
    whole, *parts = steps[start:]
    assert whole.kind == WHOLE
    assert whole.count == sum(part.count for part in parts)
    assert sum(part.share for part in parts) == 1
    assert [(part.kind, part.note) for part in parts] == [
        (KEPT, ""), (LOST, "over budget"), (LOST, "near duplicate"), (LOST, "generate"),
    ]  # fmt: skip


def test_what_happened_to_rows_and_seeds_is_there() -> None:
    found = [(step.label, step.count, step.share, step.note) for step in funnel_steps(COUNTS)]
    assert ("merged", 2, 2 / 12, "share a prompt with an earlier row") in found
    assert ("failed", 1, 0.1, "too long") in found
    assert ("selected", 4, 0.4, "highest SEAM") in found
    assert ("set aside", 1, 0.1, "not reached") in found


def test_a_run_without_candidates_divides_by_nothing() -> None:
    none = {"total": 0, "kept": 0, "rejected": {}, "failed": {}}
    steps = funnel_steps({**COUNTS, "candidates": none})
    assert [step.share for step in steps[-2:]] == [0, 0]
