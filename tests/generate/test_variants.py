"""Candidates from parents: deterministic, new, and by operators that exist."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from seamaug.config import GenerateConfig
from seamaug.errors import ConfigError
from seamaug.generate.llm import PROMPT_OPERATORS
from seamaug.generate.operators import OPERATORS
from seamaug.generate.variants import VariantMaker
from seamaug.records import Candidate, Parent, user_message


def parent(name: str, text: str, goldens: Sequence[str] = ("golden",)) -> Parent:
    return Parent(
        id=name,
        position=0,
        prompt=[{"role": "system", "content": "Be brief."}, *user_message(text)],
        golden=goldens[0],
        goldens=list(goldens),
        neighbours=["n1", "n2"],
        neighbour_texts=["How tall is Mont Blanc?", "Why is the sky blue?"],
        neighbour_cosines=[0.9, 0.8],
        misjudged="",
        worse=[],
        worse_sources=[],
        verifiers=[],
        seams=[1.0] * len(goldens),
        error="",
    )


PARENTS = [
    parent("p1", "What is the capital of France? I have always wanted to know."),
    parent("p2", "John has 8 apples. He gives 3 apples to Ann. How many apples does he have left?"),
    parent("p3", "Can you tell me how to make cheesecake?", ("one", "two")),
]


class FakeWriter:
    """Writes the same few texts over and over, as LLMs do."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[str], int]] = []
        self.templates = {name: SimpleNamespace(hash=f"hash-{name}") for name in PROMPT_OPERATORS}

    def write(self, name: str, parents: Sequence[Parent], *, seed: int) -> list[str]:
        self.calls.append((name, [item.id for item in parents], seed))
        return [f"{name} of {item.id}" for item in parents]


def maker(
    seed: int = 0, writer: Any = None, operators: Sequence[str] = ("all",), depth: int = 3
) -> VariantMaker:
    return VariantMaker(GenerateConfig(operators=tuple(operators), depth=depth), writer, seed)


def make(
    which: VariantMaker, number: int = 0, wanted: int = 6, parents: Sequence[Parent] = PARENTS
) -> list[Candidate]:
    return which.make(parents, number, wanted, lambda prompt: True)


def texts(candidates: Sequence[Candidate], name: str) -> list[str]:
    return [candidate.text for candidate in candidates if candidate.parent == name]


def test_deterministic() -> None:
    first = make(maker())
    assert make(maker()) == first
    one = maker()
    make(one, number=7)
    assert make(one) == first, "earlier rounds must not matter"
    assert [c.text for c in make(maker(seed=1))] != [c.text for c in first]
    assert [c.text for c in make(maker(), number=1)] != [c.text for c in first]


def test_a_parent_does_not_depend_on_its_company() -> None:
    together = make(maker())
    for item in PARENTS:
        assert texts(make(maker(), parents=[item]), item.id) == texts(together, item.id)


def test_candidates_follow_their_parents() -> None:
    made = make(maker())
    assert [c.parent for c in made] == sorted(c.parent for c in made)
    for item in PARENTS:
        found = [c for c in made if c.parent == item.id]
        assert 0 < len(found) <= 6
        for candidate in found:
            assert candidate.text != item.text
            assert candidate.prompt[:-1] == item.prompt[:-1]
            assert candidate.prompt[-1]["role"] == "user"
            assert candidate.chosen in item.goldens
            source = "golden" if candidate.chosen == item.golden else "golden_rewrite"
            assert candidate.chosen_source == source
            assert candidate.neighbours == item.neighbours
            assert candidate.template_hash == candidate.verdict == ""
            names = candidate.operator.split("+")
            assert set(names) <= set(OPERATORS)
            assert 1 <= len(names) == len(set(names)) <= 3
    assert {c.chosen for c in make(maker(), wanted=20) if c.parent == "p3"} == {"one", "two"}


def test_no_text_twice_within_a_parent() -> None:
    made = make(maker(operators=["greeting", "all"]), wanted=60)
    for item in PARENTS:
        found = texts(made, item.id)
        assert len(found) == len(set(found))
    assert len({candidate.id for candidate in made}) == len(made)


def test_only_new_texts() -> None:
    first = make(maker())
    known = {candidate.text for candidate in first}
    second = maker().make(PARENTS, 0, 6, lambda prompt: prompt[-1]["content"] not in known)
    assert second
    assert not known & {candidate.text for candidate in second}
    assert maker().make(PARENTS, 0, 6, lambda prompt: False) == []


def test_wanted_is_a_limit() -> None:
    assert make(maker(), wanted=0) == []
    assert len(make(maker(), wanted=2)) == 6
    # One operator with few results is soon exhausted.
    few = make(maker(operators=[next(iter(OPERATORS))], depth=1), wanted=500)
    assert len(few) < 500


def test_named_operators_alone() -> None:
    made = make(maker(operators=["greeting"]))
    assert made
    assert {candidate.operator for candidate in made} == {"greeting"}
    assert {len(c.operator.split("+")) for c in make(maker(depth=1), wanted=20)} == {1}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["greetin"], r"unknown operator 'greetin'; did you mean 'greeting'\?"),
        (["greeting", "zzzzzz"], r"unknown operator 'zzzzzz'; known: .*greeting"),
        (["paraphrase"], "'paraphrase' needs an LLM: give --generator MODEL"),
        ([], "`generate.operators` is empty"),
    ],
)
def test_operators_that_cannot_run(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        maker(operators=names)


def test_misspelt_llm_operator_is_named() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'paraphrase'\?"):
        maker(operators=["paraphrse"], writer=FakeWriter())


def test_all_without_llm_has_no_llm_operators() -> None:
    made = make(maker(), wanted=40)
    assert not {name for c in made for name in c.operator.split("+")} & set(PROMPT_OPERATORS)


def test_llm_variants() -> None:
    writer = FakeWriter()
    made = make(maker(writer=writer, operators=PROMPT_OPERATORS), wanted=4)
    assert len(made) == 12
    assert {candidate.operator for candidate in made} == set(PROMPT_OPERATORS)
    for candidate in made:
        assert candidate.text == f"{candidate.operator} of {candidate.parent}"
        assert candidate.prompt[0]["content"] == "Be brief."
        assert candidate.template_hash == f"hash-{candidate.operator}"
    assert len({candidate.id for candidate in made}) == len(made)
    assert sorted(name for name, _, _ in writer.calls) == sorted(PROMPT_OPERATORS)
    assert sum(len(ids) for _, ids, _ in writer.calls) == 12


def test_llm_seed_differs_by_round_and_run() -> None:
    seeds = set()
    for seed, number in ((0, 0), (0, 1), (1, 0)):
        writer = FakeWriter()
        make(maker(seed=seed, writer=writer, operators=["paraphrase"]), number=number)
        seeds.add(writer.calls[0][2])
    assert len(seeds) == 3


def test_both_kinds_are_mixed() -> None:
    made = make(maker(writer=FakeWriter()), wanted=12)
    by_llm = sum(candidate.operator in PROMPT_OPERATORS for candidate in made)
    assert 0 < by_llm < len(made)
    rules = [c.text for c in made if c.operator not in PROMPT_OPERATORS]
    assert len(rules) == len(set(rules))
