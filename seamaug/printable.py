"""Text from files and models on its way to a terminal or into a document."""

import re
import unicodedata

_USERINFO = re.compile(r"(?<=:/)(/?)[^/\s@]+@")  # one slash: URLs that were taken for paths
_KEPT = "\n\t\u200c\u200d"
"""Line ends and tabs; the joiners, without which Persian words and many emoji fall apart."""


def printable(text: str) -> str:
    """The text with a visible mark for each character that steers a terminal or hides.

    These are control characters (escape sequences begin with one), direction marks, zero-width
    characters, lone surrogates and code points without a character.
    """
    return "".join(char if _is_shown(char) else "\ufffd" for char in text)


def without_userinfo(text: str) -> str:
    """The text with `***@` for what stands before the host in a URL: user names and passwords."""
    return _USERINFO.sub(r"\1***@", text)


def _is_shown(char: str) -> bool:
    return char.isprintable() or char in _KEPT or unicodedata.category(char) == "Zs"
