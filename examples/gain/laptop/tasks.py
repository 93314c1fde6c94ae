"""The laptop's tasks: questions in plain English whose answers a program can check.

Sixteen kinds, three wordings each. A task knows its right answer and the mistakes that one makes
with it; whether a response is right is told from its words alone.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace


def _list(text: str) -> list[str]:
    return text.split()


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())


NAMES = _list("Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Mia Noah Olga Paul")
ANIMALS = _list("cat dog horse rabbit lion tiger wolf bear mouse goat sheep duck")
FRUITS = _list("apple pear plum fig peach lemon mango grape cherry melon kiwi quince")
TOOLS = _list("hammer saw drill knife rope ladder brush bucket wrench spade")
COLOURS = _list("red blue green yellow black white brown pink grey purple")
WORDS = ANIMALS + FRUITS + TOOLS + COLOURS
YOUNG = _pairs(
    "cat:kitten dog:puppy horse:foal sheep:lamb goat:kid duck:duckling cow:calf hen:chick "
    "pig:piglet goose:gosling bear:cub deer:fawn swan:cygnet kangaroo:joey frog:tadpole"
)
OPPOSITES = _pairs(
    "hot:cold big:small fast:slow old:young early:late hard:soft full:empty rich:poor wet:dry "
    "open:closed light:dark high:low strong:weak happy:sad loud:quiet near:far clean:dirty"
)
OPPOSITES |= {value: key for key, value in OPPOSITES.items()}
GROUPS = {"animals": ANIMALS, "fruits": FRUITS, "tools": TOOLS, "colours": COLOURS}

Answer = list[str]
Filled = tuple[dict[str, str], Answer, list[Answer]]
"""What fills a wording, the right answer, and mistakes, the likelier ones first."""


@dataclass(frozen=True)
class Task:
    """A question with its right answer and mistakes one makes with it."""

    kind: str
    form: int
    prompt: str
    answer: str
    mistakes: tuple[str, ...]
    values: dict[str, str]

    def is_right(self, response: str) -> bool:
        """Whether the response is the answer, case, punctuation and spaces aside."""
        return words(response) == words(self.answer)

    def reworded(self, rng: random.Random) -> "Task":
        """The same question in another wording."""
        forms = KINDS[self.kind].forms
        form = rng.choice([i for i in range(len(forms)) if i != self.form])
        return replace(self, form=form, prompt=forms[form].format(**self.values))


def words(text: str) -> list[str]:
    """What counts of a response. Capitals count, since one kind of task asks for them."""
    return re.findall(r"\w+|-", text)


@dataclass(frozen=True)
class Kind:
    """Wordings of a question, and what draws their content."""

    name: str
    forms: tuple[str, ...]
    fill: Callable[[random.Random], Filled]

    def task(self, rng: random.Random, form: int | None = None) -> Task:
        """A new one, in a wording at random unless one is given."""
        values, answer, mistakes = self.fill(rng)
        place = rng.randrange(len(self.forms)) if form is None else form
        right = " ".join(answer)
        wrong = dict.fromkeys(" ".join(mistake) for mistake in mistakes)
        wrong.pop(right, None)
        return Task(
            self.name, place, self.forms[place].format(**values), right, tuple(wrong), values
        )


def _number(value: int) -> Answer:
    return [str(value)]


def _near(value: int, *others: int) -> list[Answer]:
    return [_number(n) for n in (*others, value + 1, value - 1, value + 2, value - 2) if n >= 0]


def _sum(rng: random.Random) -> Filled:
    a, b = rng.randint(2, 12), rng.randint(2, 12)
    values = {"n": rng.choice(NAMES), "a": str(a), "b": str(b), "x": rng.choice(FRUITS)}
    return values, _number(a + b), _near(a + b, abs(a - b))


def _difference(rng: random.Random) -> Filled:
    b, c = rng.randint(2, 12), rng.randint(1, 12)
    values = {"n": rng.choice(NAMES), "a": str(b + c), "b": str(b), "x": rng.choice(TOOLS)}
    return values, _number(c), _near(c, 2 * b + c)


def _larger(rng: random.Random) -> Filled:
    a, b = rng.sample(range(1, 60), 2)
    return {"a": str(a), "b": str(b)}, _number(max(a, b)), [_number(min(a, b)), *_near(max(a, b))]


def _smaller(rng: random.Random) -> Filled:
    a, b = rng.sample(range(1, 60), 2)
    return {"a": str(a), "b": str(b)}, _number(min(a, b)), [_number(max(a, b)), *_near(min(a, b))]


def _next(rng: random.Random) -> Filled:
    a = rng.randint(1, 58)
    return (
        {"n": rng.choice(NAMES), "a": str(a)},
        _number(a + 1),
        [_number(a - 1), _number(a), _number(a + 2)],
    )


def _young(rng: random.Random) -> Filled:
    word = rng.choice(sorted(YOUNG))
    others = rng.sample(sorted(YOUNG.keys() - {word}), 2)
    return (
        {"n": rng.choice(NAMES), "x": word},
        [YOUNG[word]],
        [[YOUNG[others[0]]], [word], [YOUNG[others[1]]]],
    )


def _twice(rng: random.Random) -> Filled:
    own = rng.sample(WORDS, rng.randint(1, 2))
    mistakes = [own, [*own, *own, *own], [*own, own[0]], [part for part in own for _ in range(3)]]
    return {"t": " ".join(own)}, own + own, mistakes


def _listed(rng: random.Random, low: int = 3, high: int = 5) -> list[str]:
    return rng.sample(WORDS, rng.randint(low, high))


def _last(rng: random.Random) -> Filled:
    own = _listed(rng)
    return {"t": " ".join(own)}, own[-1:], [own[:1], own[-2:-1], own[-2:]]


def _first(rng: random.Random) -> Filled:
    own = _listed(rng)
    return {"t": " ".join(own)}, own[:1], [own[-1:], own[1:2], own[:2]]


def _backwards(rng: random.Random) -> Filled:
    own = _listed(rng)
    back = own[::-1]
    return {"t": " ".join(own)}, back, [own, back[:-1], [back[1], back[0], *back[2:]]]


def _sorted(rng: random.Random) -> Filled:
    own = rng.sample(range(1, 40), 3)
    rise = sorted(own)
    mistakes = [own, rise[::-1], [rise[1], rise[0], rise[2]], [rise[0], rise[2], rise[1]]]
    wrong = [[str(n) for n in mistake] for mistake in mistakes]
    return {"t": " ".join(map(str, own))}, [str(n) for n in rise], wrong


def _capitals(rng: random.Random) -> Filled:
    own = _listed(rng, 1, 3)
    loud = [word.upper() for word in own]
    return {"t": " ".join(own)}, loud, [own, [loud[0], *own[1:]], loud[:-1] or own]


def _dashes(rng: random.Random) -> Filled:
    own = _listed(rng, 2, 4)
    dashed = [part for word in own for part in ("-", word)]
    return {"t": ", ".join(own)}, dashed, [own, dashed[1:], dashed[:-2]]


def _members(rng: random.Random) -> Filled:
    group, other = rng.sample(sorted(GROUPS), 2)
    inside = rng.sample(GROUPS[group], rng.randint(1, 3))
    outside = rng.sample(GROUPS[other], 2)
    own = rng.sample(inside + outside, len(inside) + 2)
    right = [word for word in own if word in inside]
    wrong = [own, [word for word in own if word in outside], right[:-1] or outside[:1]]
    return {"g": group, "t": " ".join(own)}, right, wrong


def _opposite(rng: random.Random) -> Filled:
    word = rng.choice(sorted(OPPOSITES))
    others = rng.sample(sorted(OPPOSITES.keys() - {word, OPPOSITES[word]}), 2)
    return (
        {"n": rng.choice(NAMES), "x": word},
        [OPPOSITES[word]],
        [[word], *([other] for other in others)],
    )


def _odd(rng: random.Random) -> Filled:
    group, other = rng.sample(sorted(GROUPS), 2)
    own = rng.sample(GROUPS[group], 3)
    odd = rng.choice(GROUPS[other])
    own.insert(rng.randrange(4), odd)
    return {"t": ", ".join(own)}, [odd], [[word] for word in own if word != odd]


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "sum",
            (
                "{n} has {a} {x}s and buys {b} more. How many {x}s does {n} have now?",
                "What is {a} plus {b}?",
                "There are {a} {x}s in a basket. {n} adds {b}. How many are there?",
            ),
            _sum,
        ),
        Kind(
            "difference",
            (
                "{n} has {a} {x}s and gives {b} away. How many {x}s are left?",
                "What is {a} minus {b}?",
                "Of {a} {x}s, {n} sells {b}. How many remain?",
            ),
            _difference,
        ),
        Kind(
            "larger",
            (
                "Which is larger, {a} or {b}?",
                "Say the greater of these two numbers: {a}, {b}.",
                "One box weighs {a} kilos, the other {b}. What does the heavier one weigh?",
            ),
            _larger,
        ),
        Kind(
            "smaller",
            (
                "Which is smaller, {a} or {b}?",
                "Say the lesser of these two numbers: {a}, {b}.",
                "One road is {a} miles long, the other {b}. How long is the shorter one?",
            ),
            _smaller,
        ),
        Kind(
            "next",
            (
                "Which number comes after {a}, {n}?",
                "{n} counts on by one from {a}.",
                "{n} is on page {a}. Which page is next?",
            ),
            _next,
        ),
        Kind(
            "young",
            (
                "{n} asks what a young {x} is called.",
                "Name the baby of the {x} that {n} saw.",
                "The {x} of {n} has a little one. What do we call it?",
            ),
            _young,
        ),
        Kind(
            "twice",
            (
                "Say this twice: {t}.",
                "Repeat these words one time after saying them: {t}.",
                "Write {t} two times.",
            ),
            _twice,
        ),
        Kind(
            "first",
            (
                "Say the first word of this list: {t}.",
                "Which word comes at the start of: {t}?",
                "Read these words: {t}. Which one is the first?",
            ),
            _first,
        ),
        Kind(
            "last",
            (
                "Say the last word of this list: {t}.",
                "Which word comes at the end of: {t}?",
                "Read these words: {t}. Which one is the last?",
            ),
            _last,
        ),
        Kind(
            "backwards",
            (
                "Write this list backwards: {t}.",
                "Turn the order of these words around: {t}.",
                "Starting from the end, say these words: {t}.",
            ),
            _backwards,
        ),
        Kind(
            "sorted",
            (
                "Sort these numbers, smallest first: {t}.",
                "Put in rising order: {t}.",
                "Write the numbers {t} from low to high.",
            ),
            _sorted,
        ),
        Kind(
            "capitals",
            (
                "Write in capital letters: {t}.",
                "Shout these words: {t}.",
                "Make this upper case: {t}.",
            ),
            _capitals,
        ),
        Kind(
            "dashes",
            (
                "Write {t} as a list with dashes.",
                "Make a bulleted list of these: {t}.",
                "Put a dash before each of: {t}.",
            ),
            _dashes,
        ),
        Kind(
            "members",
            (
                "Which of these are {g}: {t}?",
                "Keep only the {g}: {t}.",
                "From the words {t} pick the {g}.",
            ),
            _members,
        ),
        Kind(
            "opposite",
            (
                "Tell {n} the opposite of {x}.",
                "{n} needs a word that means the contrary of {x}.",
                "Not {x}, {n} says, but what?",
            ),
            _opposite,
        ),
        Kind(
            "odd",
            (
                "Which word does not belong: {t}?",
                "One of these is unlike the others: {t}. Which?",
                "Find the odd one out: {t}.",
            ),
            _odd,
        ),
    )
}


def draw(kinds: Sequence[str], count: int, rng: random.Random, known: set[str]) -> list[Task]:
    """So many tasks whose prompts are not among the known ones, which they join.

    The kinds are gone through in the order given, round after round.
    """
    found: list[Task] = []
    misses = 0
    while len(found) < count:
        task = KINDS[kinds[(len(found) + misses) % len(kinds)]].task(rng)
        if task.prompt in known:
            misses += 1
            if misses > 100 * count:
                raise ValueError(f"no {count} new tasks among {sorted(set(kinds))}")
            continue
        known.add(task.prompt)
        found.append(task)
    return found
