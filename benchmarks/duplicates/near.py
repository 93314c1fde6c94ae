"""Near duplicates among planted copies: what is found, and at what speed, beside datasketch."""

import importlib.util
import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np

from duplicates.prompts import clocked, in_parts
from seamaug.records import user_message
from seamaug.verify.near import NearDuplicates, shingles

THRESHOLD, SHINGLE = 0.9, 3


def with_planted(
    prompts: list[str], share: float = 0.05
) -> tuple[list[str], dict[int, tuple[int, float]]]:
    """The prompts, then edited copies of some; each copy's source, and how similar it is to it."""
    rng = random.Random(1)
    pool = [word for text in prompts[:2000] for word in text.split()]
    long = [text for text in prompts if 20 <= len(text.split()) <= 400]
    places_of = {text: at for at, text in enumerate(prompts)}
    copies: dict[str, tuple[int, float]] = {}
    for source in rng.sample(long, min(int(share * len(prompts)), len(long))):
        edited = source.split()
        places = max(1, round(rng.uniform(0, 0.08) * len(edited)))
        for place in rng.sample(range(len(edited)), places):
            edited[place] = rng.choice(pool)
        copy = " ".join(edited)
        copies[copy] = places_of[source], jaccard(source, copy)
    return [*prompts, *copies], dict(enumerate(copies.values(), len(prompts)))


def jaccard(one: str, other: str) -> float:
    a, b = (set(shingles(user_message(text), SHINGLE)) for text in (one, other))
    return len(a & b) / len(a | b)


def ours(texts: list[str]) -> list[bool]:
    """What a run does: part by part, and what is no duplicate is remembered."""
    index, found = NearDuplicates(THRESHOLD, SHINGLE), []
    parent = user_message("")
    for part in in_parts(texts):
        cases = [(user_message(text), parent) for text in part]
        repeats = index.repeats(cases)
        index.add([prompt for (prompt, _), again in zip(cases, repeats, strict=True) if not again])
        found += repeats
    return found


def datasketch(texts: list[str]) -> list[bool]:
    """The loop of its documentation, on the same shingles."""
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(threshold=THRESHOLD, num_perm=128), []
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=128)
        sketch.update_batch([s.encode() for s in shingles(user_message(text), SHINGLE)])
        found.append(bool(index.query(sketch)))
        if not found[-1]:
            index.insert(number, sketch)
    return found


def most_similar(texts: list[str], flagged: list[bool]) -> dict[int, float]:
    """Exact similarity of each flagged text to the most similar one before it that was not."""
    sets = [set(shingles(user_message(text), SHINGLE)) for text in texts]
    common = Counter(s for own in sets for s in own)
    wanted = {s for own, again in zip(sets, flagged, strict=True) if again for s in own}
    where: dict[str, list[int]] = {}
    found = {}
    for i, (own, again) in enumerate(zip(sets, flagged, strict=True)):
        rare = sorted(own, key=lambda s: (common[s], s))[: max(1, len(own) // 2)]
        if again:
            near = {j for s in rare for j in where.get(s, ())}
            found[i] = max((len(own & sets[j]) / len(own | sets[j]) for j in near), default=0.0)
        else:
            for s in rare:
                if s in wanted:
                    where.setdefault(s, []).append(i)
    return found


def planted(prompts: list[str], find: Callable[[list[str]], list[bool]] = ours) -> dict[str, Any]:
    texts, copies = with_planted(prompts)
    flagged: list[bool] = []
    times = clocked(lambda: flagged.extend(find(texts)))
    exact = most_similar(texts, flagged)
    similarity = {i: similar for i, (_, similar) in copies.items()}
    beside_source = {i: similar for i, (at, similar) in copies.items() if not flagged[at]}
    return {
        **times,
        "texts": len(texts),
        "flagged": sum(flagged),
        "planted": len(similarity),
        "found_by_similarity": dict(found_by_similarity(flagged, similarity)),
        "found_where_the_source_remained": dict(found_by_similarity(flagged, beside_source)),
        "flagged_truly_at": {
            f"{t:.2f}": round(float(np.mean([s >= t for s in exact.values()])), 4)
            for t in (THRESHOLD, THRESHOLD - 0.05, THRESHOLD - 0.1)
        },
    }


def found_by_similarity(
    flagged: list[bool], similarity: dict[int, float]
) -> Iterator[tuple[str, dict[str, float]]]:
    """Share of the planted copies that were flagged, by how similar they are to their source."""
    for low, high in pairwise((0, 0.7, 0.8, 0.85, 0.9, 0.95, 1)):
        inside = [i for i, s in similarity.items() if low <= s < high or s == high == 1]
        found = sum(flagged[i] for i in inside) / max(len(inside), 1)
        yield f"{low:g} to {high:g}", {"planted": len(inside), "found": round(found, 4)}


def peer(prompts: list[str]) -> dict[str, Any]:
    if importlib.util.find_spec("datasketch") is None:
        return {"error": "datasketch is not installed"}
    return planted(prompts, datasketch)
