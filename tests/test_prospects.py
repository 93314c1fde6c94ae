"""Planning a round by what is foreseen: the best first, each in the light of those before it."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seamaug.keep.head import VirtualHead
from seamaug.keep.outlook import Outlook, Pair, Probes
from seamaug.prospects import Prospects

WIDTH, PARENTS = 5, 12


def outlook(own: dict[str, np.ndarray] | None = None) -> Outlook:
    """Parents are like the probes: their pairs are the right way round."""
    rng = np.random.default_rng(0)
    head = VirtualHead(rng.normal(size=WIDTH), rng.normal(size=(60, WIDTH)), rows=400, ridge=0.1)
    spread = np.cov(rng.normal(size=(100, WIDTH)), rowvar=False)
    far, near = (
        Probes(rng.normal(0.5, 1, size=(4 * n, WIDTH)), np.full(4 * n, 1 / (4 * n)))
        for n in (30, 5)
    )
    if own is None:
        own = {f"p{i}": rng.normal(-0.5, 1, size=WIDTH) for i in range(PARENTS)}
    samples = rng.normal(size=(8, 4, WIDTH))
    return Outlook([head], [spread], far, lambda _: near, samples, 0.1, own)


def parents(texts: Sequence[str] = ("What is it?",) * PARENTS) -> list[Any]:
    return [SimpleNamespace(id=f"p{i}", text=text) for i, text in enumerate(texts)]


def pair(ahead: Outlook, place: int) -> Pair:
    found = ahead.own_pair(f"p{place}")
    assert found is not None
    return found


def greedy(slots: int, most: int) -> np.ndarray:
    """Looks at every parent anew before each slot."""
    ahead, given = outlook(), np.zeros(PARENTS, int)
    for _ in range(slots):
        falls = [ahead.fall(pair(ahead, i), f"p{i}") for i in range(PARENTS)]
        best = int(np.argmax(np.where(given < most, falls, -np.inf)))
        given[best] += 1
        ahead.take(pair(ahead, best))
    return given


def first_falls() -> np.ndarray:
    ahead = outlook()
    return np.array([ahead.fall(pair(ahead, i), f"p{i}") for i in range(PARENTS)])


@pytest.mark.parametrize("slots", [1, 3, 6])
def test_a_round_is_the_greedy_choice(slots: int) -> None:
    given = Prospects(outlook(), parents(), None).best_parents(slots, np.full(PARENTS, 2))
    assert list(given) == list(greedy(slots, 2))


def test_what_was_learnt_gets_no_more() -> None:
    """The best parent's pair learnt often, the next best gets the slot."""
    best, other = (int(i) for i in np.argsort(-first_falls())[:2])
    ahead = outlook()
    plan = Prospects(ahead, [parents()[best], parents()[other]], None)
    assert list(plan.best_parents(1, np.ones(2, int))) == [1, 0]
    for _ in range(400):
        ahead.take(pair(ahead, best))
    assert list(plan.best_parents(1, np.ones(2, int))) == [0, 1]


def test_a_shorter_prompt_goes_first_where_as_much_is_foreseen() -> None:
    best = int(np.argmax(first_falls()))
    own = {f"p{i}": pair(outlook(), best)[0] for i in range(3)}
    plan = Prospects(outlook(own), parents(["a" * 30, "a" * 10, "a" * 20]), None)
    assert list(plan.best_parents(1, np.ones(3, int))) == [0, 1, 0]


def test_nothing_goes_where_nothing_is_foreseen_or_to_what_flattens() -> None:
    nothing = Prospects(outlook({}), parents(), None)
    assert not nothing.best_parents(5, np.full(PARENTS, 3)).any()
    flat = [
        own
        for own, fall in zip(parents(), first_falls(), strict=True)
        if fall > 0 and outlook().flattens(pair(outlook(), int(own.id[1:])), 0.0)
    ]
    one = np.ones(len(flat), int)
    assert Prospects(outlook(), flat, None).best_parents(1, one).sum() == 1
    assert not Prospects(outlook(), flat, 0.0).best_parents(1, one).any()
