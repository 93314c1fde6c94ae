"""Questions whose right answer is known by construction: twelve topics, four wordings each."""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass


def _list(text: str) -> list[str]:
    return text.split()


_CAPITALS = (
    "France:Paris Italy:Rome Spain:Madrid Germany:Berlin Austria:Vienna Greece:Athens Egypt:Cairo "
    "Japan:Tokyo Cuba:Havana Peru:Lima Norway:Oslo Sweden:Stockholm Finland:Helsinki Poland:Warsaw "
    "Hungary:Budapest Ireland:Dublin Portugal:Lisbon Kenya:Nairobi Iran:Tehran Iraq:Baghdad "
    "Russia:Moscow China:Beijing Canada:Ottawa Chile:Santiago Belgium:Brussels Nepal:Kathmandu"
)
_OPPOSITES = (
    "hot:cold big:small fast:slow old:young early:late hard:soft full:empty rich:poor wet:dry "
    "open:closed light:dark high:low strong:weak happy:sad loud:quiet near:far clean:dirty "
    "sharp:blunt thick:thin tall:short cheap:costly brave:timid win:lose buy:sell push:pull"
)
_WORDS = _list(
    "cat lion horse rabbit dolphin elephant tea milk water butter cabbage sandwich sun star cloud "
    "meadow weather mountain red blue green yellow crimson lavender arm foot elbow finger"
)
_FRUIT = _list(
    "apple banana cherry date elderberry fig grape kiwi lemon mango nectarine orange peach quince "
    "raspberry strawberry tangerine walnut"
)
_DAYS = _list("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
_MONTHS = _list(
    "January February March April May June July August September October November December"
)
_LEGS = {"hens": 2, "dogs": 4, "beetles": 6, "spiders": 8, "crabs": 10}


@dataclass(frozen=True)
class Task:
    """One question, with what is right and what would be wrong."""

    topic: str
    form: int
    """Which of the topic's wordings it has."""
    prompt: str
    answer: str
    wrong: tuple[str, ...]
    working: str
    """Sentence that leads to a number, `{}` for the number; empty where the answer is a word."""

    @property
    def cell(self) -> str:
        """Topic and wording: what the plan decides about."""
        return f"{self.topic}/{self.form}"

    @property
    def golden(self) -> str:
        """The right answer as it is to be given."""
        return self.stated(self.answer)

    def stated(self, answer: str) -> str:
        """Any answer in the form of the golden one."""
        return f"{self.working.format(answer)} A: {answer}" if self.working else answer

    def is_right(self, response: str) -> bool:
        """Whether a response gives the right answer and no other: the truth, no verifier."""
        if self.working:
            final = re.findall(r"A: (-?\d+)", response)
            stated = final[-1:] or re.findall(r"\d+", response)
            return self.answer in stated
        said = set(re.findall(r"\w+", response.lower()))
        return self.answer.lower() in said and not said & {text.lower() for text in self.wrong}


@dataclass(frozen=True)
class Topic:
    """Wordings of a question, and what fills them."""

    name: str
    forms: tuple[str, ...]
    items: tuple[tuple[tuple[str, ...], str], ...]
    """What goes into a wording, and the answer."""
    working: str = ""
    """As in `Task`, with `{0}`, `{1}` for what goes into a wording and `{answer}`."""

    def tasks(self, per_form: int, rng: random.Random) -> list[Task]:
        """So many questions in each wording; all of a topic's items are about as frequent."""
        deck: list[tuple[tuple[str, ...], str]] = []
        made = []
        for form, wording in enumerate(self.forms):
            for _ in range(per_form):
                if not deck:
                    deck = rng.sample(self.items, len(self.items))
                made.append(self._task(form, wording, *deck.pop(), rng))
        return made

    def _task(
        self, form: int, wording: str, parts: tuple[str, ...], answer: str, rng: random.Random
    ) -> Task:
        return Task(
            topic=self.name,
            form=form,
            prompt=wording.format(*parts),
            answer=answer,
            wrong=self._wrong(parts, answer, rng),
            working=self.working.format(*parts, answer="{}"),
        )

    def _wrong(self, parts: tuple[str, ...], answer: str, rng: random.Random) -> tuple[str, ...]:
        """What one might say instead: a number not far off, or another answer of the topic."""
        if self.working:
            near = [int(answer) + step for step in (-3, -2, -1, 1, 2, 3)]
            return tuple(str(number) for number in near if number > 0)
        if self.name == "order":
            return tuple(part for part in parts if part != answer)
        others = sorted({other for _, other in self.items} - {answer})
        return tuple(rng.sample(others, min(5, len(others))))


def _pairs(text: str) -> tuple[tuple[tuple[str, ...], str], ...]:
    return tuple(((key,), value) for key, value in (pair.split(":") for pair in text.split()))


def _numbers(
    first: Sequence[int], second: Sequence[int], answer: Callable[[int, int], int]
) -> tuple[tuple[tuple[str, ...], str], ...]:
    return tuple(((str(a), str(b)), str(answer(a, b))) for a in first for b in second)


def _after(names: Sequence[str], steps: Sequence[int]) -> tuple[tuple[tuple[str, ...], str], ...]:
    return tuple(
        ((name, str(step)), names[(i + step) % len(names)])
        for i, name in enumerate(names)
        for step in steps
    )


def _triples() -> tuple[tuple[tuple[str, ...], str], ...]:
    rng = random.Random(0)
    triples = [tuple(rng.sample(_FRUIT, 3)) for _ in range(40)]
    return tuple((triple, min(triple)) for triple in dict.fromkeys(triples))


TOPICS = (
    Topic(
        "sums",
        (
            "Tom has {0} apples and gets {1} more. How many apples has he now?",
            "What do {0} and {1} make together?",
            "A bus with {0} people takes in {1} more. How many are on it?",
            "Ann read {0} pages today and {1} before. How many pages is that?",
        ),
        _numbers(range(2, 9), range(3, 9), lambda a, b: a + b),
        "{0} and {1} make {answer}.",
    ),
    Topic(
        "leftovers",
        (
            "Of {0} eggs {1} break. How many are whole?",
            "What is left of {0} when {1} is taken away?",
            "A shelf holds {0} books and {1} are lent out. How many stay?",
            "Mia had {0} coins and spent {1}. How many has she still?",
        ),
        _numbers(range(11, 18), range(2, 8), lambda a, b: a - b),
        "{0} less {1} leaves {answer}.",
    ),
    Topic(
        "capitals",
        (
            "What is the capital of {0}?",
            "Name the city from which {0} is governed.",
            "I travel to {0}. What is its capital city called?",
            "Quiz: the capital of {0}, please.",
        ),
        _pairs(_CAPITALS),
    ),
    Topic(
        "opposites",
        (
            "What is the opposite of {0}?",
            "Which word means the contrary of {0}?",
            "Give one word that says the reverse of {0}.",
            "Not {0} at all, but what?",
        ),
        _pairs(_OPPOSITES),
    ),
    Topic(
        "letters",
        (
            "How many letters has the word {0}?",
            "Count the letters of {0}.",
            "If I spell {0}, how many letters do I write?",
            "The word {0} is how long?",
        ),
        tuple(((word,), str(len(word))) for word in _WORDS),
        "The word {0} has {answer} letters.",
    ),
    Topic(
        "weekdays",
        (
            "Which day comes {1} days after {0}?",
            "Today is {0}. What day will it be in {1} days?",
            "A letter sent on {0} takes {1} days. On what day is it there?",
            "Start at {0} and go on by {1} days. Which weekday is it?",
        ),
        _after(_DAYS, range(2, 6)),
    ),
    Topic(
        "months",
        (
            "Which month comes {1} months after {0}?",
            "It is {0}. What month will it be in {1} months?",
            "A lease begins in {0} and ends {1} months later. In what month?",
            "Start at {0} and go on by {1} months. Which month is it?",
        ),
        _after(_MONTHS, range(2, 5)),
    ),
    Topic(
        "weeks",
        (
            "How many days are {0} weeks?",
            "Convert {0} weeks to days.",
            "We stay for {0} weeks. How many days is that?",
            "A course of {0} weeks lasts how many days?",
        ),
        tuple(((str(n),), str(7 * n)) for n in range(2, 26)),
        "{0} weeks of 7 days are {answer} days.",
    ),
    Topic(
        "compare",
        (
            "Is {0} greater than {1}?",
            "True of numbers: {0} exceeds {1}?",
            "Do I get more with {0} coins than with {1}?",
            "Would {0} beat {1} as a score?",
        ),
        tuple(
            ((str(a), str(b)), "Yes" if a > b else "No")
            for a in range(14, 90, 15)
            for b in range(20, 90, 13)
        ),
    ),
    Topic(
        "order",
        (
            "Which stands first in the alphabet: {0}, {1} or {2}?",
            "Sort {0}, {1}, {2} by letter and tell me the first.",
            "In a list from a to z, which leads: {0}, {1} or {2}?",
            "Of {0}, {1} and {2}, which does a dictionary show first?",
        ),
        _triples(),
    ),
    Topic(
        "twice",
        (
            "What is twice {0}?",
            "Double {0} for me.",
            "Two bags hold {0} nuts each. How many nuts are there?",
            "I pay {0} on two days. What do I pay in all?",
        ),
        tuple(((str(n),), str(2 * n)) for n in range(11, 50)),
        "Twice {0} is {answer}.",
    ),
    Topic(
        "legs",
        (
            "How many legs do {0} {1} have?",
            "Count the legs of {0} {1}.",
            "In a box sit {0} {1}. How many legs are in it?",
            "{0} {1} walk by. On how many legs?",
        ),
        tuple(
            ((str(n), name), str(n * legs)) for name, legs in _LEGS.items() for n in range(2, 10)
        ),
        "{0} {1} have {answer} legs.",
    ),
)


def make_tasks(per_form: int, rng: random.Random) -> list[Task]:
    """Questions of all topics, no prompt twice."""
    tasks = [task for topic in TOPICS for task in topic.tasks(per_form, rng)]
    return list({task.prompt: task for task in tasks}.values())
