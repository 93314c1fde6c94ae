"""The policy's own responses, batch after batch, for MetaRM."""

from collections.abc import Sequence

import numpy as np
import torch

from seamaug.models.batching import right_padded


class PolicySamples:
    """Conversations as token ids, k to a prompt.

    What batch comes when depends on the seed and the batch's number alone, so a resumed training
    sees what it would have seen.
    """

    def __init__(self, rows: Sequence[Sequence[list[int]]], pad: int, seed: int) -> None:
        """`rows`: k conversations to each prompt, k >= 2; `pad`: the padding's token id."""
        self._rows = rows
        self._pad = pad
        self._seed = seed
        self.k = len(rows[0])

    def batch(self, number: int, prompts: int) -> dict[str, torch.Tensor]:
        """The batch of this number: `input_ids` and `attention_mask`, (prompts · k, tokens)."""
        chosen = [self._at(number * prompts + i) for i in range(prompts)]
        ids, mask = right_padded([row for i in chosen for row in self._rows[i]], self._pad)
        return {"input_ids": ids, "attention_mask": mask}

    def _at(self, place: int) -> int:
        """The prompt at a place in an endless sequence of shuffled passes."""
        epoch, position = divmod(place, len(self._rows))
        order = np.random.default_rng([self._seed, epoch]).permutation(len(self._rows))
        return int(order[position])
