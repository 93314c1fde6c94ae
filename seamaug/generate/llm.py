"""Operators that an LLM carries out."""

from collections.abc import Sequence

from seamaug.generate.templates import Template, answer_of
from seamaug.models.generator import Generator
from seamaug.records import Parent

PROMPT_OPERATORS = ("paraphrase", "perturb")
"""Rewrites of the prompt, drawn by name like the embedded operators."""
RESPONSE_TEMPLATES = ("golden_rewrite", "worse_answer")
"""Rewrites of responses, made once per parent."""

_SHOWN_NEIGHBOURS = 3


class LLMWriter:
    """The LLM's operators; each request holds one parent."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self.templates = {
            name: Template.load(name) for name in (*PROMPT_OPERATORS, *RESPONSE_TEMPLATES)
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
