"""Worse responses of a variant's own, where an operator changed the answer.

What is worse for the parent answers another request: beside the new golden response it shows a
reward model no more than what the request is about. So the policy is asked what it says to this
one.

Like parents.py this is where verbs meet, so it stands beside the pipeline.
"""

from collections.abc import Callable, Sequence

from seamaug.config import Config
from seamaug.models.engines import PolicyEngine
from seamaug.records import NEW_GOLDEN, Candidate, Evidence, Failure, Seed, text_key
from seamaug.verify.text import normalised
from seamaug.verify.worse import Cases, Findings

NONE = "no worse response of its own"


class OwnWorse:
    """Samples the policy on changed prompts, and keeps what is verified to be worse."""

    def __init__(
        self, config: Config, policy: PolicyEngine, verifier: Callable[[Cases], Findings]
    ) -> None:
        self._config = config
        self._policy = policy
        self._verifier = verifier

    def give(self, candidates: Sequence[Candidate]) -> None:
        """Give them to those of a part's candidates whose answer changed; reject these where none
        of the samples is worse. Without samples of the policy (`generate.worse`,
        `generate.policy_samples`) the parent's responses stand.
        """
        own = self._config.generate
        changed = [c for c in candidates if not c.verdict and c.chosen_source == NEW_GOLDEN]
        if not changed or not own.samples_policy:
            return
        samples = self._policy.sample(
            [candidate.prompt for candidate in changed],
            n=own.policy_samples,
            seed=int(text_key([self._config.seed, "own worse", changed[0].id])[:8], 16),
            max_new_tokens=own.policy_max_new_tokens,
        )
        texts = [_others(c.chosen, said) for c, said in zip(changed, samples, strict=True)]
        findings = self._verifier(
            [
                (Seed("", candidate.prompt, candidate.chosen, [], "", "", ""), said)
                for candidate, said in zip(changed, texts, strict=True)
            ]
        )
        for candidate, said, told in zip(changed, texts, findings, strict=True):
            worse = [
                (text, found)
                for text, found in zip(said, told, strict=True)
                if isinstance(found, Evidence) and found.worse
            ][: self._config.keep.hack_set_size]
            failure = next((found.error for found in told if isinstance(found, Failure)), "")
            candidate.worse = [text for text, _ in worse]
            candidate.evidence = [found for _, found in worse]
            if failure and not worse:
                candidate.fail("verify", failure)
                candidate.reply = failure
            elif not worse:
                candidate.reject(NONE)


def _others(golden: str, samples: Sequence[str]) -> list[str]:
    """Each text once, without the golden one and empty ones."""
    found = {normalised(text): text for text in reversed(samples) if text.strip()}
    found.pop(normalised(golden), None)
    return list(found.values())[::-1]
