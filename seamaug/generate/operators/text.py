"""Reading prompts: protected spans, sentences, and what kind of text a prompt is."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable

Span = tuple[int, int]

remembered = functools.lru_cache(maxsize=512)
"""For what is read from a text alone: operators ask the same of one text again and again.

What is returned is shared, so nobody may alter it.
"""


def words(block: str) -> tuple[str, ...]:
    """The words of a table written as running text."""
    return tuple(block.split())


# A search is quick where each branch begins with a literal: regular expressions here look back at
# what stands before a literal instead of first asking for it.
# Every branch stops at the next copy of its own opener, so that matching stays linear.
_MARKED = (
    r"```[\s\S]*?(?:```|\Z)|~~~[\s\S]*?(?:~~~|\Z)|`[^`\n]+`"
    r"|\$\$[^$]*\$\$"
    r"|\$(?=[^$\n]*[\\^_={}]|[A-Za-z]\$)[^$\n]+\$(?!\d)"
    r"|\\\((?:(?!\\\()[\s\S])*?\\\)|\\\[(?:(?!\\\[)[\s\S])*?\\\]"
    r"|\\begin\{(?:(?!\\begin)[\s\S])*?\\end\{\w*\}|\\\S+"
    r"|\"[^\"]*\"|\u201c[^\u201c\u201d]*\u201d|\u201e[^\u201e\u201c]*\u201c|\u00ab[^\u00ab\u00bb]*\u00bb"
    r"|\u2018[^\u2018\n]*\u2019(?!\w)|'(?<!\w')(?=\S)(?:[^'\n]|(?<=\w)'(?=\w))+'(?!\w)"
)
_PROTECTED = re.compile(_MARKED)
_PROTECTED_AND_MORE = re.compile(
    rf"{_MARKED}|https?://\S+|www\.\S+|(?<!\S)[\w.+-]{{1,64}}@\S+|^(?: {{4}}|\t).*$",
    re.MULTILINE,
)
_MORE = ("http", "www.", "@", "    ", "\t")
_CODE = re.compile(
    r"```|~~~|`[^`\n]+`|\{|\}|;[ \t]*$|\(\)(?<=\w\(\))|</?[a-zA-Z]\w*>|==|=>|->|\+=|\$\$"
    r"|\\[a-zA-Z(\[]|\$[A-Za-z]\$|\$[^$\n]*[\\^_=][^$\n]*\$(?!\d)",
    re.MULTILINE,
)
_CODE_LINE = re.compile(r"[ \t]*(?:def|import|function|const|var|#include|SELECT|print)\b| {4}|\t")
_INTRODUCED = re.compile(r":[ \t]*(?:\n|[\"`\u201c])")
_LABELLED_LINE = re.compile(r"(?:Human|Assistant|User|AI|Q|A|Input|Output)[ \t]*:", re.IGNORECASE)
_HANDED_OVER = ("the following", "below", "this text", "this passage")
_HANDED = re.compile(rf"\b(?:{'|'.join(_HANDED_OVER)})\b")
# Word stems which show that the prompt is about wording, spelling or form itself.
_WORDING = (
    *words(
        "spell typo grammar proofread capitaliz capitalis lowercase uppercase punctuat translat "
        "rephras paraphras rewrit reword vowel consonant syllab palindrom anagram acronym alphabet "
        "rhym summariz summaris hyphen abbreviat pronounc synonym plural"
    ),
    *("word for", "the word ", "the letter"),
)
_SELF_REFERENCE = (
    *("this sentence", "in this question", "in this prompt", "in this message"),
    *("many words", "many letters", "many characters", "last message", "previous message"),
)
_TABLES = {"wording": _WORDING, "itself": _SELF_REFERENCE, "handed over": _HANDED_OVER}
# Most sentences hold none of all these. Sorted by the first letter, few are tried at each place.
_SUBJECT = re.compile(
    "|".join(
        f"{letter}(?:{'|'.join(phrase[1:] for phrase in phrases)})"
        for letter, phrases in itertools.groupby(
            sorted(itertools.chain(*_TABLES.values())), key=lambda phrase: phrase[0]
        )
    )
)

_BOUNDARY = re.compile(r"[.!?][ \t]+(?=[A-Z\"\u201c(])")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|etc|No|Mt|Prof|approx|ft|in|oz|lbs?)|\b[A-Za-z](?:\.[A-Za-z])*)$"
)
_FIRST_WORD = re.compile(r"[A-Z][a-z]*(?![\w.-])")
_LETTERS = re.compile(r"[A-Za-z]+")
_LONE_A = re.compile(r"A (?!(?:is|has|was|and|or|can|does|to|plus|minus)\b)[a-z]")

QUESTION_WORDS = frozenset(
    words(
        "what who whom whose which when where why how is are was were am do does did can could "
        "should would has have had"
    )
)
# Words that are never names, so that a capital on them only marks the start of a sentence.
# "Will", "May" and "Mark" are missing on purpose.
ORDINARY_WORDS = QUESTION_WORDS | frozenset(
    words(
        "a an the my our your his her their its he she it they we you this that these those there "
        "some if in on at after before as for while every each all then since with to tell give "
        "explain write describe list suggest recommend show help make create compare provide "
        "outline define discuss compose generate please yes so and but or find calculate let also "
        "somebody one two three four five six seven eight nine ten during later both another"
    )
)


def holds_any(text: str, phrases: Iterable[str]) -> bool:
    """Whether one of the phrases stands in the text: much quicker to ask than a pattern."""
    return any(map(text.__contains__, phrases))


def speaks_of_itself(text: str) -> bool:
    """Whether the answer may depend on the very words and length of the prompt."""
    return "itself" in subjects(text)


def concerns_wording(text: str) -> bool:
    """Whether the prompt is about how something is worded or spelt."""
    return "wording" in subjects(text)


@remembered
def subjects(text: str) -> set[str]:
    """Names of the tables of which a phrase stands in the text.

    No phrase goes beyond a sentence, and a variant has most sentences of its parent: each of them
    is read once.
    """
    parts = text.lower().replace("?", ".").replace("!", ".").split(".")
    return set().union(*map(_subjects, parts))


@functools.lru_cache(maxsize=8192)
def _subjects(sentence: str) -> list[str]:
    if _SUBJECT.search(sentence) is None:
        return []
    return [name for name, phrases in _TABLES.items() if holds_any(sentence, phrases)]


@remembered
def has_code(text: str) -> bool:
    """Whether the prompt holds code or LaTeX, marked as such or not."""
    return _CODE.search(text) is not None or any(map(_CODE_LINE.match, text.split("\n")))


@remembered
def has_payload(text: str) -> bool:
    """Whether the prompt seems to hand over a text to work on, which must stay as it is."""
    if "handed over" in subjects(text) and _HANDED.search(text.lower()):
        return True
    if ":" not in text:
        return False
    return _INTRODUCED.search(text) is not None or any(map(_LABELLED_LINE.match, text.split("\n")))


@remembered
def editable(text: str) -> bool:
    """Whether single words and marks of the prompt may be changed."""
    return not has_code(text) and not has_payload(text) and not concerns_wording(text)


@remembered
def protected_spans(text: str) -> list[Span]:
    """Spans of code, URLs, quotations and LaTeX, in order and not overlapping."""
    pattern = _PROTECTED_AND_MORE if holds_any(text, _MORE) else _PROTECTED
    return [match.span() for match in pattern.finditer(text)]


def free_matches(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Matches of the pattern which touch no protected span."""
    every = list(pattern.finditer(text))
    # Mostly there is no match, and then the spans need not be known.
    spans = protected_spans(text) if every else ()
    if not spans:
        return every
    found = []
    at = 0
    for match in every:
        while at < len(spans) and spans[at][1] <= match.start():
            at += 1
        if at == len(spans) or match.end() <= spans[at][0]:
            found.append(match)
    return found


def splice(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Replace the given spans, which come in order and do not overlap."""
    parts = []
    at = 0
    for start, end, new in edits:
        parts += [text[at:start], new]
        at = end
    return "".join(parts) + text[at:]


@remembered
def sentences(text: str) -> list[str]:
    """Sentences of one line of text; a break too few is likelier than a break too many."""
    found = []
    at = 0
    for match in free_matches(_BOUNDARY, text):
        stop = match.start()
        if text[stop] == "." and _ABBREVIATION.search(text, max(at, stop - 12), stop):
            continue
        found.append(text[at : stop + 1])
        at = match.end()
    return [*found, text[at:]]


def first_word(text: str) -> str:
    """First word of the text in lower case, without what follows an apostrophe."""
    match = _LETTERS.match(text)
    return match.group().lower() if match else ""


def asks_at_once(text: str) -> bool:
    """Whether the text opens with a question such as "What is" or "Can I"."""
    stop = text.find("?")
    return stop > 0 and first_word(text) in QUESTION_WORDS and "." not in text[:stop]


def decapitalised(text: str) -> str | None:
    """The text with a small first letter, or None where that letter may belong to a name."""
    if text[:1].islower():
        return text
    match = _FIRST_WORD.match(text)
    if match is None or match.group().lower() not in ORDINARY_WORDS:
        return None
    if match.group() == "A" and _LONE_A.match(text) is None:
        return None
    return text[0].lower() + text[1:]


def capitalised(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
