"""How much a forward pass holds: a number of tokens, lowered when the memory does not suffice."""

import gc
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from seamaug.errors import ModelError
from seamaug.log import logger

Item = TypeVar("Item")


class TokenBudget:
    """Tokens that one forward pass of a model may hold; what did not fit once is not tried again.

    `role` names the model in messages.
    """

    def __init__(self, tokens: int, role: str) -> None:
        self.tokens = tokens
        self._role = role

    def run(
        self,
        items: Sequence[Item],
        take: Callable[[Sequence[Item], int], tuple[int, int]],
        work: Callable[[Sequence[Item]], None],
    ) -> None:
        """`work` on all items, in order, in batches that `take` cuts.

        take(items, budget): how many of the first items make a batch (one at least), and the
        tokens in it. Out of memory, half of that batch's tokens becomes the budget and the batch is
        cut anew. Raises ModelError with the shape where a single item does not fit.
        """
        start = 0
        while start < len(items):
            count, tokens = take(items[start:], self.tokens)
            problem = _attempt(work, items[start : start + count])
            if not problem:
                start += count
                continue
            if count == 1:
                raise ModelError(
                    f"the {self._role} model ran out of memory on one sequence of {tokens:,} "
                    f"tokens ({problem}); set `{self._role}.max_length` lower to leave such "
                    f"sequences out, or use a smaller dtype or more memory"
                )
            self.tokens = max(1, tokens // 2)
            logger.warning(
                f"the {self._role} model ran out of memory on {count:,} sequences of {tokens:,} "
                f"tokens; going on with {self.tokens:,} tokens at a time (to start there next "
                f"time, set `{self._role}.batch_tokens: {self.tokens}`)"
            )
            _release()


# torch's allocator, and oneDNN, which says no more when it finds no memory for a matmul.
_SIGNS_ON_A_CPU = ("DefaultCPUAllocator", "could not create a primitive")


def _attempt(work: Callable[[Sequence[Item]], None], batch: Sequence[Item]) -> str:
    """Empty if it worked; the allocator's message if memory ran out.

    The exception ends here: it would keep alive all tensors of the frames that it passed through.
    """
    try:
        work(batch)
    except torch.OutOfMemoryError as error:
        return str(error).splitlines()[0]
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _SIGNS_ON_A_CPU):
            raise
        return str(error).splitlines()[0]
    return ""


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
