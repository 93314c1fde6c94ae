"""What an embedded operator is, the registry of them, and how several are composed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from seamaug.generate.operators.text import remembered, speaks_of_itself

Parts = tuple[str, str, str]
"""White space, what an operator may rewrite, white space."""
Rewrite = Callable[[str, random.Random, Sequence[str]], str | None]


@dataclass(slots=True)
class Operator:
    """One label-preserving rewrite of a prompt, with the checks all operators share."""

    name: str
    preserves: str
    rewrite: Rewrite

    def __call__(self, prompt: str, *, rng: random.Random, neighbours: Sequence[str]) -> str | None:
        """Return the rewritten prompt, or None where the operator does not apply."""
        parts = _parts(prompt)
        if parts is None:
            return None
        before, core, after = parts
        changed = self.rewrite(core, rng, neighbours)
        if not changed or changed == core:
            return None
        return before + changed + after


@remembered
def _parts(prompt: str) -> Parts | None:
    """What an operator may rewrite, with the white space around it; None where it may nothing."""
    core = prompt.strip()
    # A prompt about its own wording ("how many words are in this sentence?") has an
    # answer which any rewrite could change, so nothing is embedded in it.
    if not core or speaks_of_itself(core):
        return None
    start = len(prompt) - len(prompt.lstrip())
    # Indented code would lose its indentation to whatever is put before it.
    if prompt[:start].endswith(("    ", "\t")):
        return None
    return prompt[:start], core, prompt[start + len(core) :]


OPERATORS: dict[str, Operator] = {}


def operator(name: str, preserves: str) -> Callable[[Rewrite], Operator]:
    """Register the decorated function as the operator called `name`."""

    def register(rewrite: Rewrite) -> Operator:
        if name in OPERATORS:
            raise ValueError(f"operator {name!r} is registered twice")
        rule = Operator(name, preserves, rewrite)
        OPERATORS[name] = rule
        return rule

    return register


def of_text(rewrite: Callable[[str], str | None]) -> Rewrite:
    """A rewrite that nothing is drawn for: each text is rewritten once."""
    once = remembered(rewrite)
    return lambda text, rng, neighbours: once(text)


def at_random(names: Iterable[str], rng: random.Random) -> Iterator[str]:
    """The names in random order; drawn one by one, as most of them are never asked for."""
    left = list(names)
    while left:
        at = int(rng.random() * len(left))
        drawn, left[at] = left[at], left[-1]
        left.pop()
        yield drawn


def compose(
    prompt: str,
    *,
    rng: random.Random,
    neighbours: Sequence[str],
    operators: Iterable[Operator],
    depth: int,
) -> tuple[str, tuple[str, ...]] | None:
    """Apply the first `depth` different operators that change the text; None if none did."""
    parts = _parts(prompt)
    if parts is None:
        return None
    # What is around the core stays, and no operator makes a text speak of itself: read once.
    before, core, after = parts
    text = core
    applied: list[str] = []
    for candidate in operators:
        if len(applied) >= depth:
            break
        changed = candidate.rewrite(text, rng, neighbours)
        # A later operator may undo an earlier one (contract, then expand): that is no variant.
        if changed and changed not in (text, core) and candidate.name not in applied:
            text = changed
            applied.append(candidate.name)
    return (before + text + after, tuple(applied)) if applied else None
