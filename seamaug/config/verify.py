"""Section `verify`: which candidates are worth scoring, and what vouches for their labels."""

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from seamaug.config.base import Positive, Section, listed

Check = Literal["number", "overlap", "match", "function", "vote", "judge"]


class WorseConfig(Section):
    """What shows a sampled or written response to be worse than the golden one.

    The same for what an LLM wrote to be worse, wherever it is used: what enters a SEAM may become a
    rejected response."""

    by: Annotated[tuple[Check, ...], BeforeValidator(listed), Field(min_length=1)] = (
        "number",
        "overlap",
    )
    """Checks in order. The first one that can tell decides; a response that none can tell of is
    not taken. Where `judges` are given and this is not, it is `number, vote`. Its score goes to
    `verifier_score`:

    `number`: another final number than the golden response's, or none and the right one nowhere;
    cannot tell where the golden response has none. It stands at the end behind `####`, `A:`,
    `answer:` or `answer is`, or in `\\boxed{}`, or is all there is; it may be a fraction or per
    cent, and have a unit. Score 1.
    `overlap`: ROUGE-L F1 with the golden response below `verify.reference_overlap`; of a response
    that was written to be worse, below `score.same_answer`. Score: that F1.
    `match`: another answer, as `answer` finds it; cannot tell where the golden response has none.
    Score 1.
    `function`: the value of `function` is below the one of the golden response. Score: by how much.
    `vote`: the ensemble `judges` puts it below the golden response; cannot tell where none of them
    can read it. Score: the mean margin.
    `judge`: the generator prefers the golden response in both orders; a tie is no proof. Score: the
    share of the two orders, which is 1.
    """
    answer: str | None = None
    """For `match`: a regular expression whose last match in a response is its answer (the group, if
    there is one). Without it the whole response is. Case, white space and a final full stop do not
    count."""
    function: Annotated[str, Field(pattern=r"^[\w.]+:[\w.]+$")] | None = None
    """For `function`: your Python function as `package.module:name`. It is called with the prompt
    (a list of messages), the response and the golden response, and returns a bool or a number, the
    higher the better, or None where it cannot tell."""
    judges: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """For `vote`: reward models other than the one under test, or an ensemble that `strength`
    trained, which has a vote for each of its heads. They also give every pair its preference
    strength: mu and sigma, the mean and the standard deviation over their votes of the golden
    response's reward less the other's (in logits; who cannot read a text does not vote). Where they
    agree against a pair's label, mu + `spread` * sigma < 0, it is not kept, whatever else vouches
    for it."""
    margin: Annotated[float, Field(ge=0)] = 0.0
    """For `vote`: mu - `spread` * sigma must exceed this."""
    spread: Annotated[float, Field(ge=0)] = 1.0
    """How many standard deviations of the judges count against their mean."""

    @model_validator(mode="before")
    @classmethod
    def _judges_are_asked(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("judges") and "by" not in given:
            return {**given, "by": ("number", "vote")}
        return given

    @field_validator("by")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("a check is named twice")
        return names

    @field_validator("answer")
    @classmethod
    def _one_answer(cls, pattern: str | None) -> str | None:
        try:
            groups = re.compile(pattern or "").groups
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from None
        if groups > 1:
            raise ValueError("must have at most one group: write the others as (?:...)")
        return pattern

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> "WorseConfig":
        for check, setting, what in (
            ("vote", "judges", "a list of reward models"),
            ("function", "function", "package.module:name"),
        ):
            if (check in self.by) != bool(getattr(self, setting)):
                raise ValueError(
                    f"the check `{check}` needs `{setting}`, {what}, and the others do not read it"
                )
        if self.answer is not None and "match" not in self.by:
            raise ValueError("only the check `match` reads `answer`; add it to `by`")
        return self


class DuplicatesConfig(Section):
    """Which prompts say too little that is new. Exact ones (white space aside) always go."""

    near: Annotated[float, Field(gt=0, le=1)] | None = 0.9
    """Jaccard similarity of two prompts' word `shingle`s from which on the later one is a near
    duplicate of an earlier candidate, or of a seed that its parent is unlike; None: none is. The
    estimate errs by 0.03. Of 40 variants of each bundled parent 0.9 takes 12 % (7 % differ in case
    and punctuation alone), 0.8 takes 21 %, 0.7 takes 32 %: before they are scored, and more are
    made in their place."""
    shingle: Positive = 3
    """Words in a row that are compared."""
    semantic: Annotated[float, Field(gt=0, le=1)] | None = None
    """Cosine from which on a candidate says what another seed, or a variant of another parent,
    already says. None: not looked at, for it embeds every candidate, and what a cosine means is the
    embedder's own: with the bundled one 0.95 takes 1 % of those variants, 0.9 takes 9 %."""


class VerifyConfig(Section):
    """What a candidate must satisfy before it is scored."""

    max_chars: Positive = 20_000
    length_ratio: Annotated[float, Field(gt=1)] = 3.0
    """A variant may be this many times longer or shorter than its parent (plus 200 characters)."""
    reference_overlap: Annotated[float, Field(gt=0, le=1)] = 0.5
    """ROUGE-L F1 with the golden response: below it a sample of the policy counts as worse for the
    check `overlap`, from it on an LLM's rewrite of the golden response counts as the same."""
    min_similarity: Annotated[float, Field(ge=-1, le=1)] = 0.75
    """Cosine to the parent below which an LLM's rewrite of a prompt has drifted in meaning."""
    worse: WorseConfig = WorseConfig()
    duplicates: DuplicatesConfig = DuplicatesConfig()
    decontaminate: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """Evaluation files (or globs) that no example may repeat: any format that seeds have, each text
    of each row counts; or .txt, a text a line. Seeds that overlap with them are not selected, and a
    candidate is rejected whose prompt, chosen or rejected response does."""
    ngram: Annotated[int, Field(ge=2)] = 13
    """So many words in a row in common are an overlap (GPT-3, Brown et al. 2020, appendix C), case
    and punctuation aside. A text of the evaluation with fewer words overlaps only with a prompt
    that is the same words."""
