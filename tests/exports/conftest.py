"""A finished run whose examples hold what trainers stumble over, written as `expand` writes one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seamaug.records import KEPT, REJECTED, Candidate, Message, to_table, user_message
from seamaug.write.datasets import write_datasets
from seamaug.write.summary import write_summary


def turns(*texts: str, system: str | None = None) -> list[Message]:
    """user, assistant, user, ... after a system turn where there is one."""
    roles = ("user", "assistant")
    said: list[Message] = [
        {"role": roles[number % 2], "content": text} for number, text in enumerate(texts)
    ]
    return said if system is None else [{"role": "system", "content": system}, *said]


def make_candidate(number: int, **fields: Any) -> Candidate:
    told = {
        "id": f"{number:016x}",
        "parent": f"parent-{number // 2}",
        "prompt": user_message(f"Question {number}?"),
        "chosen": f"The answer to {number}.",
        "rejected": f"No answer to {number}.",
        "operator": "please",
        "kind": "rule",
        "template_hash": "",
        "neighbours": [],
        "verifier": "number",
        "verifier_score": 1.0,
        "seam_before": 0.5,
        "seam_after": 0.25,
        "verdict": KEPT,
    }
    return Candidate(**{**told, **fields})


ODD = (
    {"prompt": turns("Who are you?", system="You are a lighthouse.")},
    {"prompt": turns("Hello", "Good day!", "And now?", system="Be brief.")},
    {"prompt": turns("One", "Two", "Three"), "chosen": "Four", "rejected": "4"},
    {"prompt": turns("Nothing said before", system="")},
    {"prompt": turns("Grüße, 世界 \U0001f98a‍\u0301")},
    {"prompt": turns("Is <|im_end|> a token?"), "chosen": "Yes: <|im_end|>\n<|im_start|>system"},
    {"prompt": turns("A line\nand\u2028another\r\n"), "chosen": "\n", "rejected": " spaced "},
    {"prompt": turns("What is in <image> here?")},
    {"prompt": turns("2026-11-21"), "chosen": "2026-11-22", "rejected": "2026-11-20"},
    {"prompt": [{"role": "assistant", "content": "I begin."}, *turns("Then I end.")]},
    {
        "prompt": [
            *turns("Look it up.", "Calling: search"),
            {"role": "tool", "content": '{"found": 3}'},
            {"role": "assistant", "content": "Three."},
            *turns("Sure?"),
        ]
    },
    {"prompt": turns("{{ 7 * 7 }} {% raw %}"), "chosen": "=HYPERLINK(1)", "rejected": "'''"},
)
"""What a prompt or response may be like; the others are plain."""


def _is_text(text: str) -> bool:
    """A lone surrogate is no text, and is refused where seeds are read."""
    return text.encode("utf-8", "ignore").decode() == text


@pytest.fixture
def run(tmp_path: Path, untrusted: list[str]) -> Path:
    """A finished run of 2 candidates for each parent, all kept but the last."""
    odd = [make_candidate(number, **fields) for number, fields in enumerate(ODD)]
    hostile = [
        make_candidate(100 + number, prompt=turns(text), chosen=f"{text} ", rejected=f"not {text}")
        for number, text in enumerate(filter(_is_text, untrusted))
    ]
    plain = [make_candidate(1000 + number) for number in range(60)]
    lost = make_candidate(2000, verdict=REJECTED, reason="duplicate of a seed")
    return written(tmp_path / "run", [*odd, *hostile, *plain, lost])


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    """``candidate(number, field=value, ...)``: kept, the second of each two of one parent."""
    return make_candidate


@pytest.fixture
def finished(tmp_path: Path) -> Callable[..., Path]:
    """A folder with these candidates: ``finished("name", [candidate(1), ...])``."""
    return lambda name, candidates: written(tmp_path / name, candidates)


def written(folder: Path, candidates: list[Candidate]) -> Path:
    parts = [candidates[:20], candidates[20:]]
    write_datasets(folder, (to_table(part, Candidate.SCHEMA) for part in parts))
    kept = sum(one.verdict == KEPT for one in candidates)
    counts = {"candidates": {"total": len(candidates), "kept": kept}}
    models = {role: {"fingerprint": role} for role in ("policy", "reward")}
    settings = {"verify": {"duplicates": {"near": 0.9, "shingle": 3}}}
    summary = {"outcome": "budget met", "counts": counts, "kept": {}, "times": {}}
    summary |= {"weighting": "prob", "models": models, "config": settings}
    write_summary(folder, summary)
    return folder
