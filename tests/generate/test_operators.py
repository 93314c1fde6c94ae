"""The embedded operators: what they do, what they must never touch, how they compose."""

from __future__ import annotations

import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seamaug.generate.operators import OPERATORS, compose
from seamaug.generate.operators.context import (
    COLOURS,
    DISTRACTORS,
    PLACES,
    TEMPLATES,
    THINGS,
)
from seamaug.generate.operators.spelling import NUMBER_DIGITS
from seamaug.generate.operators.text import protected_spans, sentences, speaks_of_itself

APPLES = "John has 8 apples. He gives 3 apples to Ann. How many apples does he have left?"
ROYCE = "Royce takes 40 minutes more than Rob. If Rob takes 2 hours, how many does Royce take?"
PROMPTS = (
    APPLES,
    ROYCE,
    "A wall mural has 12 pints of paint in it. There are equal amounts of red and white paint. "
    "How many pints of red paint were used?",
    "Tom's ship can travel at 10 miles per hour.  He is sailing from 1 to 4 PM.  He then travels "
    "back at a rate of 6 mph.  How long does it take him to get back?",
    "What is the capital of the country that is the largest in the world?",
    "What happens if you crack your knuckles a lot?",
    "Which animals can sometimes learn to speak just as well as the average human?",
    "I have my grandfather's antique fountain pen and a bottle of ink. Can you tell me how to "
    "refill the fountain pen?",
    "How do I become a flight attendant?",
    "What is the fine structure constant and how does it relate to the speed of light?",
    "Do you have any advice for someone who is not able to sleep well?",
    "Why does the second batch of pancakes brown much faster?",
)
EVERY = [
    *PROMPTS,
    "Give me an outline for a presentation about ergonomic office supplies.",
    "Can you tell me how to make cheesecake?",
    "Jon won by 10 minutes, and he was happy. It's the end. I don't know why?",
    "two lines\nwhat is this ?",
]


def outputs(name: str, prompt: str, neighbours: tuple[str, ...] = (), draws: int = 60) -> set:
    """All results of the operator over many random states."""
    operator = OPERATORS[name]
    return {operator(prompt, rng=random.Random(n), neighbours=neighbours) for n in range(draws)}


CASES = [
    ("greeting", "What is love?", "Hi, what is love?"),
    ("greeting", "Will has a dog. Is it big?", "Hey, Will has a dog. Is it big?"),
    ("closing", "What is love?", "What is love? Many thanks!"),
    ("closing", "What is love?\nTell me.", "What is love?\nTell me.\n\nMany thanks!"),
    ("framing", "What is love?", "Quick question: What is love?"),
    ("framing", APPLES, f"Here is something to work out: {APPLES}"),
    ("polite_lead", "What is love?", "Could you tell me: What is love?"),
    ("casual_opening", "What is love?", "Out of curiosity, what is love?"),
    ("interest", "Is it so?", "Is it so? This has been on my mind lately."),
    ("please", "Give me a plan.", "Please give me a plan."),
    ("plain_request", "Can you tell me how GPS works?", "Tell me how GPS works."),
    ("plain_request", "Please explain rain.", "Explain rain."),
    ("ask_politely", "Explain rain. Be brief.", "Could you please explain rain? Be brief."),
    ("lowercase", "What can I do in Rome? Is NATO big?", "what can i do in Rome? is NATO big?"),
    ("lowercase", "Al ran.  How far? One Will.", "Al ran.  how far? one Will."),
    ("end_mark", "What is love?", "What is love"),
    ("end_mark", "Name a river.", "Name a river"),
    ("end_mark", "what is love", "what is love?"),
    ("end_mark", "what is love? i like it", "what is love? i like it."),
    ("spacing", "It is. Is it?", "It is.  Is it?"),
    ("spacing", "It is.  Is it?", "It is. Is it?"),
    ("line_breaks", "It is. Is it?", "It is.\nIs it?"),
    ("contract", "What is it like? I do not see.", "What is it like? I don't see."),
    ("contract", "What is the use?", "What's the use?"),
    ("expand", "I don't know. What's the use?", "I do not know. What is the use?"),
    ("spelling_variant", "What color is the theater?", "What colour is the theatre?"),
    ("spelling_variant", "my favourite neighbour", "my favorite neighbor"),
    ("number_words", "He has 8 apples.", "He has eight apples."),
    ("number_digits", "He has eight apples.", "He has 8 apples."),
    (
        "question_first",
        APPLES,
        "Answer this: How many apples does he have left? Here is the situation: John has 8 "
        "apples. He gives 3 apples to Ann.",
    ),
    (
        "condition_last",
        ROYCE,
        "Royce takes 40 minutes more than Rob. How many does Royce take if Rob takes 2 hours?",
    ),
    ("indirect_question", "How do I make tempeh?", "Please explain how to make tempeh."),
    ("indirect_question", "Why do cats purr at night?", "Tell me why cats purr at night."),
    ("indirect_question", "How do I sing in the U.S.?", "Tell me how to sing in the U.S."),
    ("join_sentences", "Al ran. He won.", "Al ran; he won."),
    ("join_sentences", "Al ran. He won.", "Al ran, and he won."),
    ("split_sentence", "Al ran home, and he slept well.", "Al ran home. He slept well."),
    ("distractor_before", "What is love?", "I left my scarf on the bus. What is love?"),
    ("distractor_after", "What is love?", "What is love? P.S. I left my scarf on the bus."),
    (
        "distractor_inside",
        "Al has 3 cats. How many cats has Al got?",
        "Al has 3 cats. (By the way, I left my scarf on the bus.) How many cats has Al got?",
    ),
]


@pytest.mark.parametrize(("name", "before", "after"), CASES)
def test_operator_can_give_this_rewrite(name: str, before: str, after: str) -> None:
    assert after in outputs(name, before, draws=1500)


@pytest.mark.parametrize(
    ("neighbour", "after"),
    [
        ("hi, what is hate?", "hi, what is love?"),
        ("Who knows", "What is love"),
        ("who knows", "what is love"),
        ("Is it good ?", "What is love ?"),
        ("I was wondering how it is.", "I was wondering: What is love?"),
        ("What is hate? Thanks!", "What is love? Thanks!"),
        ("What is hate?", None),
    ],
)
def test_neighbour_style_follows_the_neighbour(neighbour: str, after: str | None) -> None:
    assert outputs("neighbour_style", "What is love?", (neighbour,)) == {after}


DECLINED = [
    ("please", "What is love?"),
    ("please", "List of rivers"),
    ("greeting", "Hello, what is love?"),
    ("closing", "Thanks for being here. What is love?"),
    ("closing", "Fix this text:\nI is here."),
    ("plain_request", "Can you swim?"),
    ("framing", "Please help me with this. Al has 3 cats. How many is that?"),
    ("question_first", "Please help me with this. Al has 3 cats. How many has Al?"),
    ("casual_opening", "Will has a dog. Is it big?"),
    ("contract", "What is it?"),
    ("contract", "Do you know how big it is?"),
    ("expand", "Don't you know?"),
    ("expand", "What's he do?"),
    ("spelling_variant", 'He said "what color".'),
    ("spelling_variant", "The Color Purple"),
    ("number_words", "It costs $8 now at 8 PM and 1/8 of 8.5 by 8-year-olds on page 8 there"),
    ("number_words", "Windows 8 works"),
    ("number_digits", "He has twenty two hundreds of cats"),
    ("number_digits", "the Fab Five songs"),
    ("question_first", "He has a cat. What about this?"),
    ("question_first", "Hi there. What is love?"),
    ("question_first", "He has a cat. His name is what?"),
    ("distractor_before", "What is love? By the way, it rains."),
    ("condition_last", "If John works 5 hours, how much does he earn?"),
    ("condition_last", "If a, b, and c are 3, what is d?"),
    ("indirect_question", "What is love? And hate?"),
    ("indirect_question", "Why do cats not fly?"),
    ("join_sentences", "Is it? He ran."),
    ("split_sentence", "If he runs, and he sleeps, it ends."),
    ("distractor_inside", "Al has 3 cats. He has 2 dogs."),
    ("distractor_before", "Where am I?"),
    ("lowercase", "What does `x` do?"),
    ("typos", "Translate these sentences quickly please"),
    ("typos", "Seven hundred 12345 never nothing Jessica without unhappy shor it"),
]


@pytest.mark.parametrize(("name", "prompt"), DECLINED)
def test_operator_declines(name: str, prompt: str) -> None:
    assert outputs(name, prompt) == {None}


@pytest.mark.parametrize("name", list(OPERATORS))
def test_prompts_about_themselves_and_empty_ones_are_left_alone(name: str) -> None:
    near = ("hi, please help ?",)
    for prompt in ("", " \n", "How many words are in this sentence?", "    x = 1\nWhat is x?"):
        assert outputs(name, prompt, near) == {None}


def test_registry_holds_unique_documented_operators() -> None:
    assert len(OPERATORS) >= 10
    for name, operator in OPERATORS.items():
        assert operator.name == name
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", name)
        assert re.fullmatch(r"[A-Z][^.]{20,}\.", operator.preserves)
    assert len({operator.preserves for operator in OPERATORS.values()}) == len(OPERATORS)
    assert {name for name, _, _ in CASES} | {"typos", "neighbour_style"} == set(OPERATORS)


def test_distractors_are_many_whole_and_free_of_numbers() -> None:
    filled = {
        template.format(thing=thing, place=place, colour=colour)
        for template in TEMPLATES
        for thing in THINGS
        for place in PLACES
        for colour in COLOURS
    }
    assert len(set(DISTRACTORS)) >= 40
    amount = re.compile(
        rf"\d|\b(?:one|once|twice|first|second|half|both|pair|dozen|not|never|no|"
        rf"{'|'.join(NUMBER_DIGITS)})\b"
    )
    for sentence in filled | set(DISTRACTORS):
        assert re.fullmatch(r"[A-Z][^?!.]+\.", sentence)
        assert not amount.search(sentence.lower()), sentence


def test_typos_are_few_and_spare_short_words_names_and_negations() -> None:
    prompt = "Jessica never found without 1234 letters " + "wonderful people gathering " * 40
    for changed in outputs("typos", prompt):
        differing = [
            (old, new)
            for old, new in zip(prompt.split(), changed.split(), strict=True)
            if old != new
        ]
        assert 1 <= len(differing) <= 4
        assert all(old in "letters wonderful people gathering" for old, _ in differing)
        assert all(set(old) == set(new) and old[0] == new[0] for old, new in differing)


def test_typos_only_double_letters_of_short_words() -> None:
    doubled = {"crrabs", "craabs"}
    assert outputs("typos", "crabs") == doubled


@pytest.mark.parametrize("name", ["distractor_before", "distractor_after", "distractor_inside"])
def test_distractor_shares_no_thing_with_the_prompt(name: str) -> None:
    prompt = "Al has a mug and a lamp. How many scarfs and vases has Al got?"
    for changed in outputs(name, prompt, draws=300):
        assert len(re.findall(r"\b(?:mugs?|lamps?|scarfs?|vases?)\b", changed)) == 4


# Properties over arbitrary text and over text made to hit many rules at once.

FRAGMENTS = st.sampled_from(
    [
        *("What is", "How do I", "the color", "8 apples", "eight apples", "do not", "don't"),
        *("He ran.", "She has 12 dogs,", ", and he slept", "If it rains,", "Please", "tell me"),
        *("`x = 1`", "```\ny = 2\n```", "https://a.b/c?d=8 ", "$x^2 + 8$", "\\frac{1}{2}"),
        *('"quoted 8 color"', "\u201ctwo favorite words\u201d", "'the text'", "me@mail.org"),
        *("$50 and $60", "11/8", "3.5", "1,000", "twenty", "hundred", "never", "NASA", "Will"),
        *("\n", ". ", "? ", ": ", "wonderful people", "Thanks!", "Hi,"),
        *("In this", "question", "many", "words", "the last", "message"),
    ]
)
MIXED = st.lists(FRAGMENTS, max_size=14).map(" ".join)
TEXTS = st.one_of(MIXED, st.text(max_size=200), st.sampled_from(EVERY))
SEEDS = st.integers(0, 2**32)
NEAR = st.lists(st.one_of(MIXED, st.sampled_from(EVERY)), max_size=3)
NUMBER = re.compile(rf"\d+|(?<![\w])(?:{'|'.join(NUMBER_DIGITS)})(?![\w])")
NEGATION = re.compile(r"\b(?:not|never|no|without|cannot|nothing)\b|n['\u2019]t\b", re.I)


def numbers(text: str) -> Counter:
    """Multiset of the numbers in the text, spelt out or not."""
    return Counter(NUMBER_DIGITS.get(number, number) for number in NUMBER.findall(text.lower()))


@settings(max_examples=250, deadline=None)
@given(TEXTS, SEEDS, NEAR)
def test_every_operator_keeps_what_it_must(text: str, seed: int, near: list[str]) -> None:
    guarded = [text[start:end] for start, end in protected_spans(text)]
    for operator in OPERATORS.values():
        changed = operator(text, rng=random.Random(seed), neighbours=near)
        again = operator(text, rng=random.Random(seed), neighbours=near)
        assert changed == again, operator.name
        if changed is None:
            continue
        assert changed.strip(), operator.name
        assert changed != text, operator.name
        # `compose` reads these two of the prompt alone.
        assert changed.strip() == changed[len(text) - len(text.lstrip()) :].rstrip(), operator.name
        assert not speaks_of_itself(changed), operator.name
        assert numbers(changed) == numbers(text), operator.name
        assert all(changed.count(span) >= text.count(span) for span in guarded), operator.name
        if "\n" in text.strip():
            assert changed.count("\n") >= text.count("\n"), operator.name


@settings(max_examples=150, deadline=None)
@given(st.one_of(MIXED, st.sampled_from(EVERY)), SEEDS)
def test_negations_and_names_stay(text: str, seed: int) -> None:
    for name in set(OPERATORS) - {"closing", "interest"}:
        changed = OPERATORS[name](text, rng=random.Random(seed), neighbours=())
        if changed is not None:
            added = 1 if "I'm not sure" in changed else 0
            assert len(NEGATION.findall(changed)) == len(NEGATION.findall(text)) + added, name
            assert all(changed.count(word) == text.count(word) for word in ("NASA", "Will")), name


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PROMPTS), SEEDS)
def test_number_spelling_is_reversible(prompt: str, seed: int) -> None:
    changed = OPERATORS["number_words"](prompt, rng=random.Random(seed), neighbours=())
    if changed is not None:
        back = re.sub(
            rf"\b(?:{'|'.join(NUMBER_DIGITS)})\b", lambda m: NUMBER_DIGITS[m.group()], changed
        )
        assert back == prompt


@settings(max_examples=150, deadline=None)
@given(TEXTS, SEEDS, st.integers(0, 4), NEAR)
def test_compose_keeps_its_promises(text: str, seed: int, depth: int, near: list[str]) -> None:
    operators = list(OPERATORS.values())

    def run() -> tuple[str, tuple[str, ...]] | None:
        return compose(
            text, rng=random.Random(seed), neighbours=near, operators=operators, depth=depth
        )

    result = run()
    assert result == run()
    if depth == 0:
        assert result is None
    if result is not None:
        assert result[0] != text
        assert 1 <= len(result[1]) <= depth
        assert len(set(result[1])) == len(result[1])
        assert set(result[1]) <= set(OPERATORS)
        assert numbers(result[0]) == numbers(text)


def test_compose_uses_an_operator_given_twice_only_once() -> None:
    greet = OPERATORS["greeting"]
    closing = OPERATORS["closing"]
    result = compose(
        "Is it?", rng=random.Random(1), neighbours=(), operators=[greet, closing, closing], depth=3
    )
    assert result is not None
    assert sorted(result[1]) == ["closing", "greeting"]


def test_compose_gives_none_where_nothing_applies() -> None:
    operators = [OPERATORS["please"], OPERATORS["contract"]]
    assert (
        compose("Rome", rng=random.Random(1), neighbours=(), operators=operators, depth=2) is None
    )


def test_compose_never_gives_back_the_prompt() -> None:
    operators = [OPERATORS["contract"], OPERATORS["expand"]]
    for seed in range(20):
        result = compose(
            "What is the use?", rng=random.Random(seed), neighbours=(), operators=operators, depth=2
        )
        assert result == ("What's the use?", ("contract",))


def test_composition_is_varied() -> None:
    operators = list(OPERATORS.values())
    for prompt in PROMPTS:
        texts = set()
        for seed in range(60):
            rng = random.Random(seed)
            depth = rng.randint(1, 3)
            result = compose(
                prompt, rng=rng, neighbours=PROMPTS[:3], operators=operators, depth=depth
            )
            texts |= {result[0]} if result else set()
        assert len(texts) >= 40, prompt


def test_sentences_break_at_ends_only() -> None:
    assert sentences('Mr. A. Smith ran 3.5 miles. He said "Go. Now." So what?') == [
        "Mr. A. Smith ran 3.5 miles.",
        'He said "Go. Now." So what?',
    ]


def test_money_is_not_taken_for_latex_but_formulas_are() -> None:
    text = "I pay $50 or $60 for $x^2$ and \\(y\\) at `z`"
    assert [text[a:b] for a, b in protected_spans(text)] == ["$x^2$", "\\(y\\)", "`z`"]


@pytest.mark.usefixtures("must_end")
@pytest.mark.parametrize(
    "unit",
    ["a", '"', "\\(", "$a ", "A. ", "\u201c", "`", "x, and he ", "a.", "\\begin{a", ": ", "'a "],
)
def test_long_odd_texts_take_linear_time(unit: str) -> None:
    text = (unit * 500_000)[:500_000] + "?"  # hours, if quadratic
    for name, operator in OPERATORS.items():
        made = operator(text, rng=random.Random(1), neighbours=[text])
        assert made is None or made.strip(), name
