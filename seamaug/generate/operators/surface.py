"""Operators that change the typed surface: case, typos, end marks, spacing, contractions."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from seamaug.generate.operators.base import of_text, operator
from seamaug.generate.operators.text import (
    ORDINARY_WORDS,
    asks_at_once,
    editable,
    free_matches,
    holds_any,
    protected_spans,
    remembered,
    sentences,
    splice,
    words,
)

# Words in which a slip may make another word, a number, or turn the meaning round.
_NO_TYPO = frozenset(
    words(
        "three seven eight eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen "
        "nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand "
        "million billion third fourth fifth sixth seventh eighth ninth tenth quarter double "
        "triple twice thrice dozen dozens never nothing nobody nowhere neither without cannot "
        "except unless hardly barely rarely seldom least fewer angel angle angels angles dairy "
        "diary trail trial quiet quite desert dessert diner dinner later latter super supper "
        "county country counties countries hoping hopping loose breath breathe cloth clothe "
        "model modal united causal casual martial marital sacred scared bread board broad beard "
        "coast costs crate create carve crave unclear nuclear course coarse through thorough "
        "though tough thought throughout staring starring planed planned tiger tigger rider "
        "riding caned canned shirt shift count whether weather where there their these those "
        "which while since singe public abroad proportion portion reality realty minuet minute "
        "parental paternal perfect prefect percent filed field files flies tired tried bored "
        "stoned storm retain retina signing singing balding barking blading caries cartons "
        "chose compiled farming filing framing loser loses shots tilted titled trails trials "
        "silver sliver soldier solider signed singed stared starred hoped hopped scraped "
        "scrapped beast beats slave salve polish lover"
    )
)
_TYPO_WORD = re.compile(r"(?<![\w'\u2019@#/.$&+-])[a-z]{5,}(?![\w'\u2019@#/$&+-]|\.\w)")
_MEANING_PREFIX = ("un", "in", "im", "il", "ir", "dis", "non", "mis", "anti")
_SENTENCE_START = re.compile(
    r"([A-Z](?:(?<=^[A-Z])|(?<=[.!?] [A-Z])|(?<=[.!?]  [A-Z])|(?<=\n[A-Z]))[a-z]*)(?![\w.-])"
)
_LONE_I = re.compile(r"I(?<![\w.&'-]I)(?=(?:['\u2019](?:m|ve|ll|d))? [a-z])")
_WIDE = re.compile(r"(?<=\S)[ ]{2,}(?=\S)")

_HELPER = r"(do|does|did|is|are|was|were|would|should|could|have|has|had)"
_NOT = rf"{_HELPER} not(?= (?!only)[a-z])"
_MORE = r"(?= (?!(?:it|he|she)\b)\w)"
_STILL = r"(?= (?:a|an|the|my|your|it|this|that|not|some|there)\b)"
_PAST = r"(?= (?:been|never|always|seen|heard|read|tried|made|got|also|already|just|recently)\b)"
# What a text must hold, one of them, for the pattern to be worth a search (with ' for any
# apostrophe), the pattern, and what it becomes.
Rewordings = tuple[tuple[tuple[str, ...], re.Pattern[str], str], ...]
CONTRACTIONS: Rewordings = tuple(
    (needed, re.compile(pattern), replacement)
    for needed, pattern, replacement in (
        ((" not ",), rf"\b{_NOT}", r"\1n't"),
        (("annot ", "an not "), r"\b[Cc]an ?not(?= [a-z])", "can't"),
        (("will not ",), r"\bwill not(?= [a-z])", "won't"),
        (("hat is ", "ho is ", "here is ", "ow is ", "It is ", "He is ", "She is "),
         rf"(?:^|(?<=[.!?] ))(What|Who|Where|How|There|It|He|She|what|how) is{_MORE}", r"\1's"),
        (("I am ",), r"\bI am(?= [a-z])", "I'm"),
        (("I have ",), rf"\bI have{_PAST}", "I've"),
        (("I would ",), r"\bI would(?= like [a-z])", "I'd"),
        (("They are ", "We are ", "You are "),
         r"(?:^|(?<=[.!?] ))(They|We|You) are(?= [a-z])", r"\1're"),
    )
)  # fmt: skip
_SUBJECT = r"\b(I|you|we|they|he|she|it|that|who|people|They|He|She|We|It|You) "
EXPANSIONS: Rewordings = tuple(
    (needed, re.compile(pattern), replacement)
    for needed, pattern, replacement in (
        (("n't ",), rf"{_SUBJECT}{_HELPER}n['\u2019]t(?= [a-z])", r"\1 \2 not"),
        (("can't ",), rf"{_SUBJECT}can['\u2019]t(?= [a-z])", r"\1 cannot"),
        (("won't ",), rf"{_SUBJECT}won['\u2019]t(?= [a-z])", r"\1 will not"),
        (("'s ",), rf"\b([Ww]hat|[Ww]ho|[Ww]here|[Hh]ow|[Tt]hat|[Tt]here)['\u2019]s{_STILL}",
         r"\1 is"),
        (("I'm ",), r"\bI['\u2019]m(?= [a-z])", "I am"),
        (("I've ",), r"\bI['\u2019]ve(?= [a-z])", "I have"),
        (("I'll ",), r"\bI['\u2019]ll(?= [a-z])", "I will"),
        (("I'd ",), r"\bI['\u2019]d(?= like\b)", "I would"),
        (("'re ",), r"\b([Yy]ou|[Tt]hey|[Ww]e)['\u2019]re(?= [a-z])", r"\1 are"),
    )
)  # fmt: skip


def lower_starts(text: str) -> str:
    """The text with small sentence openings and a small "i"; names and acronyms stay."""
    matches = [
        match
        for match in free_matches(_SENTENCE_START, text)
        if match[1].lower() in ORDINARY_WORDS and match[1] != "A"
    ] + free_matches(_LONE_I, text)
    return splice(text, sorted((m.start(), m.start() + 1, m.group()[0].lower()) for m in matches))


def without_end_mark(text: str) -> str | None:
    """The text without its last mark, where it is as clear a question or statement as before."""
    if text[-1] not in ".?" or text[-2:-1] in (*".?!", "") or ends_protected(text):
        return None
    last = sentences(text)[-1]
    if text[-1] == "?" and not asks_at_once(last):
        return None
    return text[:-1].rstrip()


def ends_protected(text: str) -> bool:
    """Whether the last character belongs to a protected span."""
    spans = protected_spans(text)
    return bool(spans) and spans[-1][1] == len(text)


def misspelt(word: str, rng: random.Random) -> str:
    """One slip of the fingers inside the word: letters swapped, or one doubled."""
    # Swaps turn short words into others too easily ("crabs", "carbs").
    at = rng.randrange(1, len(word) - 2)
    if len(word) > 5 and rng.random() < 0.7 and word[at] != word[at + 1]:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return word[:at] + word[at] + word[at:]


@remembered
def typo_words(text: str) -> list[re.Match[str]]:
    """Long ordinary words, in which a slip changes nothing else."""
    return [
        match
        for match in free_matches(_TYPO_WORD, text)
        if (word := match.group()) not in _NO_TYPO and not word.startswith(_MEANING_PREFIX)
    ]


def replaced_everywhere(text: str, rules: Rewordings, apostrophe: str) -> str:
    """Apply all rules outside protected spans."""
    plain = text.replace("\u2019", "'")
    # No rule writes what another one needs, so what is not there now will not be there later.
    for pattern, replacement in [(p, r) for needed, p, r in rules if holds_any(plain, needed)]:
        edits = [
            (match.start(), match.end(), match.expand(replacement).replace("'", apostrophe))
            for match in free_matches(pattern, text)
        ]
        text = splice(text, edits) if edits else text
    return text


@operator("lowercase", "Only capitals at sentence starts and of I go; names and acronyms stay.")
@of_text
def lowercase(text: str) -> str | None:
    return lower_starts(text) if editable(text) else None


@operator("typos", "A few slips inside long ordinary words; names, numbers and negations stay.")
def typos(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    if not editable(text):
        return None
    candidates = typo_words(text)
    most = min(4, max(1, text.count(" ") // 12), len(candidates))
    if most == 0:
        return None
    chosen = rng.sample(candidates, rng.randint(1, most))
    chosen.sort(key=lambda match: match.start())
    return splice(text, [(m.start(), m.end(), misspelt(m.group(), rng)) for m in chosen])


@operator("end_mark", "Only the last punctuation mark changes; a question stays a question.")
def end_mark(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    if not editable(text) or ends_protected(text):
        return None
    bare = without_end_mark(text)
    if text[-1] == "?" and text[-2:-1].isalnum():
        return rng.choice((bare or text + "?", text + "?", text[:-1] + " ?", text + "??"))
    if text[-1].isalpha() and text[-1].islower():
        last = sentences(text)[-1]
        return text + ("?" if "?" not in last and asks_at_once(last + "?") else ".")
    return bare


@operator("spacing", "Only the width of the gaps between words and sentences changes.")
@of_text
def spacing(text: str) -> str | None:
    if not editable(text):
        return None
    wide = free_matches(_WIDE, text) if "  " in text else []
    if wide:
        return splice(text, [(m.start(), m.end(), " ") for m in wide])
    return "  ".join(sentences(text)) if "\n" not in text else None


@operator("line_breaks", "Sentences go on lines of their own; every word stays in its place.")
def line_breaks(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    parts = sentences(text)
    if "\n" in text or len(parts) < 2 or not editable(text):
        return None
    gap = rng.choice(("\n", "\n\n"))
    if rng.random() < 0.5:
        return gap.join(parts)
    return " ".join(parts[:-1]) + gap + parts[-1]


@operator("contract", "Full forms become contractions with the same meaning and polarity.")
@of_text
def contract(text: str) -> str | None:
    apostrophe = "\u2019" if "\u2019" in text else "'"
    return replaced_everywhere(text, CONTRACTIONS, apostrophe) if editable(text) else None


@operator("expand", "Contractions become full forms with the same meaning and polarity.")
@of_text
def expand(text: str) -> str | None:
    if ("'" not in text and "\u2019" not in text) or not editable(text):
        return None
    return replaced_everywhere(text, EXPANSIONS, "'")
