"""Variants of parents: embedded operators composed at random, and the LLM's operators."""

import difflib
import random
from collections.abc import Callable, Sequence

from seamaug.config import GenerateConfig
from seamaug.errors import ConfigError
from seamaug.generate.llm import PROMPT_OPERATORS, LLMWriter
from seamaug.generate.operators import OPERATORS, compose
from seamaug.records import Candidate, Message, Parent, text_key

_TRIES = 4  # draws per variant wanted, before a parent counts as exhausted


class VariantMaker:
    """Makes candidates; the same seed, parent and round give the same ones."""

    def __init__(self, config: GenerateConfig, writer: LLMWriter | None, seed: int) -> None:
        names = operator_names(config.operators, with_llm=writer is not None)
        self._rules = [OPERATORS[name] for name in names if name in OPERATORS]
        self._llm = [name for name in names if name in PROMPT_OPERATORS]
        self._writer = writer
        self._config = config
        self._seed = seed

    def make(
        self,
        parents: Sequence[Parent],
        number: int,
        wanted: int,
        is_new: Callable[[list[Message]], bool],
    ) -> list[Candidate]:
        """Up to `wanted` variants of each parent in round `number`, in the parents' order.

        `is_new` says whether a prompt is in no earlier round. Embedded variants are redrawn where
        they repeat; what an LLM repeats is left for verification to reject.
        """
        made: dict[int, list[Candidate]] = {i: [] for i in range(len(parents))}
        requests: dict[str, list[tuple[int, Candidate]]] = {name: [] for name in self._llm}
        for i, parent in enumerate(parents):
            rng = random.Random(text_key([self._seed, parent.id, number]))
            drawn: set[str] = set()
            for _ in range(_TRIES * wanted):
                if len(made[i]) == wanted:
                    break
                candidate = self._draw(parent, rng)
                if candidate.operator in requests:
                    requests[candidate.operator].append((i, candidate))
                elif (
                    not candidate.operator
                    or candidate.text in drawn
                    or not is_new(candidate.prompt)
                ):
                    continue
                drawn.add(candidate.text)
                made[i].append(candidate)
        self._fill(requests, parents, number)
        flat = [candidate for group in made.values() for candidate in group]
        for order, candidate in enumerate(flat):
            candidate.id = text_key([self._seed, number, order, candidate.parent, candidate.text])
        return flat

    def _draw(self, parent: Parent, rng: random.Random) -> Candidate:
        """A variant by embedded operators, or the promise of one by the LLM."""
        chosen = rng.choice(parent.goldens)
        candidate = Candidate(
            id="",
            parent=parent.id,
            prompt=parent.prompt,
            chosen=chosen,
            chosen_source="golden" if chosen == parent.golden else "golden_rewrite",
            operator="",
            template_hash="",
            neighbours=parent.neighbours,
        )
        if self._llm and (not self._rules or rng.random() < 0.5):
            candidate.operator = rng.choice(self._llm)
            return candidate
        composed = compose(
            parent.text,
            rng=rng,
            neighbours=parent.neighbour_texts,
            operators=self._rules,
            depth=rng.randint(1, self._config.depth),
        )
        if composed is not None:
            text, applied = composed
            candidate.prompt = parent.with_text(text)
            candidate.operator = "+".join(applied)
        return candidate

    def _fill(
        self,
        requests: dict[str, list[tuple[int, Candidate]]],
        parents: Sequence[Parent],
        number: int,
    ) -> None:
        """Have the LLM write the promised variants, one batch per operator."""
        for name, promised in requests.items():
            if not promised or self._writer is None:
                continue
            wanted = [parents[i] for i, _ in promised]
            seed = int(text_key([self._seed, number, name, wanted[0].id])[:8], 16)
            texts = self._writer.write(name, wanted, seed=seed)
            for (i, candidate), text in zip(promised, texts, strict=True):
                candidate.prompt = parents[i].with_text(text)
                candidate.template_hash = self._writer.templates[name].hash


def operator_names(names: Sequence[str], *, with_llm: bool) -> list[str]:
    """Operator names with `all` spelt out; raises ConfigError on one that cannot run."""
    available = [*OPERATORS, *(PROMPT_OPERATORS if with_llm else ())]
    for name in [name for name in names if name != "all"]:
        if name in PROMPT_OPERATORS and not with_llm:
            raise ConfigError(f"operator {name!r} needs an LLM: give --generator MODEL")
        if name not in available:
            near = difflib.get_close_matches(name, available, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(available)}"
            raise ConfigError(f"`generate.operators`: unknown operator {name!r}; {hint}")
    if not names:
        raise ConfigError("`generate.operators` is empty; name operators, or `all`")
    return available if "all" in names else list(names)
