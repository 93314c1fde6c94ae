"""LLM prompts from prompts/*.jinja, and the text out of an LLM's reply."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from jinja2 import StrictUndefined
from jinja2.sandbox import ImmutableSandboxedEnvironment

from seamaug.records import Message, text_key, user_message
from seamaug.resources import resource

_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)
_OPEN, _CLOSE = "<rewrite>", "</rewrite>"


@dataclass(frozen=True)
class Template:
    """One purpose for an LLM; seeds enter as values, so nothing in them is evaluated."""

    name: str
    text: str

    @classmethod
    def load(cls, name: str) -> "Template":
        """The shipped template of this name."""
        return cls(name, resource("prompts", f"{name}.jinja").read_text(encoding="utf-8"))

    @cached_property
    def hash(self) -> str:
        """Content hash, for provenance and for the run's identity."""
        return text_key(self.text)

    def messages(self, **values: Any) -> list[Message]:
        """The conversation to send to the LLM."""
        return user_message(_ENVIRONMENT.from_string(self.text).render(**values).strip())


def answers_of(reply: str) -> list[str]:
    """All texts between markers, in order and empty ones too; not an unclosed last one."""
    parts = [part.rpartition(_OPEN) for part in reply.split(_CLOSE)[:-1]]
    return [text.strip() for _, opened, text in parts if opened]


def answer_of(reply: str) -> str:
    """What stands between the markers, or the whole reply where the LLM left them out.

    Empty where the reply was cut off before the closing marker: half a text is none.
    """
    if _OPEN not in reply:
        return reply.strip()
    # The last pair: a model that thinks aloud may name the markers before it uses them.
    before, closed, _ = reply.rpartition(_CLOSE)
    return before.rpartition(_OPEN)[2].strip() if closed else ""
