"""Docstrings' lines of the form `name: text`, as lists."""

import re
from typing import Any

import griffe

_ITEM = re.compile(r"^(\w+(?:, \w+)*): ", re.MULTILINE)


def listed(text: str) -> str:
    """Paragraphs that begin with `name: ` become lists; continuation lines are indented already."""
    paragraphs = text.split("\n\n")
    return "\n\n".join(
        _ITEM.sub(r"- **\1**: ", paragraph) if _ITEM.match(paragraph) else paragraph
        for paragraph in paragraphs
    )


class Lists(griffe.Extension):
    """Applies it to every object with a docstring."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = listed(obj.docstring.value)
