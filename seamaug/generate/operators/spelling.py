"""Operators that change how words are spelt: US or UK English, numbers as words or digits."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from seamaug.generate.operators.base import of_text, operator
from seamaug.generate.operators.text import (
    editable,
    free_matches,
    holds_any,
    remembered,
    splice,
    words,
)

# Lower-case words only, so that names such as "The Color Purple" keep their spelling.
_US_UK = """
color colour|colors colours|colored coloured|colorful colourful|favorite favourite
favorites favourites|flavor flavour|flavors flavours|honor honour|humor humour|labor labour
neighbor neighbour|neighbors neighbours|neighborhood neighbourhood|rumor rumour|rumors rumours
harbor harbour|behavior behaviour|behaviors behaviours|center centre|centers centres
theater theatre|theaters theatres|fiber fibre|liters litres|liter litre|meters metres
kilometer kilometre|kilometers kilometres|centimeters centimetres|organize organise
organized organised|organizing organising|realize realise|realized realised|recognize recognise
recognized recognised|apologize apologise|traveling travelling|traveled travelled
traveler traveller|travelers travellers|canceled cancelled|jewelry jewellery|gray grey
pajamas pyjamas|mom mum|moms mums|math maths|defense defence|specialty speciality
aging ageing|analyze analyse|analyzed analysed|aluminum aluminium|plow plough|cozy cosy
memorize memorise|minimize minimise|maximize maximise|optimize optimise|modeling modelling
vapor vapour|savory savoury|odor odour|vigor vigour|armor armour|donuts doughnuts|donut doughnut
mustache moustache|skeptical sceptical|fulfill fulfil|enrollment enrolment|parlor parlour
""".replace("\n", "|").strip("|")
_PAIRS = [(us, uk) for us, uk in (pair.split() for pair in _US_UK.split("|"))]
TO_UK = dict(_PAIRS)
TO_US = {uk: us for us, uk in _PAIRS}
_RESPELT = TO_UK.keys() | TO_US.keys()
_LETTERS = re.compile(r"[a-z]{3,}")
_WORD = re.compile(r"(?<![\w'\u2019@#/.-])[a-z]{3,}(?![\w'\u2019@#/-]|\.\w)")

NUMBER_WORDS = {
    str(value): word
    for value, word in enumerate(
        words("two three four five six seven eight nine ten eleven twelve"), start=2
    )
}
NUMBER_DIGITS = {word: digits for digits, word in NUMBER_WORDS.items()}
# Before these words, or after those, a figure is a label, part of a larger number, or a measure
# with its own way of writing.
_NOT_BEFORE = (
    r"(?!(?:and|or|to|by|per|percent|point|plus|minus|divided|modulo|more|less|fewer|out|of|in|at"
    r"|on|is|are|was|were|if|then|as|with|from|for|the|a|an|mph|kph|km|cm|mm|kg|lbs?|oz|ft|am|pm"
    r"|hundreds?|thousands?|millions?|billions?|trillions?|dozens?|tenths?|fourths?|thirds?|fifths?"
    r"|halves|quarters?|eighths?)\b)"
)
_NOT_AFTER = frozenset(
    words(
        "page pages chapter chapters step steps level grade grades number numbers room rooms "
        "day week year version season episode part type group question problem line item unit "
        "figure section least point times plus minus over by and or to between from hundred "
        "thousand million billion twenty thirty forty fifty sixty seventy eighty ninety a an "
        "per is are equals age than"
    )
)
_DIGITS = re.compile(rf"( )(?<=[a-z] )([2-9]|1[0-2])(?= {_NOT_BEFORE}[a-z]{{3,}}(?![\w-])(?! \d))")
_SPELT = re.compile(
    rf"( )(?<=[a-z] )({'|'.join(NUMBER_DIGITS)})(?= {_NOT_BEFORE}[a-z]{{3,}}s(?![\w-])(?! \d))"
)
_LAST_WORD = re.compile(r"(?<![\w'\u2019-])[a-z]+\Z")


def respelt(text: str, table: dict[str, str]) -> str | None:
    """The text with all words of the table respelt, or None where it has none of them."""
    edits = [
        (match.start(), match.end(), table[match.group()])
        for match in free_matches(_WORD, text)
        if match.group() in table
    ]
    return splice(text, edits) if edits else None


@remembered
def small_counts(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    """Matches that count something, and are no label, measure or part of a larger number."""
    found = []
    for match in free_matches(pattern, text):
        before = _LAST_WORD.search(text[max(0, match.start() - 20) : match.start()])
        if before is not None and before.group() not in _NOT_AFTER:
            found.append(match)
    return found


def renumbered(
    text: str, rng: random.Random, pattern: re.Pattern[str], table: dict[str, str]
) -> str | None:
    """The text with some or all small counts written the other way."""
    if not holds_any(text, table) or not editable(text):
        return None
    found = small_counts(pattern, text)
    if not found:
        return None
    count = len(found) if rng.random() < 0.5 else rng.randint(1, len(found))
    chosen = sorted(rng.sample(found, count), key=lambda match: match.start())
    return splice(text, [(m.start(2), m.end(2), table[m[2]]) for m in chosen])


@operator("spelling_variant", "Words change between US and UK spelling of the same word.")
@of_text
def spelling_variant(text: str) -> str | None:
    if _RESPELT.isdisjoint(_LETTERS.findall(text)) or not editable(text):
        return None
    return respelt(text, TO_UK) or respelt(text, TO_US)


@operator("number_words", "Small counts are spelt out with the same value, as in eight for 8.")
def number_words(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    return renumbered(text, rng, _DIGITS, NUMBER_WORDS)


@operator("number_digits", "Small spelt-out counts become digits with the same value.")
def number_digits(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    return renumbered(text, rng, _SPELT, NUMBER_DIGITS)
