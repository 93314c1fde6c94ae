"""Checks of a variant's text against its parent."""

import re
import unicodedata
from collections import Counter

from seamaug.config import VerifyConfig

_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_SLACK_CHARS = 200  # added to short parents: a greeting may triple a five-word question
_SCRIPT_SAMPLE = 400
# Scripts written without spaces count by the character: else a sentence is one word.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def normalised(text: str) -> str:
    """What two texts must differ in to count as different: more than white space."""
    return " ".join(text.split())


def words(text: str) -> list[str]:
    """Words in order, without case, punctuation and differences of form (full-width, ligatures)."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def text_problem(text: str, parent: str, config: VerifyConfig) -> str:
    """Why the variant's text is unusable, or an empty string."""
    if not text.strip():
        return "empty"
    if len(text) > config.max_chars:
        return "too long"
    if normalised(text) == normalised(parent):
        return "same as seed"
    longest = len(parent) * config.length_ratio + _SLACK_CHARS
    if len(text) > longest or len(text) * config.length_ratio + _SLACK_CHARS < len(parent):
        return "length drift"
    script = main_script(parent)
    if script and main_script(text) != script:
        return "language drift"
    return ""


def loses_numbers(text: str, parent: str) -> bool:
    """Whether a number of the parent is missing: its answer may then differ."""
    wanted, found = (Counter(_NUMBER.findall(item)) for item in (parent, text))
    return bool(wanted - found)


def main_script(text: str) -> str:
    """The writing system of most letters (`LATIN`, `CYRILLIC`, `CJK`, ...); empty if no letters."""
    letters = [char for char in text if char.isalpha()][:_SCRIPT_SAMPLE]
    names = Counter(unicodedata.name(char, "").split(" ", 1)[0] for char in letters)
    return names.most_common(1)[0][0] if names else ""
