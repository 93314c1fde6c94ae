"""Operators that put something beside the request: a distractor, or a neighbour's style."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import cache

from seamaug.generate.operators.base import operator
from seamaug.generate.operators.surface import lower_starts, without_end_mark
from seamaug.generate.operators.text import (
    asks_at_once,
    decapitalised,
    editable,
    holds_any,
    remembered,
    sentences,
    words,
)
from seamaug.generate.operators.tone import (
    add_please,
    framed,
    with_lead,
    with_tail,
)

# Each stands alone, holds no number and says nothing a question could turn on.
DISTRACTORS = (
    "The kettle just finished boiling.", "My tea has gone cold again.",
    "The lamp on my desk flickers now and then.", "My keyboard is a bit sticky today.",
    "The neighbours are moving furniture around.", "My chair squeaks whenever I lean back.",
    "A delivery van is blocking the driveway.", "My phone is charging in the other room.",
    "The curtains in here need washing.", "My headphones are tangled again.",
    "The clock in the hallway is ticking loudly.", "I still need to water the plants.",
    "The washing machine is running in the background.", "I spilled some coffee on my notes.",
    "My pen is running out of ink.", "The stairs in this building creak a lot.",
    "I have a song stuck in my head.", "My umbrella is still drying by the door.",
    "The window next to me is hard to open.", "I left my scarf on the bus.",
    "Some music is playing down the hall.", "My screen could use a good wipe.",
    "The printer has been making strange noises.", "I should tidy up my desk.",
    "The bakery on the corner smells wonderful.", "My slippers are worn out.",
    "The elevator in our building is rather slow.", "I just put on a warm sweater.",
    "My notebook has a coffee stain on the cover.", "The fridge is humming quietly.",
    "I keep misplacing my glasses.", "The carpet in the hallway was just cleaned.",
    "My backpack has a broken zipper.", "The doorbell sounds a little out of tune.",
    "I am still waiting for the mail.", "My bookshelf is starting to lean a little.",
    "The radiator makes a clicking sound.", "I forgot to take out the recycling.",
    "The tap in the kitchen drips a little.", "My mouse pad is curling at the edges.",
    "The hallway light was left on again.", "I am wearing mismatched socks by accident.",
    "The poster on my wall keeps falling down.", "My jacket is missing a button.",
    "Somebody down the street is practising the trumpet.", "I finally cleaned my windows.",
)  # fmt: skip
THINGS = words("mug notebook lamp folder cushion scarf blanket vase coaster backpack")
COLOURS = words("blue green red yellow grey purple white brown")
PLACES = ("on my desk", "on the shelf", "by the door", "in the hallway", "next to me")
TEMPLATES = (
    "The {thing} {place} is {colour}.", "There is a {colour} {thing} {place}.",
    "I just moved the {colour} {thing} {place} a little.",
    "Somebody left a {colour} {thing} {place}.", "My new {thing} is {colour}.",
)  # fmt: skip

_WORD = re.compile(r"[a-z]{3,}")
_COMMON = frozenset(
    word.rstrip("s")
    for word in words("the and has have was are still some just now then that this with")
)
# Where the question is about the asker, the place or the moment, an aside might bear on it.
_NEAR = ("i am", "am i", "my ", " me", "right now", "today", "tonight", "weather", "what time")
_HERE_AND_NOW = re.compile(
    r"\b(?:am i|who i am|where i am|my name|around me|near me|right now|today|tonight|weather"
    r"|what time|my (?:house|home|room|apartment|flat|desk|neighbou?rs?))\b"
)
_LEANS_BACK = re.compile(
    r"\b(?:he|she|it|they|his|her|hers|him|its|their|them|this|that|these|those|then|so|each)\b",
    re.I,
)
_OPENING = re.compile(
    r"(?:hi|hello|hey)(?: there)?[,!.]|(?:quick )?question:|so,|okay,|out of curiosity,"
    r"|(?:just )?(?:wondering|curious),",
    re.I,
)
_TELL_OPENING = re.compile(
    r"(?:can|could) you (?:please )?(?:tell me|explain)|i was wondering|do you know"
    r"|i(?:'d| would) like to know|i want to know|please (?:tell me|explain)",
    re.I,
)
_THANKS = re.compile(r"(?:thank you|thanks)(?: in advance| so much| a lot)?[.!]*\Z", re.I)
_ASIDES = ("by the way", "unrelated, but", "off topic, but", "on a side note", "anyway", "p.s.")


def distractor(text: str, rng: random.Random) -> str | None:
    """A sentence which cannot bear on the prompt, sharing no content word with it."""
    lowered = open_to_remarks(text)
    if lowered is None:
        return None
    for _ in range(8):
        if rng.random() < 0.5:
            sentence = rng.choice(DISTRACTORS)
        else:
            sentence = rng.choice(TEMPLATES).format(
                thing=rng.choice(THINGS), place=rng.choice(PLACES), colour=rng.choice(COLOURS)
            )
        stems = content_stems(sentence)
        # A stem of the prompt stands in it, and mostly none does: that is quicker to see.
        if not holds_any(lowered, stems) or stems.isdisjoint(word_stems(lowered)):
            return sentence
    return None


@remembered
def open_to_remarks(text: str) -> str | None:
    """The prompt in lower case; None where any remark beside it might bear on the answer."""
    lowered = text.lower()
    if holds_any(lowered, _ASIDES):
        return None
    if holds_any(lowered, _NEAR) and _HERE_AND_NOW.search(lowered):
        return None
    return lowered if editable(text) else None


def word_stems(lowered: str) -> frozenset[str]:
    """Words of three letters and more, without an s at the end, of a text in lower case."""
    return frozenset(word.rstrip("s") for word in _WORD.findall(lowered))


@cache
def content_stems(remark: str) -> frozenset[str]:
    """Stems of what a remark speaks of; there are 1,726 remarks."""
    return word_stems(remark.lower()) - _COMMON


def aside(sentence: str, rng: random.Random) -> str:
    """Mark a sentence as beside the point."""
    lead = rng.choice(("By the way,", "Unrelated, but", "Off topic, but", "On a side note,"))
    return f"{lead} {decapitalised(sentence) or sentence}"


@operator("distractor_before", "A remark without bearing on the answer is put before the request.")
def distractor_before(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    remark = distractor(text, rng)
    if remark is None or framed(text):
        return None
    if "?" in text and rng.random() < 0.6:
        link = ("Anyway, here is my question:", "Anyway, my question:", "That aside:", "Anyway:")
        remark = f"{remark} {rng.choice(link)}"
    return with_lead(remark, text)


@operator("distractor_after", "A remark without bearing on the answer is put after the request.")
def distractor_after(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    remark = distractor(text, rng)
    if remark is None:
        return None
    marked = aside(remark, rng)
    return with_tail(text, rng.choice((marked, f"({marked})", f"P.S. {remark}")))


@operator("distractor_inside", "A bracketed remark without bearing stands between two sentences.")
def distractor_inside(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    places = _gaps(text)
    remark = distractor(text, rng) if places else None
    if remark is None:
        return None
    at = rng.choice(places)
    parts = sentences(text)
    return " ".join([*parts[:at], f"({aside(remark, rng)})", *parts[at:]])


@remembered
def _gaps(text: str) -> list[int]:
    """Which sentences of a line a remark may stand before."""
    if "\n" in text:
        return []
    parts = sentences(text)
    # Before a sentence that leans on the last one, a remark would catch its pronouns.
    return [at for at in range(1, len(parts)) if not _leans_back(parts[at])]


@remembered
def _leans_back(sentence: str) -> bool:
    return _LEANS_BACK.search(sentence) is not None


def like_opening(text: str, neighbour: str) -> str | None:
    """Open the text as the neighbour opens."""
    if framed(text):
        return None
    match = _OPENING.match(neighbour)
    if match is not None:
        small = decapitalised(text) if match.group()[-1] == "," else text
        return with_lead(match.group(), small) if small is not None else None
    match = _TELL_OPENING.match(neighbour)
    return with_lead(f"{match.group()}:", text) if match and asks_at_once(text) else None


def like_case(text: str, neighbour: str) -> str | None:
    """Start sentences small where the neighbour does."""
    return lower_starts(text) if neighbour[:1].islower() and editable(text) else None


def like_end(text: str, neighbour: str) -> str | None:
    """End without a mark, or with many, where the neighbour does."""
    if not editable(text):
        return None
    if neighbour[-1:].isalnum():
        return without_end_mark(text)
    if text[-1] == "?" and text[-2:-1].isalnum():
        for end in ("??", " ?"):
            if neighbour.endswith(end):
                return text[:-1] + end
    return None


def like_manners(text: str, neighbour: str) -> str | None:
    """Say please or thanks where the neighbour does."""
    lowered = neighbour.lower()
    thanks = _THANKS.search(neighbour) if "thank" in lowered else None
    if thanks is not None and not _THANKS.search(text):
        return with_tail(text, thanks.group())
    return add_please(text) if "please" in lowered else None


@remembered
def likenesses(neighbour: str) -> list[Callable[[str, str], str | None]]:
    """What of a neighbour's style is of its own; mostly nothing."""
    lowered = neighbour.lower()
    shown = {
        like_opening: _OPENING.match(neighbour) or _TELL_OPENING.match(neighbour),
        like_case: neighbour[:1].islower(),
        like_end: neighbour[-1:].isalnum() or neighbour.endswith(("??", " ?")),
        like_manners: "please" in lowered or "thank" in lowered,
    }
    return [likeness for likeness, is_there in shown.items() if is_there]


@operator("neighbour_style", "Only case, end mark, opening or manners follow a near prompt.")
def neighbour_style(text: str, rng: random.Random, neighbours: Sequence[str]) -> str | None:
    near = [neighbour.strip() for neighbour in neighbours[:5]]
    for neighbour in rng.sample(near, len(near)):
        changed = like(text, neighbour)
        if changed != text:
            return changed
    return None


def like(text: str, neighbour: str) -> str:
    """The text in the neighbour's style, as far as it can take it on."""
    for likeness in likenesses(neighbour):
        text = likeness(text, neighbour) or text
    return text
