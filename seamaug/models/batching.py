"""Rows of unequal length into padded batches."""

from collections.abc import Iterator, Sequence

import torch


def packed(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Positions grouped so that rows x longest row <= `batch_tokens`, similar lengths together.

    A row that is longer than the budget gets a batch of its own. Longest first: a batch that does
    not fit in memory shows at once.
    """
    order = longest_first(lengths)
    while order:
        count, _ = rows_within([lengths[i] for i in order], batch_tokens)
        yield order[:count]
        order = order[count:]


def longest_first(lengths: Sequence[int]) -> list[int]:
    """Positions by falling length; ties in order."""
    return sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


def rows_within(
    lengths: Sequence[int], batch_tokens: int, *, alike: bool = False
) -> tuple[int, int]:
    """How many of these rows, longest first, fit padded into a batch, and its padded tokens.

    alike: only rows of one length, for models whose results depend on the padding beside a row.
    """
    width = max(lengths[0], 1)
    fitting = next((i for i, n in enumerate(lengths) if n != lengths[0]), len(lengths))
    count = max(1, min(fitting if alike else len(lengths), batch_tokens // width))
    return count, count * width


def reused_size(rows: int, dtype: torch.dtype, device: torch.device) -> int:
    """Rows to compute for `rows` that count, so that few shapes of matmuls occur.

    For each shape of a matmul in bfloat16 on a CPU, oneDNN compiles code and keeps about 0.6 MB for
    the life of the process: with a shape for every batch, a gigabyte after a thousand of them. So
    there are eight sizes in each power of two there, for 4 % more rows on average.
    """
    if device.type != "cpu" or dtype == torch.float32:
        return rows
    step = 1 << max(0, (rows - 1).bit_length() - 4)
    return -(-rows // step) * step


def right_padded(rows: Sequence[list[int]], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, each of shape (rows, longest)."""
    width = max(len(row) for row in rows)
    ids = torch.full((len(rows), width), pad, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row, dtype=torch.long)
        mask[i, : len(row)] = 1
    return ids, mask
