"""A prompt read once for all its responses, in one flat row of tokens without padding.

Prompts and responses lie one after the other: all but attention sees only tokens that count. A
response attends to its prompt and to itself. These two parts are computed apart and merged by
their log-sum-exp, which is exact (Hydragen, arXiv 2402.05099).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from seamaug.models.attention import attend
from seamaug.models.batching import reused_size
from seamaug.models.budget import TokenBudget
from seamaug.models.hook import OtherAttentionError, attending
from seamaug.models.probes import exact_up_to

Place = tuple[int, int]
"""A set and a continuation in it, by position."""
Sets = Sequence[tuple[list[int], Sequence[list[int]]]]
"""(prefix ids, ids of what follows it) pairs; a prefix has one token at least."""
Consume = Callable[[Sequence[Place], torch.Tensor, list[torch.Tensor]], None]
"""Takes places, hidden states (tokens, width), and for each place the positions of the states of
its prefix's last token and of its own tokens: (1 + length,)."""


@dataclass
class _Memory:
    """What later batches need of a prefix that an earlier one read."""

    owner: int
    keys_values: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    """By attention layer, each of shape (1, heads, prefix, head size)."""
    last: torch.Tensor = field(default_factory=lambda: torch.empty(0))
    """Hidden state of the prefix's last token: (1, width)."""


@dataclass(frozen=True)
class _Group:
    """A set's place in the flat row: prefix from `start` to `own`, its continuations to `end`."""

    start: int
    own: int
    end: int


class _FlatBatch:
    """Continuations of some sets, with the prefixes that are not recalled, as one row."""

    def __init__(
        self,
        sets: Sets,
        places: Sequence[Place],
        *,
        recalled: _Memory | None,
        kept: _Memory | None,
        device: torch.device,
    ) -> None:
        self.ids: list[int] = []
        self.steps: list[int] = []
        self.groups: list[_Group] = []
        self.recalled, self.kept = recalled, kept
        self.device = device
        self._spans: list[tuple[int, int]] = []
        self._heads: list[int] = []
        self._lay_out(sets, places)
        self._buckets = list(self._bucketed())
        self._layer = 0

    def _lay_out(self, sets: Sets, places: Sequence[Place]) -> None:
        start = own = 0
        for order, (i, k) in enumerate(places):
            prefix, continuations = sets[i]
            if order == 0 or places[order - 1][0] != i:
                start = len(self.ids)
                if order or not self.recalled:
                    self._append(prefix, 0)
                own = len(self.ids)
            self._heads.append(own - 1)  # -1: the recalled state, which is put last
            self._spans.append((len(self.ids), len(continuations[k])))
            self._append(continuations[k], len(prefix))
            if order + 1 == len(places) or places[order + 1][0] != i:
                self.groups.append(_Group(start, own, len(self.ids)))

    def _append(self, ids: list[int], step: int) -> None:
        self.ids += ids
        self.steps += range(step, step + len(ids))

    def _bucketed(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Continuations of like lengths, padded: positions (rows, longest), and which of them, as
        one flat row, are real.
        """
        buckets: dict[int, list[tuple[int, int]]] = {}
        for first, length in self._spans:
            if length:
                buckets.setdefault((length - 1).bit_length(), []).append((first, length))
        for spans in buckets.values():
            firsts, lengths = (torch.tensor(x)[:, None] for x in zip(*spans, strict=True))
            steps = torch.arange(int(lengths.max()))
            real = steps < lengths
            positions = torch.where(real, firsts + steps, firsts)
            yield positions.to(self.device), real.flatten().nonzero()[:, 0].to(self.device)

    def rows(self) -> list[torch.Tensor]:
        """Positions of each continuation's states, as `Consume` takes them."""
        size = len(self.ids) + (self.recalled is not None)
        return [
            torch.tensor([head % size, *range(first, first + length)])
            for head, (first, length) in zip(self._heads, self._spans, strict=True)
        ]

    def states(self, body: Any) -> torch.Tensor:
        """Hidden states of all tokens, and of a recalled prefix's last one: (tokens, width)."""
        recalled = [self.recalled.last] if self.recalled else []
        if not self.ids:  # responses of one token, predicted by the prompt's last state alone
            return torch.cat(recalled)
        count = len(self.ids)
        room = reused_size(count, body.dtype, self.device)
        ids, steps = torch.zeros(2, 1, room, dtype=torch.long)
        ids[0, :count], steps[0, :count] = torch.tensor([self.ids, self.steps])
        with attending(body, self.attend, max(self.steps) + 1):
            states: torch.Tensor = body(
                input_ids=ids.to(self.device), position_ids=steps.to(self.device), use_cache=False
            ).last_hidden_state[0, :count]
        if self.kept:
            self.kept.last = states[self._heads[-1]][None].clone()
        return torch.cat([states, *recalled])

    def attend(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None
    ) -> torch.Tensor:
        """Attention output of one layer; all tensors are of shape (1, heads, tokens, head size)."""
        out = torch.empty_like(query)
        out[:, :, len(self.ids) :] = 0  # the rows beyond are computed and never read
        seen = torch.empty(query.shape[:3], device=query.device)
        for number, group in enumerate(self.groups):
            prefix, own = slice(group.start, group.own), slice(group.own, group.end)
            if number == 0 and self.recalled:
                known = self.recalled.keys_values[self._layer]
            else:
                known = key[:, :, prefix], value[:, :, prefix]
                out[:, :, prefix], _ = attend(query[:, :, prefix], *known, scale, causal=True)
            if group.end > group.own:
                out[:, :, own], seen[:, :, own] = attend(
                    query[:, :, own], *known, scale, causal=False
                )
        if self.kept:
            self.kept.keys_values.append((known[0].clone(), known[1].clone()))
        for positions, real in self._buckets:
            self._merge_own(out[0], seen[0], (query[0], key[0], value[0]), positions, real, scale)
        self._layer += 1
        return out

    @staticmethod
    def _merge_own(
        out: torch.Tensor,
        seen: torch.Tensor,
        states: tuple[torch.Tensor, ...],
        positions: torch.Tensor,
        real: torch.Tensor,
        scale: float | None,
    ) -> None:
        """Add what the continuations of a bucket see of themselves to what they see of prefixes."""
        query, key, value = (state[:, positions].transpose(0, 1) for state in states)
        own, own_seen = attend(query, key, value, scale, causal=True)
        share = torch.sigmoid(own_seen - seen[:, positions].transpose(0, 1))[..., None]
        merged = torch.lerp(out[:, positions].transpose(0, 1), own, share.to(own.dtype))
        out[:, positions.flatten()[real]] = merged.transpose(0, 1).flatten(1, 2)[:, real]


class SharedPrompts:
    """Reads sets through a causal `body` (the decoder without its head)."""

    def __init__(self, body: Any, budget: TokenBudget) -> None:
        self._body = body
        self._budget = budget
        self.longest = self._longest_exact()
        """Tokens up to which a sequence is read exactly; 0 where this way is not the model's."""

    def read(self, sets: Sets, consume: Consume) -> bool:
        """Hidden states of all continuations, handed to `consume` batch by batch.

        False where a layer turns out to attend in another way at this length: what was handed over
        counts for nothing then, and no later call is worth a try.
        """
        try:
            self._read(sets, consume)
        except OtherAttentionError:
            self.longest = 0
            return False
        return True

    def _read(self, sets: Sets, consume: Consume) -> None:
        places = [(i, k) for i, (_, rows) in enumerate(sets) for k in range(len(rows))]
        memory: _Memory | None = None

        def take(rest: Sequence[Place], tokens: int) -> tuple[int, int]:
            size, owner = 0, memory.owner if memory else None
            for count, (i, k) in enumerate(rest):
                # One at least: a batch of nothing could not be halved.
                need = max(1, len(sets[i][1][k])) + (len(sets[i][0]) if i != owner else 0)
                if count and size + need > tokens:
                    return count, size
                size, owner = size + need, i
            return len(rest), size

        def work(batch: Sequence[Place]) -> None:
            nonlocal memory
            recalled = memory if memory and memory.owner == batch[0][0] else None
            last, k = batch[-1]
            known = recalled if recalled and recalled.owner == last else None
            kept = _Memory(last) if k + 1 < len(sets[last][1]) and not known else None
            flat = _FlatBatch(sets, batch, recalled=recalled, kept=kept, device=self._body.device)
            consume(batch, flat.states(self._body), flat.rows())
            memory = kept or known

        self._budget.run(places, take, work)

    def _longest_exact(self) -> int:
        """Whether this gives what one whole pass over each sequence gives; if so, up to which size.

        Not so for encoders, whose tokens see what follows, and for layers with a state of another
        kind: a short probe tells, with no list of names. What shows only at length the config says.
        """
        errors: list[float] = []

        def compare(
            places: Sequence[Place], states: torch.Tensor, positions: list[torch.Tensor]
        ) -> None:
            for (i, k), where in zip(places, positions, strict=True):
                row = sets[i][0] + sets[i][1][k]
                whole = self._body(input_ids=torch.tensor([row], device=self._body.device))
                expected = whole.last_hidden_state[0, -len(where) :].float()
                error = (states[where].float() - expected).abs().max() / expected.abs().max()
                errors.append(float(error))

        try:
            config = self._body.config.get_text_config()
            sets = _probe(config.vocab_size)
            self._read(sets, compare)
        except (*_UNLIKE, OtherAttentionError):
            return 0
        tolerance = 1e-3 if self._body.dtype == torch.float32 else 0.1
        return exact_up_to(config) if max(errors) <= tolerance else 0


_UNLIKE = (TypeError, AttributeError, ValueError, RuntimeError, LookupError, AssertionError)
"""What models raise that are not read this way."""


def _probe(vocabulary: int) -> Sets:
    """Two sets, of which one has two continuations."""
    rows = [[(7 * i + 3) % vocabulary for i in range(n)] for n in (12, 9, 7)]
    rows[1][:4] = rows[0][:4]
    return [(rows[0][:4], [rows[0][4:], rows[1][4:]]), (rows[2][:5], [rows[2][5:]])]
