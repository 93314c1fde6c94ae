"""Candidates per second of the embedded operators, on one core.

    python benchmarks/operators.py --out benchmarks/results/operators.json

All that `expand` does to make a candidate is in it: choosing and composing operators, telling what
is new, hashes and ids. Prompts are the bundled seeds. Where nlpaug is installed, its cheapest
augmenters take turns in the same run; one call of theirs is one swap of letters or words.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from timing import interleaved, machine, versions

from seamaug.config import GenerateConfig, SeedsConfig
from seamaug.generate.variants import VariantMaker
from seamaug.records import Misjudged, Parent
from seamaug.resources import EMBEDDED
from seamaug.seeds import Seeds, read_seeds
from seamaug.verify.screen import prompt_key

_NEIGHBOURS = 8
_NOTHING = Misjudged(text="", margin=0, rank=1, among=1, logprob=0, golden_logprob=0)


def parents_of(seeds: Seeds, count: int) -> list[Parent]:
    """Seeds as parents; the seeds that follow in the file stand in for the nearest ones."""
    rows = list(seeds.at(range(len(seeds))))
    parents = []
    for position, row in enumerate(rows[:count]):
        near = [rows[(position + step) % len(rows)] for step in range(1, _NEIGHBOURS + 1)]
        parents.append(
            Parent(
                id=row.id,
                position=position,
                prompt=row.prompt,
                golden=row.golden,
                goldens=[row.golden],
                golden_scores=[None],
                neighbours=[seed.id for seed in near],
                neighbour_texts=[seed.text for seed in near],
                neighbour_cosines=[0.5 for _ in near],
                misjudged=_NOTHING,
                worse=[],
                worse_sources=[],
                verifiers=[],
                verifier_scores=[],
                seams=[1.0],
                error="",
            )
        )
    return parents


def ours(depth: int) -> Callable[[Sequence[Parent]], list[float]]:
    """Makes a round of variants; its one value is how many there are."""

    def make(parents: Sequence[Parent]) -> list[float]:
        config = GenerateConfig(depth=depth)
        known = {prompt_key(parent.prompt) for parent in parents}
        maker = VariantMaker(config, None, seed=0)
        found = 0
        for start in range(0, len(parents), config.batch_parents):
            group = parents[start : start + config.batch_parents]
            wanted = [config.per_round] * len(group)
            found += len(maker.make(group, 0, wanted, lambda p: prompt_key(p) not in known))
        return [float(found)]

    return make


def peers() -> dict[str, Callable[[Sequence[Parent]], list[float]]]:
    """nlpaug's cheapest augmenters; none where it is not installed."""
    try:
        import nlpaug.augmenter.char as char
        import nlpaug.augmenter.word as word
    except ImportError:
        return {}
    wanted = GenerateConfig().per_round

    def with_augmenter(augmenter: Any) -> Callable[[Sequence[Parent]], list[float]]:
        def make(parents: Sequence[Parent]) -> list[float]:
            return [float(sum(len(augmenter.augment(p.text, n=wanted)) for p in parents))]

        return make

    return {
        "nlpaug, letters swapped": with_augmenter(char.RandomCharAug(action="swap")),
        "nlpaug, words swapped": with_augmenter(word.RandomWordAug(action="swap")),
    }


def measured(count: int, repeats: int) -> dict[str, Any]:
    """Candidates per second of processor time: the best and the median of the repeats."""
    parents = parents_of(read_seeds(SeedsConfig(paths=(EMBEDDED,))), count)
    engines = {
        "seamaug": ours(GenerateConfig().depth),
        "seamaug, one operator each": ours(1),
        **peers(),
    }
    timings = interleaved(engines, parents, repeats=repeats, patience=float("inf"))
    rates = {}
    for name, timing in timings.items():
        made = timing.values[0]
        speeds = sorted(made / seconds for seconds in timing.cpu)
        rates[name] = {
            "candidates": int(made),
            "per_cpu_second": {
                "best": round(speeds[-1]),
                "median": round(speeds[len(speeds) // 2]),
                "worst": round(speeds[0]),
            },
            "runs": len(speeds),
        }
    return {
        "date": time.strftime("%Y-%m-%d"),
        "parents": len(parents),
        "mean_characters": round(sum(len(p.text) for p in parents) / len(parents)),
        "rates": rates,
        "machine": machine("cpu"),
        "versions": versions(),
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parents", type=int, default=2000, help="seeds to make variants of")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = measured(options.parents, options.repeats)
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if options.out:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
