"""Rows of unequal length into padded batches of bounded size."""

from collections.abc import Iterator, Sequence

import torch


def packed(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Positions grouped so that rows x longest row <= `batch_tokens`, similar lengths together.

    A row longer than the budget gets a batch of its own. Longest first: a batch that does not fit
    in memory shows at once.
    """
    batch: list[int] = []
    width = 0
    for position in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * width > batch_tokens:
            yield batch
            batch = []
        if not batch:
            width = max(lengths[position], 1)
        batch.append(position)
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
