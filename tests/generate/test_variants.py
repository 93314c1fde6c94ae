"""Candidates from parents: deterministic, new, and by operators that exist."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from seamaug.config import GenerateConfig, load_config
from seamaug.errors import ConfigError
from seamaug.generate.llm.operators import load_operators
from seamaug.generate.llm.writer import Task, Written
from seamaug.generate.operators import OPERATORS
from seamaug.generate.variants import VariantMaker, chosen_operators
from seamaug.records import Candidate, Misjudged, Parent, user_message

LLM_OPERATORS = load_operators()
PROMPT_OPERATORS = [name for name, own in LLM_OPERATORS.items() if own.rewrites_prompt]
MISJUDGED = Misjudged(text="bad", margin=1.0, rank=1, among=2, logprob=-1.0, golden_logprob=-1.0)


def parent(name: str, text: str, goldens: Sequence[str] = ("golden",)) -> Parent:
    return Parent(
        id=name,
        position=0,
        prompt=[{"role": "system", "content": "Be brief."}, *user_message(text)],
        golden=goldens[0],
        goldens=list(goldens),
        golden_scores=[None, *[0.75] * (len(goldens) - 1)],
        neighbours=["n1", "n2"],
        neighbour_texts=["How tall is Mont Blanc?", "Why is the sky blue?"],
        neighbour_cosines=[0.9, 0.8],
        misjudged=MISJUDGED,
        worse=[],
        worse_sources=[],
        verifiers=[],
        verifier_scores=[],
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

    operators = LLM_OPERATORS

    def __init__(self, **errors: Written) -> None:
        self.errors = errors
        self.calls: list[list[Task]] = []

    def write(self, tasks: Sequence[Task]) -> list[Written]:
        self.calls.append(list(tasks))
        return [self.errors.get(task.operator.name) or self._written(task) for task in tasks]

    @staticmethod
    def _written(task: Task) -> Written:
        text = f"{task.operator.name} of {task.parent.id}"
        return Written({1: {"request": text, "response": f"answer to {text}"}})


def maker(
    seed: int = 0, writer: Any = None, operators: Sequence[str] = ("all",), depth: int = 3
) -> VariantMaker:
    return VariantMaker(GenerateConfig(operators=tuple(operators), depth=depth), writer, seed)


def make(
    which: VariantMaker, number: int = 0, wanted: int = 6, parents: Sequence[Parent] = PARENTS
) -> list[Candidate]:
    return which.make(parents, number, [wanted] * len(parents), lambda prompt: True)


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
    second = maker().make(PARENTS, 0, [6] * 3, lambda prompt: prompt[-1]["content"] not in known)
    assert second
    assert not known & {candidate.text for candidate in second}
    assert maker().make(PARENTS, 0, [6] * 3, lambda prompt: False) == []


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


@pytest.mark.parametrize("name", ["golden_rewrite", "worse_by_aspect"])
def test_what_writes_responses_makes_no_variants(name: str) -> None:
    with pytest.raises(ConfigError, match=f"'{name}' writes responses, .*`generate.llm_worse`"):
        maker(operators=[name], writer=FakeWriter())


def test_all_without_llm_has_no_llm_operators() -> None:
    made = make(maker(), wanted=40)
    assert {candidate.kind for candidate in made} == {"rule"}
    assert not {name for c in made for name in c.operator.split("+")} & set(LLM_OPERATORS)


def test_llm_variants() -> None:
    writer = FakeWriter()
    made = make(maker(writer=writer, operators=PROMPT_OPERATORS), wanted=60)
    assert len(made) == 180
    assert {candidate.operator for candidate in made} == set(PROMPT_OPERATORS)
    for candidate in made:
        operator = LLM_OPERATORS[candidate.operator]
        assert candidate.text == f"{candidate.operator} of {candidate.parent}"
        assert candidate.prompt[0]["content"] == "Be brief."
        assert candidate.template_hash == operator.template.hash
        assert candidate.kind == operator.kind
        assert (candidate.verdict, candidate.reply) == ("", "")
        if operator.changes_answer:
            assert candidate.chosen == f"answer to {candidate.text}"
            assert candidate.chosen_source == "new_golden"
        else:
            assert candidate.chosen_source in ("golden", "golden_rewrite")
    assert len({candidate.id for candidate in made}) == len(made)
    (tasks,) = writer.calls  # one batch
    assert len(tasks) == 180
    assert len({task.seed for task in tasks}) == 180


def test_what_a_variant_is_asked_for_does_not_depend_on_its_company() -> None:
    def asked(parents: Sequence[Parent]) -> dict[str, list[tuple[str, int]]]:
        writer = FakeWriter()
        make(maker(writer=writer), parents=parents)
        found: dict[str, list[tuple[str, int]]] = {}
        for task in writer.calls[0]:
            found.setdefault(task.parent.id, []).append((task.operator.name, task.seed))
        return found

    together = asked(PARENTS)
    for item in PARENTS:
        assert asked([item])[item.id] == together[item.id]


def test_llm_seed_differs_by_round_and_run() -> None:
    seeds: set[int] = set()
    for seed, number in ((0, 0), (0, 1), (1, 0)):
        writer = FakeWriter()
        make(maker(seed=seed, writer=writer, operators=["paraphrase"]), number=number)
        seeds |= {task.seed for task in writer.calls[0]}
    assert len(seeds) == 3 * 18


def test_an_unusable_reply_is_a_failed_row_with_its_text() -> None:
    unread = Written({}, "the reply does not hold request", "Sure!")
    refused = Written({}, "too long for the generator: 9,000 tokens, limit 4,096")
    writer = FakeWriter(formal=unread, casual=refused)
    made = make(maker(writer=writer, operators=["formal", "casual", "shorter"]), wanted=10)
    assert len(made) == 30
    rows = {name: [c for c in made if c.operator == name] for name in ("formal", "casual")}
    for candidate in rows["formal"]:
        assert candidate.verdict == "failed"
        assert candidate.reason == "generate: the reply does not hold request"
        assert candidate.reply == "Sure!"
        assert candidate.template_hash
    for candidate in rows["casual"]:
        assert candidate.reason == "generate: too long for the generator"
        assert candidate.reply == refused.error
    assert all(c.text == f"shorter of {c.parent}" for c in made if c.operator == "shorter")


def test_a_blend_needs_a_neighbour() -> None:
    alone = [
        replace(item, neighbours=[], neighbour_texts=[], neighbour_cosines=[]) for item in PARENTS
    ]
    writer = FakeWriter()
    assert make(maker(writer=writer, operators=["blend"]), parents=alone) == []
    both = make(maker(writer=writer, operators=["blend", "formal"]), parents=alone, wanted=20)
    assert {candidate.operator for candidate in both} == {"formal"}


def test_both_kinds_are_mixed() -> None:
    made = make(maker(writer=FakeWriter()), wanted=12)
    by_llm = sum(candidate.kind != "rule" for candidate in made)
    assert 0 < by_llm < len(made)
    rules = [c.text for c in made if c.kind == "rule"]
    assert len(rules) == len(set(rules))


def test_what_is_checked_is_what_the_operator_says_that_it_preserves() -> None:
    own = maker(writer=FakeWriter())
    for candidate in make(own, wanted=60):
        operator = LLM_OPERATORS.get(candidate.operator)
        assert own.checked(candidate) == (operator.preserves if operator else ())


def test_operators_are_checked_before_a_run() -> None:
    rules, llm = chosen_operators(GenerateConfig(), with_llm=True)
    assert [rule.name for rule in rules] == list(OPERATORS)
    assert [operator.name for operator in llm] == PROMPT_OPERATORS
    assert chosen_operators(GenerateConfig(operators=("formal", "formal")), with_llm=True) == (
        [],
        [LLM_OPERATORS["formal"]],
    )
    with pytest.raises(ConfigError, match=r"nowhere/operators\.yaml cannot be read"):
        chosen_operators(GenerateConfig(operators_from="nowhere"), with_llm=True)


@pytest.mark.parametrize("recipe", ["small", "paper"])
def test_the_operators_of_a_shipped_recipe_exist(recipe: str) -> None:
    assert any(chosen_operators(load_config(recipe).generate, with_llm=True))
