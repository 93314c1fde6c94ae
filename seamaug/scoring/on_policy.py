"""The on-policy estimator: what the policy itself says, where a verifier finds it worse.

It is the Monte-Carlo form of SEAM's Definition 1 (arXiv 2406.07971), which its authors name as
missing: the policy's own probability of a response is how often it is drawn.
"""

from collections import Counter
from collections.abc import Sequence

from seamaug.config import OnPolicyConfig
from seamaug.models.engines import PolicyEngine
from seamaug.records import Evidence, Failure, Seed, text_key
from seamaug.scoring.hack_set import Finder, HackSet


class OnPolicy:
    """Samples of the policy at temperature 1."""

    name = "on-policy"

    def __init__(
        self,
        policy: PolicyEngine,
        find: Finder,
        config: OnPolicyConfig,
        samples: int,
        seed: int,
    ) -> None:
        self._policy = policy
        self._find = find
        self._config = config
        self._samples = samples
        self._seed = seed

    def hack_sets(self, positions: range, seeds: Sequence[Seed]) -> list[HackSet]:
        """Distinct samples that are verifiably worse, each with how often it was drawn.

        A sample that could not be judged is no evidence either way, and not among the draws.
        """
        drawn = self._policy.sample(
            [seed.prompt for seed in seeds],
            n=self._samples,
            seed=int(text_key([self._seed, self.name, positions.start])[:8], 16),
            max_new_tokens=self._config.max_new_tokens,
        )
        counts = [Counter(text for text in texts if text) for texts in drawn]
        told = self._find([(seed, list(found)) for seed, found in zip(seeds, counts, strict=True)])
        return [
            self._set(len(texts), list(zip(found.items(), findings, strict=True)))
            for texts, found, findings in zip(drawn, counts, told, strict=True)
        ]

    @staticmethod
    def _set(
        draws: int, told: Sequence[tuple[tuple[str, int], Evidence | Failure | None]]
    ) -> HackSet:
        hack_set = HackSet(draws=draws)
        error = ""
        for (text, count), finding in told:
            if isinstance(finding, Failure):
                hack_set.draws -= count
                error = error or finding.error
            elif finding is not None and finding.worse:
                hack_set.add(text, "sampled", finding, count)
        if not draws:
            hack_set.note = "the prompt leaves the policy no room for a response"
        elif error:
            unjudged = draws - hack_set.draws
            hack_set.note = f"verify: {unjudged} of {draws} samples could not be judged: {error}"
        return hack_set
