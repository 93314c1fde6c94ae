"""The laptop's sixteen kinds of task: what is asked, the answer, and the likely mistakes.

Their wordings are in wordings.yaml.
"""

import random
from collections.abc import Sequence
from pathlib import Path

import yaml
from laptop.tasks import Answer, Filled, Kind, Task


def _list(text: str) -> list[str]:
    return text.split()


def _pairs(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())


NAMES = _list(
    "Anna Ben Clara David Emma Felix Grace Henry Iris Jack Kate Leo Mia Noah Olga Paul "
    "Rosa Sam Tara Umar Vera Will Xenia Yusuf Zoe Amir Bella Carl Dora Emil Fay Gus"
)
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


def _number(value: int) -> Answer:
    return [str(value)]


def _near(value: int, *others: int) -> list[Answer]:
    return [_number(n) for n in (*others, value + 1, value - 1, value + 2, value - 2) if n >= 0]


def _sum(rng: random.Random) -> Filled:
    a, b = rng.randint(2, 9), rng.randint(2, 9)
    values = {"n": rng.choice(NAMES), "a": str(a), "b": str(b), "x": rng.choice(FRUITS)}
    return values, _number(a + b), _near(a + b, abs(a - b))


def _difference(rng: random.Random) -> Filled:
    b, c = rng.randint(2, 9), rng.randint(1, 9)
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
    own = _listed(rng, 2, 3)
    back = own[::-1]
    return {"t": " ".join(own)}, back, [own, back[:-1], [back[1], back[0], *back[2:]]]


def _sorted(rng: random.Random) -> Filled:
    own = rng.sample(range(1, 40), 3)
    rise = sorted(own)
    mistakes = [own, rise[::-1], [rise[1], rise[0], rise[2]], [rise[0], rise[2], rise[1]]]
    wrong = [[str(n) for n in mistake] for mistake in mistakes]
    return {"t": " ".join(map(str, own))}, [str(n) for n in rise], wrong


def _capitals(rng: random.Random) -> Filled:
    own = _listed(rng, 1, 2)
    loud = [word.upper() for word in own]
    return {"t": " ".join(own)}, loud, [own, [loud[0], *own[1:]], loud[:-1] or own]


def _dashes(rng: random.Random) -> Filled:
    own = _listed(rng, 2, 3)
    dashed = [part for word in own for part in ("-", word)]
    return {"t": ", ".join(own)}, dashed, [own, dashed[1:], dashed[:-2]]


def _members(rng: random.Random) -> Filled:
    group, other = rng.sample(sorted(GROUPS), 2)
    inside = rng.sample(GROUPS[group], rng.randint(1, 2))
    outside = rng.sample(GROUPS[other], rng.randint(1, 2))
    own = rng.sample(inside + outside, len(inside + outside))
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


_FILLS = {
    "sum": _sum,
    "difference": _difference,
    "larger": _larger,
    "smaller": _smaller,
    "next": _next,
    "young": _young,
    "twice": _twice,
    "first": _first,
    "last": _last,
    "backwards": _backwards,
    "sorted": _sorted,
    "capitals": _capitals,
    "dashes": _dashes,
    "members": _members,
    "opposite": _opposite,
    "odd": _odd,
}
_WORDINGS = yaml.safe_load(Path(__file__).with_name("wordings.yaml").read_text(encoding="utf-8"))
KINDS = {name: Kind(name, tuple(_WORDINGS[name]), fill) for name, fill in _FILLS.items()}


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
