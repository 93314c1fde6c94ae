"""Operators that an LLM carries out."""

from collections.abc import Sequence

from seamaug.generate.templates import Template, answer_of, answers_of
from seamaug.models.generator import Generator
from seamaug.records import Parent, Seed

PROMPT_OPERATORS = ("paraphrase", "perturb")
"""Rewrites of the prompt, drawn by name like the embedded operators."""
RESPONSE_TEMPLATES = ("golden_rewrite", "worse_answer")
"""Rewrites of responses, made once per parent."""
SCORING_TEMPLATES = ("worse_by_aspect", "judge")
"""What scoring asks: hack sets, and which of two responses is better."""

_SHOWN_NEIGHBOURS = 3
_DECIDED = 0.01  # a verdict is no sample; engines take no 0 here


class LLMWriter:
    """The LLM's operators; each request holds one parent."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.templates = {
            name: Template.load(name)
            for name in (*PROMPT_OPERATORS, *RESPONSE_TEMPLATES, *SCORING_TEMPLATES)
        }

    def write(self, name: str, parents: Sequence[Parent], *, seed: int) -> list[str]:
        """What the template of this name makes of each parent; may be empty or unusable."""
        template = self.templates[name]
        requests = [
            template.messages(
                prompt=parent.text,
                golden=parent.golden,
                neighbours=parent.neighbour_texts[:_SHOWN_NEIGHBOURS],
                misjudged=parent.misjudged,
            )
            for parent in parents
        ]
        return [answer_of(reply) for reply in self._generator.write(requests, seed=seed)]

    def worse_by_aspect(
        self, seeds: Sequence[Seed], aspects: Sequence[Sequence[str]], *, seed: int
    ) -> list[list[str]]:
        """For each seed, one worse answer for each of its aspects, in their order.

        Empty where the LLM left one out between its markers, and fewer where the reply ends early.
        """
        template = self.templates["worse_by_aspect"]
        requests = [
            template.messages(prompt=item.text, golden=item.golden, aspects=list(wanted))
            for item, wanted in zip(seeds, aspects, strict=True)
        ]
        most = max((len(wanted) for wanted in aspects), default=1)
        replies = self._generator.write(requests, seed=seed, answers=most)
        # The last ones: a model that thinks aloud may name the markers before it uses them.
        pairs = zip(replies, aspects, strict=True)
        return [answers_of(reply)[-len(wanted) :] for reply, wanted in pairs]

    def prefers(self, cases: Sequence[tuple[Seed, str, str]]) -> list[str]:
        """`first` or `second`, whichever response the LLM finds better; empty if neither."""
        template = self.templates["judge"]
        requests = [
            template.messages(prompt=item.text, first=first, second=second)
            for item, first, second in cases
        ]
        replies = self._generator.write(requests, seed=0, temperature=_DECIDED)
        letters = [answer_of(reply).strip(" .:*()").upper() for reply in replies]
        return [{"A": "first", "B": "second"}.get(letter, "") for letter in letters]
