"""Prompts against evaluation rows, some of which they repeat in capitals, with commas."""

import random
from typing import Any

from duplicates.prompts import clocked
from seamaug.records import user_message
from seamaug.verify.contamination import EvaluationTexts, Place
from seamaug.verify.text import words

NGRAM = 13


def evaluate(prompts: list[str]) -> dict[str, Any]:
    rng = random.Random(2)
    tenth = len(prompts) // 10
    rows, rest = prompts[:tenth], prompts[tenth:]
    repeated = {}
    for i in rng.sample(range(len(rest)), tenth // 10):
        source = words(rng.choice(rows))
        if len(source) >= NGRAM:
            start = rng.randint(0, len(source) - NGRAM)
            shout = ", ".join(source[start : start + NGRAM]).upper()
            repeated[i] = f"{rest[i]} -- {shout}!"
    texts = [repeated.get(i, text) for i, text in enumerate(rest)]
    made: list[EvaluationTexts] = []
    built = clocked(
        lambda: made.append(
            EvaluationTexts(((Place("f", str(i)), t) for i, t in enumerate(rows)), NGRAM)
        )
    )
    found: list[bool] = []
    looked = clocked(
        lambda: found.extend(made[0].of_prompt(user_message(t)) is not None for t in texts)
    )
    grams = {g for row in rows for g in grams_of(row)}
    whole = {tuple(words(row)) for row in rows}
    true = [
        not grams.isdisjoint(grams_of(text))
        or (len(words(text)) < NGRAM and tuple(words(text)) in whole)
        for text in texts
    ]
    return {
        "evaluation_rows": len(rows),
        "index": built,
        "texts": len(texts),
        **looked,
        "planted": len(repeated),
        "planted_found": sum(found[i] for i in repeated),
        "found": sum(found),
        "wrong_by_exact_comparison": sum(a != b for a, b in zip(found, true, strict=True)),
    }


def grams_of(text: str) -> set[tuple[str, ...]]:
    found = words(text)
    return {tuple(found[i : i + NGRAM]) for i in range(len(found) - NGRAM + 1)}
