"""What changed between two texts, word by word."""

import re
from difflib import SequenceMatcher

_WORDS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|\s+|[^\w\s]")
"""Words, runs of white space, single signs; a character each in scripts that put no spaces."""

SAME, ADDED, REMOVED = "=", "+", "-"


def changes(before: str, after: str) -> list[str]:
    """Pieces of both texts in order, each after a sign: SAME, ADDED or REMOVED.

    The pieces that are not REMOVED are `after`, those that are not ADDED are `before`.
    """
    old, new = _WORDS.findall(before), _WORDS.findall(after)
    pieces: list[str] = []
    for kind, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            pieces += [SAME, "".join(old[a:b])]
            continue
        if a < b:
            pieces += [REMOVED, "".join(old[a:b])]
        if c < d:
            pieces += [ADDED, "".join(new[c:d])]
    return pieces
