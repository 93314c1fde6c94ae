"""Near duplicates and decontamination: time, memory, and whether they find what is there.

    python benchmarks/deduplicate.py --data FOLDER --out benchmarks/results/deduplicate.json

Each measure runs in a fresh process, whose peak memory the kernel reports. FOLDER holds files with
a column `prompt` (*.jsonl.gz); without it prompts are made of the bundled seeds' words.

planted   real prompts, and copies of some with a few words exchanged, whose similarity to their
          source is known exactly: what is found, and at what speed
peer      the same through a plain loop over datasketch, where it is installed
evaluate  prompts against evaluation rows, some of which they repeat in capitals, with commas
memory    a million different candidates through the whole screen, all of them remembered, with
          vectors of 384 dimensions
"""

import argparse
import gzip
import importlib.util
import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from timing import machine

from seamaug.config import SeedsConfig, VerifyConfig
from seamaug.records import KEPT, Candidate, Misjudged, Parent, to_table, user_message
from seamaug.resources import resource
from seamaug.seeds import Seeds, read_seeds
from seamaug.verify.contamination import EvaluationTexts, Place
from seamaug.verify.near import NearDuplicates, shingles
from seamaug.verify.screen import Screen
from seamaug.verify.semantic import SemanticDuplicates
from seamaug.verify.text import words

PART = 256  # candidates per part: 32 parents with 8 variants each
THRESHOLD, SHINGLE, NGRAM = 0.9, 3, 13
DIMENSIONS = 384
NOTHING = Misjudged(text="", margin=0, rank=1, among=1, logprob=0, golden_logprob=0)


def prompts_of(folder: Path | None, count: int) -> list[str]:
    """Different prompts from the files, or else made of the bundled seeds' words."""
    found: dict[str, None] = {}
    for path in sorted(folder.glob("*.jsonl.gz")) if folder else ():
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for line in stream:
                if len(found) < count:
                    found[json.loads(line)["prompt"]] = None
    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        bundled = [json.loads(line)["prompt"].split() for line in stream]
    rng, pool = random.Random(0), [word for text in bundled for word in text]
    while len(found) < count:
        found[" ".join(rng.choices(pool, k=len(rng.choice(bundled))))] = None
    return list(found)


def clocked(work: Callable[[], Any]) -> dict[str, float]:
    """Wall and processor seconds; the machine may do other work meanwhile."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "wall_seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }


def in_parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(items), PART):
        yield items[start : start + PART]


# --- near duplicates


def with_planted(prompts: list[str], share: float = 0.05) -> tuple[list[str], dict[int, float]]:
    """The prompts, then edited copies of some; each copy's similarity to its source."""
    rng = random.Random(1)
    pool = [word for text in prompts[:2000] for word in text.split()]
    long = [text for text in prompts if 20 <= len(text.split()) <= 400]
    copies: dict[str, float] = {}
    for source in rng.sample(long, min(int(share * len(prompts)), len(long))):
        edited = source.split()
        places = max(1, round(rng.uniform(0, 0.08) * len(edited)))
        for place in rng.sample(range(len(edited)), places):
            edited[place] = rng.choice(pool)
        copies[" ".join(edited)] = jaccard(source, " ".join(edited))
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
        index.add(prompt for (prompt, _), again in zip(cases, repeats, strict=True) if not again)
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
    texts, similarity = with_planted(prompts)
    flagged: list[bool] = []
    times = clocked(lambda: flagged.extend(find(texts)))
    exact = most_similar(texts, flagged)
    return {
        **times,
        "texts": len(texts),
        "flagged": sum(flagged),
        "planted": len(similarity),
        "found_by_similarity": dict(found_by_similarity(flagged, similarity)),
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


# --- decontamination


def evaluate(prompts: list[str]) -> dict[str, Any]:
    rng = random.Random(2)
    tenth = len(prompts) // 10
    rows, rest = prompts[:tenth], prompts[tenth:]
    repeated = {}
    for i in rng.sample(range(len(rest)), tenth // 10):
        source = words(rng.choice(rows))
        if len(source) >= NGRAM:
            start = rng.randint(0, len(source) - NGRAM)
            shout = ", ".join(source[start : start + NGRAM]).upper()
            repeated[i] = f"{rest[i]} -- {shout}!"
    texts = [repeated.get(i, text) for i, text in enumerate(rest)]
    made: list[EvaluationTexts] = []
    built = clocked(
        lambda: made.append(
            EvaluationTexts(((Place("f", str(i)), t) for i, t in enumerate(rows)), NGRAM)
        )
    )
    found: list[bool] = []
    looked = clocked(
        lambda: found.extend(made[0].of_prompt(user_message(t)) is not None for t in texts)
    )
    grams = {g for row in rows for g in grams_of(row)}
    whole = {tuple(words(row)) for row in rows}
    true = [
        not grams.isdisjoint(grams_of(text))
        or (len(words(text)) < NGRAM and tuple(words(text)) in whole)
        for text in texts
    ]
    return {
        "evaluation_rows": len(rows),
        "index": built,
        "texts": len(texts),
        **looked,
        "planted": len(repeated),
        "planted_found": sum(found[i] for i in repeated),
        "found": sum(found),
        "wrong_by_exact_comparison": sum(a != b for a, b in zip(found, true, strict=True)),
    }


def grams_of(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + NGRAM]) for i in range(len(found) - NGRAM + 1)}


# --- memory


class Vectors:
    """Stands in for an embedder: the screen asks it for nothing here."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        raise AssertionError("no semantic check in the screen of this measure")


def memory(prompts: list[str], count: int = 1_000_000) -> dict[str, Any]:
    """Candidates of random words in their parents' lengths: none repeats another."""
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

    def work() -> None:
        for part, parents in parts_of(seeds, count):
            screen.judge(part, parents)
            for candidate in part:
                rejected[candidate.reason] += bool(candidate.verdict)
                candidate.seam_after = None if candidate.verdict else 0.0
                candidate.verdict = candidate.verdict or KEPT
            screen.take(to_table(part, Candidate.SCHEMA), parents)
            families = [parents[candidate.parent].position for candidate in part]
            semantic.add(unit(rng, len(part)), families)

    out |= clocked(work)
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


MEASURES: dict[str, Callable[..., dict[str, Any]]] = {
    "planted": planted,
    "peer": peer,
    "evaluate": evaluate,
    "memory": memory,
}


def measured(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """One measure in a process of its own, with the kernel's account of its memory."""
    command = [sys.executable, __file__, "--measure", name, "--prompts", str(arguments.prompts)]
    command += ["--candidates", str(arguments.candidates)]
    command += ["--data", str(arguments.data)] if arguments.data else []
    read, write = os.pipe()
    os.set_inheritable(write, True)
    child = os.posix_spawn(
        sys.executable, command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)]
    )
    os.close(write)
    with os.fdopen(read) as stream:
        text = stream.read()
    _, status, usage = os.wait4(child, 0)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f"measure {name} failed")
    return {**json.loads(text), "peak_rss_gib": round(usage.ru_maxrss / 2**20, 2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, help="folder of *.jsonl.gz files with a column prompt")
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--candidates", type=int, default=1_000_000)
    parser.add_argument("--measure", choices=MEASURES, help="one measure alone, to stdout")
    parser.add_argument("--out", type=Path, help="JSON file for the results")
    arguments = parser.parse_args()
    if arguments.measure:
        more = [arguments.candidates] if arguments.measure == "memory" else []
        prompts = prompts_of(arguments.data, arguments.prompts)
        print(json.dumps(MEASURES[arguments.measure](prompts, *more)))
        return
    results = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine("cpu"),
        "settings": {"threshold": THRESHOLD, "shingle": SHINGLE, "ngram": NGRAM},
        **{name: measured(name, arguments) for name in MEASURES},
    }
    text = json.dumps(results, indent=2)
    print(text)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
