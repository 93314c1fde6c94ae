"""Operators that change the order of a prompt's parts or the shape of its sentences."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from seamaug.generate.operators.base import of_text, operator
from seamaug.generate.operators.text import (
    QUESTION_WORDS,
    capitalised,
    decapitalised,
    editable,
    first_word,
    has_code,
    has_payload,
    holds_any,
    protected_spans,
    remembered,
    sentences,
    splice,
    words,
)
from seamaug.generate.operators.tone import led

ASK_FIRST = (
    ("Answer this:", "Here is the situation:"), ("My question is this:", "Here is the situation:"),
    ("Here's what I'd like to know:", "The situation is as follows:"), ("", "For context:"),
    ("", "Here is the background:"), ("", "Some background:"), ("Question:", "Details:"),
    ("I need to find out:", "This is what I know:"), ("", "Here are the details:"),
    ("Please answer this:", "Here is what you need to know:"), ("", "Context:"),
)  # fmt: skip
TELL = (
    "Tell me", "Please tell me", "Can you tell me", "Could you tell me", "I'd like to know",
    "I want to know", "I would like to know", "Please explain", "Explain", "Let me know",
    "Could you explain", "Please let me know",
)  # fmt: skip

_SUBJECTS = r"(?!(?:not|all of|both)\b)(?:the |some |most )?(?!\w+n['\u2019]t)"
_BASE = r"(?!.*\b(?:not|and|but|or|if|when|did|so)\b)"
# Questions in which the verb keeps its form when the question becomes indirect.
INDIRECT = (
    (re.compile(r"How (?:do|can) I ((?!not\b|know\b|feel\b).+)\?", re.I), "how to {0}"),
    (re.compile(r"(Where|What|How|When|Why) (can|should|could) (I|you|we) (?!not\b)(.+)\?", re.I),
     "{0} {2} {1} {3}"),
    (re.compile(rf"(Why|How|Where) do ({_BASE}{_SUBJECTS}[a-z]+ [a-z]+\b.*)\?"), "{0} {1}"),
    (re.compile(rf"(What) do ((?!you\b|I\b){_BASE}{_SUBJECTS}[a-z]+ (?:eat|mean|think|believe|like"
                r"|want|need|have|use|know|say|see)\b.*)\?"), "{0} {1}"),
    (re.compile(r"(What|Who) (is|are|was|were) ((?:the|a|an|your|my) [a-z]+(?: (?:of|in|for)"
                r"(?: the| a| an)? [A-Za-z]+)?)\?"), "{0} {2} {1}"),
    (re.compile(r"(Who) (is|was) ([A-Z][a-z]+(?: [A-Z][a-z]+)?)\?"), "{0} {2} {1}"),
    (re.compile(r"(What) (happens (?:if|when|to) .+)\?"), "{0} {1}"),
)  # fmt: skip
_POINTS_BACK = re.compile(
    r"\b(?:this|that|these|those|such|same|above|also|else|instead|others?)\b", re.I
)
_NOT_LATER = frozenset(words("then and but so or also hi hello hey thanks thank now next"))
_OPENS_QUESTION = QUESTION_WORDS | frozenset(("if", "assuming"))
_CONDITION = re.compile(r"(If|When) ([^,?!.;:]+), ([^,?!;:]+)\?")
_PRONOUN = re.compile(r"\b(?:he|she|it|they|him|her|them|his|hers|its|their)\b", re.I)
_STATEMENT = re.compile(
    r"(?:He|She|It|They|The|His|Her|Their|There|In|On|At|Each|Every|We|I|This) [^?!;:]*\."
)
_OPENS_CLAUSE = re.compile(r"(?:If|When|While|Since|After|Before|As|Suppose|Because|Let|Given)\b")
_CLAUSE = re.compile(r"(?<=[a-z]), and (he|she|they|it|I|we)(?= (?!can\b|will\b)[a-z]+)")
_SUBORDINATE = re.compile(
    r"\b(?:that|if|when|who|which|because|while|as|so|where|how|what|until|either|both|says?|said"
    r"|after|before|than|let|please)\b",
    re.I,
)


@operator("question_first", "The closing question moves to the front; all facts stay in order.")
def question_first(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    if "\n" in text or text[-1] != "?" or text.count("?") > 1 or has_payload(text):
        return None
    *facts, question = sentences(text)
    if not facts or has_code(text) or _POINTS_BACK.search(question) or led(text):
        return None
    if first_word(question) not in _OPENS_QUESTION or first_word(facts[0]) in _NOT_LATER:
        return None
    if ":" in facts[0] or not question[0].isupper():
        return None
    ask, tell = rng.choice(ASK_FIRST)
    return f"{ask} {question} {tell} {' '.join(facts)}".lstrip()


@operator("condition_last", "The condition moves behind the question it belongs to, word for word.")
@of_text
def condition_last(text: str) -> str | None:
    if text[-1] != "?" or not holds_any(text, ("If ", "When ")):
        return None
    *before, last = sentences(text)
    match = _CONDITION.fullmatch(last)
    if match is None or first_word(match[3]) not in QUESTION_WORDS or has_payload(text):
        return None
    if decapitalised(match[1]) is None or "\n" in text or protected_spans(last):
        return None
    if re.search(r"\b(?:if|when)\b", match[3]) or _POINTS_BACK.search(match[3]):
        return None
    # "How much does he earn if John works?" would no longer be about John.
    if not set(_PRONOUN.findall(match[3])) <= set(_PRONOUN.findall(match[2])):
        return None
    swapped = f"{capitalised(match[3])} {match[1].lower()} {match[2]}?"
    return text[: len(text) - len(last)] + swapped if before else swapped


@operator("indirect_question", "A direct question becomes a request to answer that question.")
def indirect_question(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    if "\n" in text or text.count("?") != 1 or len(text) > 120 or not editable(text):
        return None
    if len(sentences(text)) > 1:
        return None
    for pattern, shape in INDIRECT:
        match = pattern.fullmatch(text)
        if match is not None:
            groups = list(match.groups())
            groups[0] = groups[0] if shape.startswith("how to") else groups[0].lower()
            lead = rng.choice(TELL)
            mark = "?" if lead.startswith(("Can", "Could")) else "."
            return f"{lead} {shape.format(*groups).rstrip('.')}{mark}"
    return None


@operator("join_sentences", "Two neighbouring statements become one sentence, word for word.")
def join_sentences(text: str, rng: random.Random, _: Sequence[str]) -> str | None:
    places = _joints(text)
    if not places:
        return None
    at = rng.choice(places)
    parts = sentences(text)
    second = decapitalised(parts[at]) or parts[at]
    link = ";" if "," in parts[at - 1] or rng.random() < 0.5 else ", and"
    joined = f"{parts[at - 1][:-1]}{link} {second}"
    return " ".join([*parts[: at - 1], joined, *parts[at + 1 :]])


@remembered
def _joints(text: str) -> list[int]:
    """Which sentences of a line may be joined to the one before."""
    if "\n" in text or has_code(text) or has_payload(text):
        return []
    parts = sentences(text)
    return [
        at
        for at in range(1, len(parts))
        if _STATEMENT.fullmatch(parts[at])
        and parts[at - 1].endswith(".")
        and not {";", ":", "?"} & set(parts[at - 1])
        and len(parts[at - 1]) + len(parts[at]) < 160
    ]


@operator("split_sentence", "A sentence of two main clauses becomes two sentences, word for word.")
@of_text
def split_sentence(text: str) -> str | None:
    if ", and " not in text or "\n" in text or has_code(text) or has_payload(text):
        return None
    if protected_spans(text):
        return None
    parts = sentences(text)
    for index, part in enumerate(parts):
        match = _CLAUSE.search(part)
        if match is None or not part.endswith(".") or _OPENS_CLAUSE.match(part):
            continue
        if _SUBORDINATE.search(part, 0, match.end()):
            continue
        cut = splice(part, [(match.start(), match.end(), f". {capitalised(match[1])}")])
        return " ".join([*parts[:index], cut, *parts[index + 1 :]])
    return None
