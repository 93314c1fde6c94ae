"""The on-policy estimator: what the policy itself says, where a verifier finds it worse.

It is the Monte-Carlo form of SEAM's Definition 1 (arXiv 2406.07971), which its authors name as
missing: the policy's own probability of a response is how often it is drawn.
"""

from collections import Counter
from collections.abc import Sequence

from seamaug.config import OnPolicyConfig
from seamaug.models.engines import PolicyEngine
from seamaug.records import Seed, text_key
from seamaug.scoring.hack_set import HackSet, Verifier


class OnPolicy:
    """Samples of the policy at temperature 1."""

    name = "on-policy"

    def __init__(
        self,
        policy: PolicyEngine,
        verifier: Verifier,
        config: OnPolicyConfig,
        samples: int,
        seed: int,
    ) -> None:
        self._policy = policy
        self._verifier = verifier
        self._config = config
        self._samples = samples
        self._seed = seed

    def hack_sets(self, positions: range, seeds: Sequence[Seed]) -> list[HackSet]:
        """Distinct samples that are verifiably worse, each with how often it was drawn."""
        drawn = self._policy.sample(
            [seed.prompt for seed in seeds],
            n=self._samples,
            seed=int(text_key([self._seed, self.name, positions.start])[:8], 16),
            max_new_tokens=self._config.max_new_tokens,
        )
        counts = [Counter(text for text in texts if text) for texts in drawn]
        evidence = self._verifier(
            [(seed, list(found)) for seed, found in zip(seeds, counts, strict=True)]
        )
        sets = []
        for texts, found, findings in zip(drawn, counts, evidence, strict=True):
            hack_set = HackSet(draws=len(texts))
            for (text, count), finding in zip(found.items(), findings, strict=True):
                if finding is not None:
                    hack_set.add(text, "sampled", finding, count)
            if not texts:
                hack_set.note = "the prompt leaves the policy no room for a response"
            sets.append(hack_set)
        return sets
