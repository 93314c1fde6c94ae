"""A million different candidates through the whole screen, all of them remembered."""

import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from duplicates.decontamination import NGRAM
from duplicates.prompts import PART, clocked
from seamaug.config import SeedsConfig, VerifyConfig
from seamaug.records import KEPT, Candidate, Misjudged, Parent, to_table, user_message
from seamaug.seeds import Seeds, read_seeds
from seamaug.verify.contamination import EvaluationTexts, Place
from seamaug.verify.screen import Screen
from seamaug.verify.semantic import SemanticDuplicates

DIMENSIONS = 384
NOTHING = Misjudged(text="", margin=0, rank=1, among=1, logprob=0, golden_logprob=0)


class Vectors:
    """Stands in for an embedder: the screen asks it for nothing here."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        raise AssertionError("no semantic check in the screen of this measure")


def memory(prompts: list[str], count: int, check_every: int) -> dict[str, Any]:
    """Candidates of random words in their parents' lengths: none repeats another.

    The semantic check compares a part with all before it, so that its time grows by the square and
    its memory does not: one part in `check_every` is checked.
    """
    seeds = read_seeds(SeedsConfig(), [{"prompt": p, "golden": "g"} for p in prompts])
    rows = ((Place("f", str(i)), text) for i, text in enumerate(prompts[: len(prompts) // 10]))
    embedder: Any = Vectors()
    rng = np.random.default_rng(0)
    out: dict[str, Any] = {"seeds": len(seeds), "candidates": count, "dimensions": DIMENSIONS}
    vectors = unit(rng, len(seeds))
    evaluation = EvaluationTexts(rows, NGRAM)
    screen = Screen(
        VerifyConfig(),
        seeds,
        vectors,
        embedder,
        evaluation,
        preserved=lambda _: (),
        new_golden=None,
    )
    semantic = SemanticDuplicates(vectors, 0.95)
    out["after_seeds_gib"] = resident_gib()
    rejected: Counter[str] = Counter()
    checks: list[int] = []

    def work() -> None:
        for number, (part, parents) in enumerate(parts_of(seeds, count)):
            screen.judge(part, parents)
            families = [parents[candidate.parent].position for candidate in part]
            own = unit(rng, len(part))
            if number % check_every == 0:
                checks.append(sum(semantic.repeats(own, families)))
            for candidate in part:
                rejected[candidate.reason] += bool(candidate.verdict)
                candidate.seam_after = None if candidate.verdict else 0.0
                candidate.verdict = candidate.verdict or KEPT
            screen.take(to_table(part, Candidate.SCHEMA), parents)
            semantic.add(own, families)

    out |= clocked(work)
    rejected["semantic duplicate"] = sum(checks)
    out["semantic_checks"] = len(checks)
    out["rejected"] = {reason: n for reason, n in rejected.items() if n}
    out["at_the_end_gib"] = resident_gib()
    asked = unit(rng, PART)
    out["semantic_part"] = {
        "candidates": PART,
        **clocked(lambda: semantic.repeats(asked, [0] * PART)),
    }
    return out


def parts_of(seeds: Seeds, count: int) -> Iterator[tuple[list[Candidate], dict[str, Parent]]]:
    rng = random.Random(3)
    pool = [
        w
        for s in seeds.at(range(2000 if len(seeds) > 2000 else len(seeds)))
        for w in s.text.split()
    ]
    empty: dict[str, Any] = {
        name: [] for name in Parent.__slots__ if name.startswith(("neighbour", "worse", "verifier"))
    }
    for start in range(0, count, PART):
        places = rng.sample(range(len(seeds)), min(PART // 8, len(seeds)))
        parents = {
            seed.id: Parent(id=seed.id, position=at, prompt=seed.prompt, golden="g", goldens=["g"],
                            golden_scores=[None],
                            misjudged=NOTHING, seams=[1.0], error="", **empty)
            for at, seed in zip(places, seeds.at(places), strict=True)
        }  # fmt: skip
        several = (parent for parent in parents.values() for _ in range(8))
        part = []
        for number, parent in enumerate(islice(several, min(PART, count - start))):
            text = " ".join(rng.choices(pool, k=max(len(parent.text.split()), 6)))
            part.append(
                Candidate(id=str(start + number), parent=parent.id, prompt=user_message(text),
                          chosen="g", operator="", kind="rule", template_hash="",
                          neighbours=[])
            )  # fmt: skip
        yield part, parents


def unit(rng: np.random.Generator, rows: int) -> np.ndarray:
    vectors = rng.standard_normal((rows, DIMENSIONS), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def resident_gib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 2**30, 2)
