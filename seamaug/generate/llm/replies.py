"""The form of an LLM's reply: what is asked for, and how it is read.

Where the engine holds the model to a JSON schema, a reply is JSON; elsewhere its texts stand
between tags that carry the key of the request's fences, so that no text of a seed can close them.
Either is read whichever was asked for.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from seamaug.models.engines import Reply

Answer = dict[str, str]
"""Texts of one answer by field."""
Answers = dict[int, Answer]
"""Answers by number."""

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
    """The fields that a reply has, in the order of writing, once or in several answers.

    Several answers carry the numbers of what the prompt lists: one that is left out moves no other.
    """

    fields: tuple[str, ...]
    numbers: tuple[int, ...] = ()

    @property
    def needed(self) -> tuple[str, ...]:
        """Fields that are read; what is wrong with an answer is said for the LLM's own sake."""
        return tuple(name for name in self.fields if name != "mistake")

    @property
    def texts(self) -> int:
        """How many texts of full length a reply holds."""
        return max(1, len(self.numbers)) * len(self.needed)

    def schema(self) -> dict[str, Any]:
        """JSON schema of the reply."""
        one = _object({name: _TYPES.get(name, {"type": "string"}) for name in self.fields})
        return _object({str(number): one for number in self.numbers}) if self.numbers else one

    def instructions(self, key: str, *, structured: bool) -> str:
        """What the LLM is told about its reply."""
        which = "; the numbers are those of the list above" if self.numbers else ""
        if structured:
            one = {name: f"({_WHAT[name]})" for name in self.fields}
            shown = {str(number): one for number in self.numbers} or one
            return f"Reply with nothing but JSON of this form{which}:\n{json.dumps(shown)}"
        tags = [(name, _tag(name, n, key)) for n in self._places() for name in self.fields]
        form = "\n".join(f"<{tag}>\n({_WHAT[name]})\n</{tag}>" for name, tag in tags)
        return f"Reply in this form, with these very tags{which}:\n{form}"

    def without(self, answers: Answers) -> "Form | None":
        """The form of the answers that are missing; None where all are there."""
        if not self.numbers:
            return None if answers else self
        missing = tuple(number for number in self.numbers if number not in answers)
        return replace(self, numbers=missing) if missing else None

    def read(self, reply: Reply, key: str) -> Answers:
        """The whole answers of a reply, by number; the only one, where one was asked for, is 1.

        Raises ReplyError where there is none.
        """
        found = self._answers(reply.text.strip(), key, reply.cut)
        problems = {number: _problem(answer) for number, answer in found.items()}
        if usable := {n: answer for n, answer in found.items() if not problems[n]}:
            return usable
        if found:
            raise ReplyError(next(iter(problems.values())))
        if reply.cut:
            raise ReplyError("the reply was cut off at the limit of new tokens; write less")
        wanted = " and ".join(self.needed)
        raise ReplyError(f"the reply does not hold {wanted} in the form asked for")

    def _places(self) -> tuple[int | None, ...]:
        return self.numbers or (None,)

    def _answers(self, text: str, key: str, cut: bool) -> Answers:
        # In this order: tags inside a JSON text, and braces between tags, are the text's own.
        if text.startswith("{"):
            return self._json(text)
        if f"-{key}>" in text:
            return self._tagged(text, key, cut)
        return self._json(text) or self._untagged(text, cut)

    def _tagged(self, text: str, key: str, cut: bool) -> Answers:
        found = {}
        for number in self._places():
            texts = [_between(text, _tag(name, number, key), cut, key) for name in self.needed]
            whole = [one for one in texts if one is not None]
            if len(whole) == len(texts):
                found[number or 1] = dict(zip(self.needed, whole, strict=True))
        return found

    def _untagged(self, text: str, cut: bool) -> Answers:
        """Tags without the key, where they leave no doubt: one answer, each tag once."""
        once = (
            text.count(f"<{name}>") == 1 and text.count(f"</{name}>") <= 1 for name in self.needed
        )
        if self.numbers or not all(once):
            return {}
        texts = {name: _between(text, name, cut) for name in self.needed}
        whole = {name: one for name, one in texts.items() if one is not None}
        return {1: whole} if len(whole) == len(texts) else {}

    def _json(self, text: str) -> Answers:
        """The last objects that have the fields, wherever in the reply they stand."""
        found = {}
        for value in _objects(text):
            for number, item in self._items(value):
                own = [item.get(n) for n in self.needed] if isinstance(item, dict) else [None]
                texts = [value.strip() for value in own if isinstance(value, str)]
                if len(texts) == len(self.needed):
                    found[number] = dict(zip(self.needed, texts, strict=True))
        return found

    def _items(self, value: dict[str, Any]) -> list[tuple[int, Any]]:
        if self.numbers:
            return [(number, value.get(str(number))) for number in self.numbers]
        several = value.get("answers")
        return [(1, item) for item in (several if isinstance(several, list) else [value])]


def _tag(name: str, number: int | None, key: str) -> str:
    return f"{name}-{key}" if number is None else f"{name}-{number}-{key}"


def _between(text: str, tag: str, cut: bool, key: str = "") -> str | None:
    """The last text between tags, since a model that thinks aloud may name the tags; None where
    there is none, or where it holds other tags, and so more than one text."""
    *closed, rest = text.split(f"</{tag}>")
    parts = [part.rpartition(f"<{tag}>") for part in closed]
    found = [inner.strip() for _, opened, inner in parts if opened]
    _, opened, unclosed = rest.rpartition(f"<{tag}>")
    if opened and not cut and not found:
        found = [unclosed.strip()]
    return found[-1] if found and not (key and f"-{key}>" in found[-1]) else None


def _problem(answer: Answer) -> str:
    """What makes it of no use; empty where nothing does."""
    for name, text in answer.items():
        if not text:
            return f"{name} is empty"
        if not _is_text(text):
            return f"{name} holds half a character (a lone surrogate)"
    return ""


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
