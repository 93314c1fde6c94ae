"""Variants of parents: embedded operators composed at random, and the LLM's operators."""

import difflib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from seamaug.config import GenerateConfig
from seamaug.errors import ConfigError
from seamaug.generate.llm.operators import LLMOperator, load_operators
from seamaug.generate.llm.writer import LLMWriter, Task, Written
from seamaug.generate.operators import OPERATORS, Operator, at_random, compose
from seamaug.models.generation import BUDGET_SPENT
from seamaug.records import (
    GOLDEN,
    GOLDEN_REWRITE,
    NEW_GOLDEN,
    Candidate,
    Message,
    Parent,
    text_key,
)
from seamaug.verify.response import OVERLAP

RULE = "rule"
"""The kind of a variant by embedded operators."""
_CHARS_PER_TOKEN = 4
_TRIES = 4  # draws per variant wanted, before a parent counts as exhausted

Order = Callable[[Parent, Sequence[str], random.Random], Iterable[str]]
"""Those of a parent's operators that may be used now, in the order in which to try them."""


def any_order(parent: Parent, names: Sequence[str], rng: random.Random) -> Iterable[str]:
    """All of them, as they are drawn."""
    return at_random(names, rng)


class VariantMaker:
    """Makes candidates; the same seed, parent and round give the same ones."""

    def __init__(self, config: GenerateConfig, writer: LLMWriter | None, seed: int) -> None:
        rules, llm = _chosen(config.operators, writer.operators if writer else {})
        self.rules = [rule.name for rule in rules]
        """Names of the embedded operators."""
        self._llm = {operator.name: operator for operator in llm}
        self.llm = list(self._llm)
        """Names of the LLM's."""
        self._writer = writer
        self._config = config
        self._seed = seed

    def make(
        self,
        parents: Sequence[Parent],
        number: int,
        wanted: Sequence[int],
        is_new: Callable[[list[Message]], bool],
        order: Order = any_order,
    ) -> list[Candidate]:
        """Up to so many variants of each parent in round `number`, in the parents' order.

        `is_new` says whether a prompt is in no earlier round. Embedded variants are redrawn where
        they repeat; what an LLM repeats is left for verification to reject.
        """
        made: dict[int, list[Candidate]] = {i: [] for i in range(len(parents))}
        promised: list[tuple[Parent, Candidate]] = []
        for i, parent in enumerate(parents):
            rng = random.Random(text_key([self._seed, parent.id, number]))
            drawn: set[str] = set()
            for _ in range(_TRIES * wanted[i]):
                if len(made[i]) == wanted[i]:
                    break
                candidate = self._draw(parent, rng, order)
                text = candidate.text
                if candidate.kind != RULE:
                    promised.append((parent, candidate))
                elif not candidate.operator or text in drawn or not is_new(candidate.prompt):
                    continue
                drawn.add(text)
                made[i].append(candidate)
        self._fill(promised, number)
        flat = [
            candidate
            for group in made.values()
            for candidate in group
            if candidate.reply != BUDGET_SPENT  # never asked for, so there is none
        ]
        for place, candidate in enumerate(flat):
            candidate.id = text_key([self._seed, number, place, candidate.parent, candidate.text])
        return flat

    def checked(self, candidate: Candidate) -> tuple[str, ...]:
        """What the candidate must be seen to preserve; by embedded operators it is certain."""
        operator = self._llm.get(candidate.operator)
        return operator.preserves if operator else ()

    def _draw(self, parent: Parent, rng: random.Random, order: Order) -> Candidate:
        """A variant by embedded operators, or the promise of one by the LLM."""
        chosen, score = rng.choice([*zip(parent.goldens, parent.golden_scores, strict=True)])
        candidate = Candidate(
            id="",
            parent=parent.id,
            prompt=parent.prompt,
            chosen=chosen,
            chosen_source=GOLDEN if score is None else GOLDEN_REWRITE,
            chosen_template=parent.template_of(chosen),
            chosen_verifier="given" if score is None else OVERLAP,
            chosen_verifier_score=score,
            operator="",
            kind=RULE,
            template_hash="",
            neighbours=parent.neighbours,
        )
        llm = [name for name, own in self._llm.items() if parent.neighbours or own.kind != "blend"]
        if llm and (not self.rules or rng.random() < 0.5):
            for name in order(parent, llm, rng):
                candidate.operator, candidate.kind = name, self._llm[name].kind
                candidate.template_hash = self._llm[name].template.hash
                break
            return candidate
        composed = compose(
            parent.text,
            rng=rng,
            neighbours=parent.neighbour_texts,
            operators=map(OPERATORS.__getitem__, order(parent, self.rules, rng)),
            depth=rng.randint(1, self._config.depth),
        )
        if composed is not None:
            text, applied = composed
            candidate.prompt = parent.with_text(text)
            candidate.operator = "+".join(applied)
            candidate.tokens = -(-len(text) // _CHARS_PER_TOKEN)
        return candidate

    def _fill(self, promised: Sequence[tuple[Parent, Candidate]], number: int) -> None:
        """Have the LLM write the promised variants."""
        if self._writer is None:
            return
        known = self._writer.operators
        tasks = []
        order: Counter[str] = Counter()
        for parent, candidate in promised:
            # By what is its own, so that a parent's variants do not depend on its company.
            key = text_key([self._seed, number, parent.id, order[parent.id]])
            order[parent.id] += 1
            tasks.append(Task(known[candidate.operator], parent, int(key[:8], 16)))
        for task, (_, candidate), written in zip(
            tasks, promised, self._writer.write(tasks), strict=True
        ):
            _take(candidate, task, written)


def _take(candidate: Candidate, task: Task, written: Written) -> None:
    """Give a promised variant its texts, or the reason why it has none."""
    candidate.tokens = written.tokens
    if written.error:
        candidate.fail("generate", written.error)
        candidate.reply = written.reply or written.error
        return
    candidate.prompt = task.parent.with_text(written.text("request"))
    if task.operator.changes_answer:
        candidate.chosen, candidate.chosen_source = written.text("response"), NEW_GOLDEN
        candidate.chosen_template = ""  # it is of the variant's own
        candidate.chosen_verifier, candidate.chosen_verifier_score = "", None  # nothing yet


Chosen = tuple[list[Operator], list[LLMOperator]]
"""Embedded operators, and the LLM's."""


def chosen_operators(config: GenerateConfig, *, with_llm: bool) -> Chosen:
    """What makes variants; raises ConfigError if an operator is unknown, broken, or cannot run."""
    return _chosen(config.operators, load_operators(config.operators_from) if with_llm else {})


def _chosen(names: Sequence[str], known: Mapping[str, LLMOperator]) -> Chosen:
    available = [*OPERATORS, *(name for name, own in known.items() if own.rewrites_prompt)]
    if not names:
        raise ConfigError("`generate.operators` is empty; name operators, or `all`")
    for name in names:
        if name != "all" and name not in available:
            raise ConfigError(_refusal(name, available, known))
    own = available if "all" in names else list(dict.fromkeys(names))
    return [OPERATORS[n] for n in own if n in OPERATORS], [known[n] for n in own if n in known]


def _refusal(name: str, available: Sequence[str], known: Mapping[str, LLMOperator]) -> str:
    if name in known:
        return (
            f"`generate.operators`: {name!r} writes responses, and is used where they are wanted: "
            "see `generate.golden_rewrites` and `generate.llm_worse`"
        )
    if not known and name in load_operators():
        return f"operator {name!r} needs an LLM: give --generator MODEL"
    near = difflib.get_close_matches(name, available, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(available)}"
    return f"`generate.operators`: unknown operator {name!r}; {hint}"
