"""Operators that an LLM carries out."""

from collections.abc import Sequence

from seamaug.generate.templates import Template, answer_of, answers_of
from seamaug.models.engines import Request
from seamaug.models.generation import Generation
from seamaug.records import Message, Parent, Seed, text_key

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

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
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
        return [answer_of(reply) for reply in self._ask(name, requests, seed=seed)]

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
        replies = self._ask("worse_by_aspect", requests, seed=seed, answers=most)
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
        replies = self._ask("judge", requests, seed=0, temperature=_DECIDED)
        letters = [answer_of(reply).strip(" .:*()").upper() for reply in replies]
        return [{"A": "first", "B": "second"}.get(letter, "") for letter in letters]

    def _ask(
        self,
        operator: str,
        requests: Sequence[list[Message]],
        *,
        seed: int,
        answers: int = 1,
        temperature: float | None = None,
    ) -> list[str]:
        """Texts of the replies; empty where there is none.

        A reply that is to hold several `answers` may have `max_new_tokens` for each, as far as half
        of what the model can read.
        """
        config = self.generation.config
        own = config.max_new_tokens
        limit = self.generation.max_length
        room = answers * own if limit is None else max(own, min(answers * own, limit // 2))
        replies = self.generation.write(
            [
                Request(
                    operator=operator,
                    messages=messages,
                    seed=int(text_key([seed, position])[:8], 16),
                    max_new_tokens=room,
                    temperature=config.temperature if temperature is None else temperature,
                )
                for position, messages in enumerate(requests)
            ]
        )
        return [reply.text for reply in replies]
