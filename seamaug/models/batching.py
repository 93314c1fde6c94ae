"""Rows of unequal length into padded batches, with a prompt computed once for all its responses."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache


def packed(
    lengths: Sequence[int], batch_tokens: int, extra: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Positions grouped so that rows x longest row <= `batch_tokens`, similar lengths together.

    `extra` tokens of a row count towards the size of a batch but not towards the order. A row that
    is longer than the budget gets a batch of its own. Longest first: a batch that does not fit in
    memory shows at once.
    """
    batch: list[int] = []
    width = 0
    for position in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        need = max(lengths[position] + (extra[position] if extra else 0), 1)
        if batch and (len(batch) + 1) * max(width, need) > batch_tokens:
            yield batch
            batch, width = [], 0
        batch.append(position)
        width = max(width, need)
    if batch:
        yield batch


def right_padded(rows: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, each of shape (rows, longest)."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids, mask


@dataclass(frozen=True, slots=True)
class Continuation:
    """Token ids that follow the prefix of a group: one response of a prompt."""

    group: int
    ids: list[int]


def shared_prefix_batches(
    body: Any,
    prefixes: Sequence[list[int]],
    continuations: Sequence[Continuation],
    *,
    batch_tokens: int,
    pad: int | Callable[[list[list[int]]], int],
) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Forward arguments for continuations, whose prefixes `body` has read once each.

    body: the causal decoder without its head; prefixes: per group, at least one token each.
    Yields positions of continuations with `input_ids` (rows, longest), `position_ids`,
    `attention_mask` (rows, 1, longest, prefix + longest) and the prefixes' `past_key_values`.
    A prefix is attended to only by its own continuations; the padding of both is masked.
    """
    members: list[list[int]] = [[] for _ in prefixes]
    for i, item in enumerate(continuations):
        members[item.group].append(i)
    # A prefix that nothing follows is not read: it may be longer than the model allows.
    used = [group for group, inside in enumerate(members) if inside]
    for places in packed([len(prefixes[group]) for group in used], batch_tokens):
        chunk = [used[place] for place in places]
        inside = [i for group in chunk for i in members[group]]
        order = {group: row for row, group in enumerate(chunk)}
        lengths = torch.tensor([len(prefixes[group]) for group in chunk], device=body.device)
        ids, _ = right_padded([prefixes[group] for group in chunk], 0)
        memory = body(input_ids=ids.to(body.device), use_cache=True).past_key_values
        sizes = [len(continuations[i].ids) for i in inside]
        extra = [len(prefixes[continuations[i].group]) for i in inside]
        for batch in packed(sizes, batch_tokens, extra):
            positions = [inside[b] for b in batch]
            rows = [continuations[i].ids for i in positions]
            groups = torch.tensor([order[continuations[i].group] for i in positions])
            suffix, _ = right_padded(rows, pad if isinstance(pad, int) else pad(rows))
            yield positions, _arguments(body, memory, lengths, groups.to(body.device), suffix)


def _arguments(
    body: Any,
    memory: Any,
    lengths: torch.Tensor,
    groups: torch.Tensor,
    suffix: torch.Tensor,
) -> dict[str, Any]:
    rows, width = suffix.shape
    prefix = lengths[groups]
    longest = int(prefix.max())
    cache = DynamicCache()
    for number, layer in enumerate(memory.layers):
        keys, values = (state[groups, :, :longest] for state in (layer.keys, layer.values))
        cache.update(keys, values, number)
    steps = torch.arange(width, device=body.device)
    in_prefix = torch.arange(longest, device=body.device) < prefix[:, None]
    visible = torch.cat(
        [
            in_prefix[:, None, :].expand(rows, width, longest),
            (steps <= steps[:, None]).expand(rows, width, width),
        ],
        dim=2,
    )
    # An additive mask serves every attention implementation; a boolean one only some.
    mask = torch.zeros(visible.shape, dtype=body.dtype, device=body.device)
    mask.masked_fill_(~visible, torch.finfo(body.dtype).min)
    return {
        "input_ids": suffix.to(body.device),
        "position_ids": prefix[:, None] + steps,
        "attention_mask": mask[:, None],
        "past_key_values": cache,
        "use_cache": True,
    }


def shares_prefixes(body: Any, longest: int) -> bool:
    """Whether continuing from a cached prefix gives what one whole pass gives.

    Not so for encoders, whose tokens see the response, and for architectures with a state of
    another kind: a short probe tells, with no list of names. Layers with a sliding window are
    exact only up to its length.
    """
    text = body.config.get_text_config()
    window = getattr(text, "sliding_window", None)
    if window and window < longest and getattr(text, "use_sliding_window", True):
        return False
    vocabulary = text.vocab_size
    rows = [[(7 * i + 3) % vocabulary for i in range(n)] for n in (9, 12)]
    prefixes, rest = [rows[0][:4], rows[1][:6]], [rows[0][4:], rows[1][6:]]
    items = [Continuation(i, ids) for i, ids in enumerate(rest)]
    tolerance = 1e-3 if body.dtype == torch.float32 else 0.1
    try:
        for positions, arguments in shared_prefix_batches(
            body, prefixes, items, batch_tokens=1024, pad=0
        ):
            states = body(**arguments).last_hidden_state
            for state, i in zip(states, positions, strict=True):
                whole = body(input_ids=torch.tensor([rows[i]], device=body.device))
                expected = whole.last_hidden_state[0, -len(rest[i]) :].float()
                error = (state[: len(rest[i])].float() - expected).abs().max()
                if error > tolerance * expected.abs().max():
                    return False
    except (TypeError, AttributeError, ValueError, RuntimeError):
        return False
    return True
