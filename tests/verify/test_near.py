"""Near duplicates: found where they are, and only among what should differ."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.records import Message, Seed, to_table, user_message
from seamaug.seeds import Seeds
from seamaug.verify.near import NearDuplicates, shingles
from seamaug.verify.seed_bands import SeedBands
from seamaug.verify.signatures import Signatures, signatures_of

LONG = (
    "Explain in plain words why the sky is blue at noon and red in the evening, please, to a child"
)
OTHER = "List seven rivers in Europe with their lengths in kilometres, longest first, as a table"


def near(*seeds: str, threshold: float = 0.7, shingle: int = 2) -> NearDuplicates:
    found = NearDuplicates(threshold, shingle)
    found.add_seeds(seeds_of(seeds))
    return found


def seeds_of(texts: Sequence[str]) -> Seeds:
    rows = [
        Seed(str(i), user_message(text), "golden", [], "", "", "") for i, text in enumerate(texts)
    ]
    return Seeds(to_table(rows, Seed.SCHEMA), len(rows))


def repeats(index: NearDuplicates, *texts: str, parent: str = "parent") -> list[bool]:
    return index.repeats([(user_message(text), user_message(parent)) for text in texts])


def test_a_near_copy_of_another_seed_is_found() -> None:
    index = near(LONG, OTHER)
    assert repeats(index, LONG.replace("noon", "midday"), "Something new altogether") == [
        True,
        False,
    ]


def test_a_variant_may_be_like_its_parent_and_like_what_that_is_like() -> None:
    twin = LONG.replace("child", "friend")
    index = near(LONG, twin, OTHER)
    variant = LONG.replace("please", "kindly")
    assert repeats(index, variant, parent=LONG) == [False]
    assert repeats(index, variant, parent=twin) == [False]
    assert repeats(index, variant, parent=OTHER) == [True]


def test_earlier_candidates_count_and_those_of_the_same_part_in_order() -> None:
    index = near()
    first, second = LONG, LONG.replace("noon", "midday")
    assert repeats(index, first, second, OTHER) == [False, True, False]
    assert repeats(index, second, first) == [False, True]
    assert repeats(index, first) == [False]  # a part that is not finished leaves no trace
    index.add([user_message(first)])
    assert repeats(index, second, OTHER) == [True, False]


def test_case_and_punctuation_are_no_difference_and_short_texts_are_compared_whole() -> None:
    index = near(threshold=1.0, shingle=3)
    index.add([user_message("Hello, World"), user_message("🙂")])
    assert repeats(index, "hello world!", "hello", "🙂 ", "🙃", "") == [
        True,
        False,
        True,
        False,
        False,
    ]


def test_other_earlier_turns_make_another_prompt() -> None:
    def conversation(first: str) -> list[Message]:
        return [*user_message(first), {"role": "assistant", "content": "ok"}, *user_message(LONG)]

    index = near()
    index.add([conversation("One")])
    cases = [(conversation(text), user_message("p")) for text in ("One", "Two")]
    assert index.repeats(cases) == [True, False]


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_seeds_without_their_signatures_answer_as_an_index_that_keeps_them(
    threshold: float,
) -> None:
    rng = random.Random(0)
    vocabulary = [f"w{i}" for i in range(300)]
    bases = [[rng.choice(vocabulary) for _ in range(40)] for _ in range(40)]
    texts = []
    for base in bases * 5:
        changed = list(base)
        for _ in range(rng.randrange(8)):
            changed[rng.randrange(40)] = rng.choice(vocabulary)
        texts.append(" ".join(changed))
    seeds, asked = seeds_of(texts[:150]), texts[150:]

    def signatures(prompts: Sequence[Sequence[Message]]) -> np.ndarray:
        return signatures_of([shingles(prompt, 1) for prompt in prompts])

    kept = Signatures(threshold)
    kept.add(signatures(list(seeds.prompts())))
    index = SeedBands(seeds, signatures, threshold)
    own = signatures([user_message(text) for text in asked])
    found = index.like(own)
    assert found == kept.like(own)
    assert 0 < sum(map(len, found)) < 150 * 50


@given(st.lists(st.text(max_size=30), max_size=6, unique=True))
def test_what_is_remembered_is_a_repetition(texts: list[str]) -> None:
    index = NearDuplicates(1.0, 3)
    first = repeats(index, *texts)
    kept = [text for text, again in zip(texts, first, strict=True) if not again]
    assert not any(repeats(index, *kept))
    index.add([user_message(text) for text in kept])
    assert all(repeats(index, *texts))


@given(st.text(), st.integers(1, 5))
def test_every_text_has_shingles(text: str, size: int) -> None:
    assert shingles(user_message(text), size)
