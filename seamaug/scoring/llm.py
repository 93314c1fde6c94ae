"""The LLM estimator: worse answers by aspect, written by an LLM (the paper's best set)."""

from collections.abc import Sequence
from typing import Protocol

from seamaug.config import LLMHackConfig
from seamaug.records import Evidence, Seed, text_key
from seamaug.scoring.hack_set import HackSet, Verifier


class Writer(Protocol):
    """An LLM that writes worse answers."""

    def worse_by_aspect(
        self, seeds: Sequence[Seed], aspects: Sequence[Sequence[str]], *, seed: int
    ) -> list[list[str]]:
        """For each seed, a text for each of its aspects, in order; empty where one is missing."""
        ...


class LLMEstimator:
    """Worse answers that go through the aspects in turn, in as many calls as it takes."""

    name = "llm"

    def __init__(
        self, writer: Writer, verifier: Verifier, config: LLMHackConfig, samples: int, seed: int
    ) -> None:
        self._writer = writer
        self._verifier = verifier
        self._config = config
        self._samples = samples
        self._seed = seed

    def hack_sets(self, positions: range, seeds: Sequence[Seed]) -> list[HackSet]:
        """Distinct answers that the verifier finds worse, in the order written."""
        texts: list[dict[str, str]] = [{} for _ in seeds]
        for call, start in enumerate(range(0, self._samples, self._config.per_call)):
            wanted = range(start, min(start + self._config.per_call, self._samples))
            aspects = [self._config.aspects[i % len(self._config.aspects)] for i in wanted]
            replies = self._writer.worse_by_aspect(
                seeds,
                [aspects] * len(seeds),
                seed=int(text_key([self._seed, self.name, positions.start, call])[:8], 16),
            )
            for found, reply in zip(texts, replies, strict=True):
                for text, aspect in zip(reply, aspects, strict=True):
                    if text:
                        found.setdefault(text, aspect)
        cases = [(seed, list(found)) for seed, found in zip(seeds, texts, strict=True)]
        return [
            self._set(found, findings)
            for found, findings in zip(texts, self._verifier(cases), strict=True)
        ]

    @staticmethod
    def _set(found: dict[str, str], findings: list[Evidence | None]) -> HackSet:
        hack_set = HackSet()
        for (text, aspect), finding in zip(found.items(), findings, strict=True):
            if finding is not None:
                hack_set.add(text, aspect, finding)
        if not hack_set.worse:
            hack_set.note = f"the LLM wrote no usable worse answer: {len(found)} were not worse"
        return hack_set
