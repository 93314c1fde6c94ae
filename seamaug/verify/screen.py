"""What a candidate must pass before it is scored, and what is remembered of earlier ones."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from seamaug.config import VerifyConfig
from seamaug.models.embedder import Embedder
from seamaug.records import NEW_GOLDEN, Candidate, Message, Parent, user_text
from seamaug.seeds import Seeds
from seamaug.verify.contamination import EvaluationTexts
from seamaug.verify.golden import Judged, NewGolden
from seamaug.verify.near import NearDuplicates
from seamaug.verify.semantic import SemanticDuplicates
from seamaug.verify.text import loses_numbers, normalised, text_problem

CONTAMINATED = "contaminated"

Parents = Mapping[str, Parent]
"""The parents of some candidates, by id."""


class Screen:
    """Judges candidates by their texts, and remembers those of finished parts.

    What it remembers follows from the seeds and the finished parts alone, so a run that resumes
    judges as one that was never stopped.
    """

    def __init__(
        self,
        config: VerifyConfig,
        seeds: Seeds,
        seed_vectors: np.ndarray,
        embedder: Embedder,
        evaluation: EvaluationTexts | None,
        preserved: Callable[[Candidate], Collection[str]],
        new_golden: Callable[[Sequence[NewGolden]], list[Judged]] | None,
    ) -> None:
        """`preserved` says what a candidate must be seen to preserve: `numbers`, `meaning`.

        `new_golden` checks golden responses that an operator changed; None where none does.
        """
        self._config = config
        self._preserved = preserved
        self._new_golden = new_golden
        self._embedder = embedder
        self._evaluation = evaluation
        keys = (prompt_key(prompt) for prompt in seeds.prompts())
        self._seeds = np.fromiter(keys, np.int64, len(seeds))
        self._seeds.sort()
        self._made: set[int] = set()
        own = config.duplicates
        self._near = self._semantic = None
        if own.near is not None:
            self._near = NearDuplicates(own.near, own.shingle)
            self._near.add_seeds(seeds)
        if own.semantic is not None:
            self._semantic = SemanticDuplicates(seed_vectors, own.semantic)
        # Of the few goldens and hack sets of a part's parents, which all of its candidates share.
        self._response_overlaps = lru_cache(maxsize=4096)(self._response_overlap)

    def is_new(self, prompt: list[Message]) -> bool:
        """Whether no seed and no candidate of a finished part has this prompt."""
        key = prompt_key(prompt)
        return not self._is_seed(key) and key not in self._made

    def _is_seed(self, key: int) -> bool:
        number = np.int64(key)
        place = np.searchsorted(self._seeds, number)
        return bool(place < len(self._seeds) and self._seeds[place] == number)

    def is_contaminated(self, response: str) -> bool:
        """Whether a response overlaps with an evaluation text."""
        return self._response_overlaps(response)

    def _response_overlap(self, response: str) -> bool:
        return self._evaluation is not None and self._evaluation.of_response(response) is not None

    def judge(self, candidates: Sequence[Candidate], parents: Parents) -> None:
        """Reject those of a part's candidates that are not worth scoring, in order."""
        seen: set[int] = set()
        for candidate in _open(candidates):
            if problem := self._problem(candidate, parents[candidate.parent], seen):
                candidate.reject(problem)
            seen.add(prompt_key(candidate.prompt))
        kept = [c for c in _open(candidates) if "meaning" in self._preserved(c)]
        self._reject_drifted(kept, parents)
        self._reject_semantic(_open(candidates), parents)
        self._reject_near(_open(candidates), parents)
        self._check_goldens(
            [c for c in _open(candidates) if c.chosen_source == NEW_GOLDEN], parents
        )

    def _problem(self, candidate: Candidate, parent: Parent, seen: set[int]) -> str:
        if problem := text_problem(candidate.text, parent.text, self._config):
            return problem
        key = prompt_key(candidate.prompt)
        if self._is_seed(key):
            return "same as seed"
        if key in seen or key in self._made:
            return "duplicate"
        if "numbers" in self._preserved(candidate) and loses_numbers(candidate.text, parent.text):
            return "number lost"
        prompt = self._evaluation and self._evaluation.of_prompt(candidate.prompt)
        if prompt or self.is_contaminated(candidate.chosen):
            return CONTAMINATED
        return ""

    def _reject_drifted(self, candidates: list[Candidate], parents: Parents) -> None:
        if not candidates:
            return
        own = self._embedder.embed([candidate.text for candidate in candidates])
        theirs = self._embedder.embed([parents[c.parent].text for c in candidates])
        for candidate, cosine in zip(candidates, (own * theirs).sum(axis=1), strict=True):
            if cosine < self._config.min_similarity:
                candidate.reject("meaning drift")

    def _reject_near(self, candidates: list[Candidate], parents: Parents) -> None:
        if self._near is None:
            return
        cases = [(c.prompt, parents[c.parent].prompt) for c in candidates]
        for candidate, repeats in zip(candidates, self._near.repeats(cases), strict=True):
            if repeats:
                candidate.reject("near duplicate")

    def _reject_semantic(self, candidates: list[Candidate], parents: Parents) -> None:
        if self._semantic is None or not candidates:
            return
        families = [parents[c.parent].position for c in candidates]
        vectors = self._embed([c.prompt for c in candidates])
        repeats = self._semantic.repeats(vectors, families)
        for candidate, says_the_same in zip(candidates, repeats, strict=True):
            if says_the_same:
                candidate.reject("semantic duplicate")

    def _check_goldens(self, candidates: list[Candidate], parents: Parents) -> None:
        """Where the operator changed the answer, nothing vouches yet for the new one."""
        if not candidates:
            return
        assert self._new_golden is not None, "only an LLM writes golden responses"
        cases = [
            NewGolden(c.prompt, c.chosen, parents[c.parent].golden, parents[c.parent].worse)
            for c in candidates
        ]
        for candidate, judged in zip(candidates, self._new_golden(cases), strict=True):
            candidate.evidence = judged.evidence
            if judged.error:
                candidate.fail("verify", judged.error)
                candidate.reply = judged.error
            elif judged.problem:
                candidate.reject(judged.problem)
            else:  # preferred to the old one in both orders
                candidate.chosen_verifier, candidate.chosen_verifier_score = "judge", 1.0

    def _embed(self, prompts: Sequence[list[Message]]) -> np.ndarray:
        return self._embedder.embed([user_text(prompt) for prompt in prompts])

    def take(self, part: pa.Table, parents: Parents) -> None:
        """Remember the candidates of a finished part."""
        self._made.update(prompt_key(prompt) for prompt in part["prompt"].to_pylist())
        if self._near is None and self._semantic is None:
            return
        # What was not scored is not there for others to repeat.
        scored = part.filter(pc.is_valid(part["seam_after"])).select(["prompt", "parent"])
        prompts, names = scored.to_pydict().values()
        if self._near is not None:
            self._near.add(prompts)
        if self._semantic is not None and prompts:
            families = [parents[name].position for name in names]
            self._semantic.add(self._embed(prompts), families)


def prompt_key(prompt: Sequence[Message]) -> int:
    """What exact duplicates are recognised by: the whole conversation, white space aside.

    A 64-bit hash that another process would not get: Python keys it anew for each.
    """
    # Normalised text has no line break.
    return hash("\n".join([f"{turn['role']}\n{normalised(turn['content'])}" for turn in prompt]))


def _open(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Those without a verdict yet."""
    return [candidate for candidate in candidates if not candidate.verdict]
