"""The form of an LLM's reply: what is asked for, and how it is read.

Where the engine holds the model to a JSON schema, a reply is JSON; elsewhere its texts stand
between tags that carry the key of the request's fences, so that no text of a seed can close them.
Either is read whichever was asked for.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from seamaug.models.engines import Reply

Answer = dict[str, str]
"""Texts of one answer by field."""

_WHAT = {
    "request": "the new request",
    "response": "the response",
    "mistake": "in one line, what is going to be wrong with the response",
    "better": "A, B, or T for a tie",
}
"""What the fields of a reply hold, in the words of the instructions."""

_TYPES = {"better": {"type": "string", "enum": ["A", "B", "T"]}}
"""JSON types of the fields that are no free text."""


class ReplyError(ValueError):
    """A reply that cannot be read; the message tells the LLM, and the user, why."""


@dataclass(frozen=True, slots=True)
class Form:
    """The fields that a reply has, in the order of writing, once or in several answers."""

    fields: tuple[str, ...]
    answers: int = 1

    @property
    def needed(self) -> tuple[str, ...]:
        """Fields that are read; what is wrong with an answer is said for the LLM's own sake."""
        return tuple(name for name in self.fields if name != "mistake")

    @property
    def texts(self) -> int:
        """How many texts of full length a reply holds."""
        return self.answers * len(self.needed)

    def schema(self) -> dict[str, Any]:
        """JSON schema of the reply."""
        one = _object({name: _TYPES.get(name, {"type": "string"}) for name in self.fields})
        if self.answers == 1:
            return one
        many = {"type": "array", "items": one, "minItems": self.answers, "maxItems": self.answers}
        return _object({"answers": many})

    def instructions(self, key: str, *, structured: bool) -> str:
        """What the LLM is told about its reply."""
        if structured:
            return f"Reply with nothing but JSON of this form:\n{self._json_example()}"
        one = "\n".join(f"<{name}-{key}>\n({_WHAT[name]})\n</{name}-{key}>" for name in self.fields)
        if self.answers == 1:
            return f"Reply in this form, with these very tags:\n{one}"
        return (
            f"Reply with {self.answers} answers in the order above, each in this form, with these "
            f"very tags:\n{one}"
        )

    def _json_example(self) -> str:
        one: dict[str, Any] = {name: f"({_WHAT[name]})" for name in self.fields}
        if self.answers == 1:
            return json.dumps(one)
        return json.dumps({"answers": [one]}) + f"\nwith {self.answers} answers in the order above."

    def read(self, reply: Reply, key: str) -> list[Answer]:
        """The answers: one, or where several were asked for as many as there are.

        Raises ReplyError where there is none, or where one that should be whole is not.
        """
        text = reply.text.strip()
        answers = self._answers(text, key, reply.cut)
        if not answers and reply.cut:
            raise ReplyError("the reply was cut off at the limit of new tokens; write less")
        if not answers:
            wanted = " and ".join(self.needed)
            raise ReplyError(f"the reply does not hold {wanted} in the form asked for")
        for answer in answers:
            self._check(answer)
        return answers

    def _answers(self, text: str, key: str, cut: bool) -> list[Answer]:
        # In this order: tags inside a JSON text, and braces between tags, are the text's own.
        if text.startswith("{"):
            return self._json(text)
        if f"-{key}>" in text:
            return self._rows([self._between(text, f"{name}-{key}", cut) for name in self.needed])
        return self._json(text) or self._untagged(text, cut)

    def _check(self, answer: Answer) -> None:
        for name, text in answer.items():
            # Of several answers an empty one keeps the others in their places.
            if not text and self.answers == 1:
                raise ReplyError(f"{name} is empty")
            if not _is_text(text):
                raise ReplyError(f"{name} holds half a character (a lone surrogate)")

    def _untagged(self, text: str, cut: bool) -> list[Answer]:
        """Tags without the key, where they leave no doubt: one answer, each tag once."""
        once = (
            text.count(f"<{name}>") == 1 and text.count(f"</{name}>") <= 1 for name in self.needed
        )
        if self.answers > 1 or not all(once):
            return []
        return self._rows([self._between(text, name, cut) for name in self.needed])

    def _rows(self, columns: list[list[str]]) -> list[Answer]:
        """Answers from their texts by field, as far as all fields are there."""
        return [dict(zip(self.needed, row, strict=True)) for row in zip(*columns, strict=False)]

    def _between(self, text: str, tag: str, cut: bool) -> list[str]:
        """Texts between tags: the last ones, since a model that thinks aloud may name the tags."""
        *closed, rest = text.split(f"</{tag}>")
        parts = [part.rpartition(f"<{tag}>") for part in closed]
        found = [inner.strip() for _, opened, inner in parts if opened]
        _, opened, unclosed = rest.rpartition(f"<{tag}>")
        if opened and not cut and len(found) < self.answers:
            found.append(unclosed.strip())
        return found[-self.answers :]

    def _json(self, text: str) -> list[Answer]:
        """The last objects that have the fields, wherever in the reply they stand."""
        found = []
        for value in _objects(text):
            several = value.get("answers")
            for item in several if isinstance(several, list) else [value]:
                own = [item.get(n) for n in self.needed] if isinstance(item, dict) else [None]
                texts = [value.strip() for value in own if isinstance(value, str)]
                if len(texts) == len(self.needed):
                    found.append(dict(zip(self.needed, texts, strict=True)))
        return found[-self.answers :]


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_BRACE = re.compile(r"\{")
_DECODER = json.JSONDecoder(strict=False)  # a line break inside a string is readable enough


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """JSON objects in a text, outermost ones, in order."""
    position = 0
    while match := _BRACE.search(text, position):
        try:
            value, position = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            position = match.end()
        else:
            yield value


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
