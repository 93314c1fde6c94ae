"""What ships, what a user may add, and what is wrong with what cannot be added."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seamaug.config import load_config
from seamaug.errors import ConfigError
from seamaug.generate.llm.fences import VARIABLES, fence_key, item_values, pair_values
from seamaug.generate.llm.operators import LLMOperator, load_operators
from seamaug.generate.operators import OPERATORS
from seamaug.generate.templates import Template
from seamaug.records import Misjudged, Seed, user_message
from seamaug.resources import resource

SHIPPED = load_operators()


def misjudged(text: str, margin: float = 1.26) -> Misjudged:
    return Misjudged(text=text, margin=margin, rank=2, among=30, logprob=-0.7, golden_logprob=-1.61)


def seed(text: str, golden: str = "golden", earlier: str = "") -> Seed:
    turns: Any = [{"role": "system", "content": earlier}] if earlier else []
    return Seed("id", [*turns, *user_message(text)], golden, [], "", "", "")


def shown(operator: LLMOperator, text: str) -> str:
    _, values = item_values(
        seed(text, f"golden {text}", f"earlier {text}"),
        neighbours=[f"near {text}", f"far {text}"],
        misjudged=misjudged(f"bad {text}"),
        aspects=["an error", "a misreading"],
    )
    return operator.template.render(**values)


# --- what ships


def test_at_least_twelve_of_every_sort() -> None:
    rewrites = [operator for operator in SHIPPED.values() if operator.rewrites_prompt]
    kinds = {operator.kind for operator in SHIPPED.values()}
    assert kinds == {"paraphrase", "perturbation", "blend", "golden", "worse"}
    assert len(rewrites) == 19
    assert len({operator.hash for operator in SHIPPED.values()}) == len(SHIPPED) == 22
    assert all(operator.does for operator in SHIPPED.values())


def test_whatever_changes_the_answer_has_it_written_anew() -> None:
    changing = {name for name, operator in SHIPPED.items() if operator.changes_answer}
    assert changing == {
        "add_constraint", "blend", "change_entity", "change_number", "drop_constraint",
        "multi_part",
    }  # fmt: skip
    for name, operator in SHIPPED.items():
        fields = operator.form().fields
        assert ("request" in fields) == operator.rewrites_prompt
        assert ("response" in fields) == (name in changing or not operator.rewrites_prompt)
        if operator.kind == "paraphrase":
            assert operator.preserves == ("meaning", "numbers", "answer")
    # It says first what is going to be wrong.
    assert SHIPPED["worse_by_aspect"].form(3).fields == ("mistake", "response")


def test_every_template_of_an_operator_is_one() -> None:
    files = {path.stem for path in resource("prompts").glob("*.jinja")}
    assert files == {*SHIPPED, "judge"}


def test_what_the_templates_show() -> None:
    texts = {name: shown(operator, "SEED") for name, operator in SHIPPED.items()}
    responses = {"golden_rewrite", "worse_by_aspect", "worse_like_overrated", "distractor"}
    changing = {name for name, operator in SHIPPED.items() if operator.changes_answer}

    def showing(text: str) -> set[str]:
        return {name for name in texts if text in texts[name]}

    assert showing("\nSEED\n") == showing("earlier SEED") == set(SHIPPED)
    assert showing("golden SEED") == responses | changing
    assert showing("near SEED") == {"manner", "blend"}
    assert showing("far SEED") == {"manner"}
    aimed = {"worse_by_aspect", "worse_like_overrated", "distractor"}
    assert showing("bad SEED") == aimed
    for name in aimed:
        assert "1.3 standard deviations above the right one (place 2 of 30 wrong" in texts[name]
        assert "probability of 50% each, and those of the right one 20%" in texts[name]
    assert "1. an error\n2. a misreading\n" in texts["worse_by_aspect"]
    for content in texts.values():
        assert not content.startswith(("Purpose", "{#"))


def test_a_response_that_is_not_overrated_is_not_called_so() -> None:
    _, values = item_values(seed("x"), misjudged=misjudged("y", -0.5))
    assert "0.5 standard deviations below the right one" in values["misjudged"]


# --- untrusted texts


def blocks(content: str, key: str) -> list[str]:
    pattern = rf"^\[BEGIN [A-Z ]+ {key}\]\n(.*?)\n\[END [A-Z ]+ {key}\]$"
    return re.findall(pattern, content, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", SHIPPED)
def test_untrusted_texts_stand_verbatim_between_fences(name: str, untrusted: list[str]) -> None:
    for text in untrusted:
        key, values = item_values(
            seed(text, text, text), neighbours=[text], misjudged=misjudged(text), aspects=["a"]
        )
        content = SHIPPED[name].template.render(**values)
        found = blocks(content, key)
        assert len(found) >= 2
        assert {block.removeprefix("system: ") for block in found} == {text}
        assert key not in text
        # What surrounds the texts is what surrounds any text.
        _, plain = item_values(
            seed("SEED", "SEED", "SEED"),
            neighbours=["SEED"],
            misjudged=misjudged("SEED"),
            aspects=["a"],
        )
        around = SHIPPED[name].template.render(**plain)
        own = re.search(r"REQUEST ([0-9a-f]{8})\]", around)[1]  # type: ignore[index]
        assert (
            content.replace(key, own)
            .replace(f"\n{text}\n", "\nSEED\n")
            .replace(f"system: {text}\n", "system: SEED\n")
            == around
        )


def test_the_judge_sees_untrusted_texts_verbatim_between_fences(untrusted: list[str]) -> None:
    judge = Template.load("judge")
    own, plain = pair_values(seed("SEED", earlier="SEED"), "SEED", "SEED")
    around = judge.render(**plain)
    for text in untrusted:
        key, values = pair_values(seed(text, earlier=text), text, text)
        content = judge.render(**values)
        assert key not in text
        assert [b.removeprefix("system: ") for b in blocks(content, key)] == [text] * 4
        assert (
            content.replace(key, own)
            .replace(f"\n{text}\n", "\nSEED\n")
            .replace(f"system: {text}\n", "system: SEED\n")
            == around
        )


@given(st.text(), st.text(), st.text())
def test_any_texts_stand_between_fences(text: str, golden: str, other: str) -> None:
    for operator in SHIPPED.values():
        key, values = item_values(
            seed(text, golden), neighbours=[other], misjudged=misjudged(other), aspects=["a"]
        )
        content = operator.template.render(**values)
        assert f"[BEGIN REQUEST {key}]\n{text}\n[END REQUEST {key}]" in content
        assert not any(key in item for item in (text, golden, other))
    key, values = pair_values(seed(text, golden), golden, other)
    content = Template.load("judge").render(**values)
    assert f"[BEGIN RESPONSE A {key}]\n{golden}\n[END RESPONSE A {key}]" in content
    assert f"[BEGIN RESPONSE B {key}]\n{other}\n[END RESPONSE B {key}]" in content


def test_a_key_is_in_none_of_the_texts_even_if_they_guess_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as weak:  # so that a text can hold the key that it would have
        weak.setattr("seamaug.generate.llm.fences.text_key", lambda value: f"{value[0]:016d}"[8:])
        assert fence_key(["x", "00000000 and 00000001"]) == "00000002"
    text = "x"
    assert fence_key([text]) == fence_key([text])
    assert fence_key(["ab", "c"]) != fence_key(["a", "bc"])
    assert len(fence_key(["\ud800"])) == 8


# --- a user's own


def folder(path: Path, entries: str, **templates: str) -> str:
    own = path / "mine"
    own.mkdir()
    (own / "operators.yaml").write_text(entries, encoding="utf-8")
    for name, text in templates.items():
        (own / f"{name}.jinja").write_text(text, encoding="utf-8")
    return str(own)


def test_three_lines_and_a_template(tmp_path: Path) -> None:
    mine = folder(
        tmp_path,
        "telegram:\n  kind: paraphrase\n  preserves: [meaning, numbers, answer]\n",
        telegram="As a telegram. {{ prompt }}",
    )
    found = load_operators(mine)
    assert [*found] == [*SHIPPED, "telegram"]
    own = found["telegram"]
    assert shown(own, "SEED").startswith("As a telegram. The conversation so far")
    assert own.rewrites_prompt
    assert not own.changes_answer


def test_the_entry_counts_in_the_hash(tmp_path: Path) -> None:
    entries = "a: {kind: perturbation, preserves: [answer]}\nb: {kind: perturbation}\n"
    mine = folder(tmp_path, entries, a="{{ prompt }}", b="{{ prompt }}")
    found = load_operators(mine)
    assert found["a"].template.hash == found["b"].template.hash
    assert found["a"].hash != found["b"].hash


PARAPHRASE = "t: {kind: paraphrase, preserves: [answer]}"


@pytest.mark.parametrize(
    ("entries", "template", "message"),
    [
        ("", "", r"operators\.yaml must hold `name:` sections"),
        ("- t", "", r"operators\.yaml must hold `name:` sections"),
        ("t: [", "", r"operators\.yaml is not valid YAML"),
        ("t: {}", "", r"operators\.yaml: `t\.kind`: Field required"),
        ("t:", "", r"operators\.yaml: `t`: "),
        ("t: {kind: parafrase}", "", r"`t\.kind`: Input should be 'paraphrase', "),
        ("t: {kind: worse, preserve: x}", "", r"`t\.preserve`: unknown key; known: kind, pres"),
        (
            "t: {kind: blend, preserves: [tone]}",
            "",
            r"`t\.preserves\.0`: Input should be 'meaning'",
        ),
        ("t: {kind: paraphrase}", "", r"`t`: a paraphrase preserves the answer: add `answer`"),
        ("t: {kind: worse, preserves: [answer]}", "", r"`t`: nothing that a worse .* remove"),
        ("t: {kind: golden, preserves: [answer]}", "", r"`t`: a rewrite .* set `preserves: \["),
        ("T-1: {kind: perturbation}", "", r"`T-1` is no name for an operator: write small"),
        ("../judge: {kind: perturbation}", "", r"`../judge` is no name for an operator: write"),
        ("/etc/passwd: {kind: perturbation}", "", r"`/etc/passwd` is no name for an operator"),
        ("1: {kind: perturbation}", "", r"`1` is no name for an operator"),
        ("u: {kind: perturbation}", "", r"`u` needs its template, .*u\.jinja, which does not"),
        (PARAPHRASE + "\nu: {kind: perturbation}", "{{ prompt }}", r"`u` needs its template"),
        (PARAPHRASE, "{{ promt }}", r"t\.jinja: unknown variable `promt`; did you mean `prompt`"),
        (PARAPHRASE, "{{ prompt }}{{ zzz }}", r"unknown variable `zzz`; known: prompt, golden"),
        (PARAPHRASE, "static", r"t\.jinja does not show `prompt`: write {{ prompt }} where"),
        ("t: {kind: worse}", "{{ prompt }}", r"t\.jinja does not show `golden`"),
        ("t: {kind: blend}", "{{ prompt }}", r"t\.jinja does not show `neighbours`"),
        (PARAPHRASE, "{{ prompt.upper }}", None),
        (PARAPHRASE, "{{ prompt.nothing }}", r"t\.jinja cannot be filled in: .*nothing"),
        (PARAPHRASE, "{{ prompt }}{{ neighbours[0] }}", r"t\.jinja cannot be filled in: "),
        (PARAPHRASE, "{{ prompt }}{% include 'x' %}", r"t\.jinja cannot be filled in: no loader"),
        (PARAPHRASE, "{{ prompt }}{{ 1 / 0 }}", r"t\.jinja cannot be filled in: division"),
        (PARAPHRASE, "{{ prompt }}{{ ''.__class__ }}", r"t\.jinja cannot be filled in: "),
        (PARAPHRASE, "{{ prompt }", r"template .*t\.jinja, line 1: unexpected '}'"),
    ],
)
def test_what_is_wrong_is_said_with_file_key_and_fix(
    tmp_path: Path, entries: str, template: str, message: str | None
) -> None:
    mine = folder(tmp_path, entries, t=template)
    if message is None:
        load_operators(mine)
        return
    with pytest.raises(ConfigError, match=message) as caught:
        load_operators(mine)
    assert str(tmp_path) in str(caught.value)


def test_names_that_are_taken(tmp_path: Path) -> None:
    for number, name in enumerate(("paraphrase", next(iter(OPERATORS)), "judge", "all")):
        home = tmp_path / str(number)
        home.mkdir()
        mine = folder(home, f"{name}: {{kind: perturbation}}", **{name: "{{ prompt }}"})
        with pytest.raises(ConfigError, match=f"the name `{name}` is taken; rename yours"):
            load_operators(mine)


def test_a_template_without_an_entry_is_not_skipped(tmp_path: Path) -> None:
    mine = folder(tmp_path, PARAPHRASE, t="{{ prompt }}", forgotten="{{ prompt }}")
    with pytest.raises(ConfigError, match=r"operators\.yaml does not name `forgotten`"):
        load_operators(mine)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"operators\.yaml cannot be read: No such file"):
        load_operators(str(tmp_path / "nowhere"))


def test_the_example_of_the_documentation_works(tmp_path: Path) -> None:
    text = resource("prompts", "README.md").read_text(encoding="utf-8")
    (template,) = re.findall(r"```jinja\n(.*?)```", text, re.DOTALL)
    entries, config = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    found = load_operators(folder(tmp_path, entries, telegram=template))["telegram"]
    assert shown(found, "SEED").startswith("Rewrite the request below as a telegram")
    (tmp_path / "config.yaml").write_text(config + "generator: {name: some-llm}\n")
    assert load_config(tmp_path / "config.yaml").generate.operators_from == "my-operators"


def test_what_the_documentation_names_is_what_there_is() -> None:
    text = resource("prompts", "README.md").read_text(encoding="utf-8")
    for name in (*VARIABLES, "paraphrase", "perturbation", "blend", "golden", "worse"):
        assert f"`{name}`" in text
