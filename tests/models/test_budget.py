"""Batches under a token budget that shrinks when memory runs out."""

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch

from seamaug.errors import ModelError
from seamaug.models.budget import TokenBudget

CPU_MESSAGE = (
    "[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: "
    "you tried to allocate 8589934592 bytes.\nsecond line"
)


def take(items: Sequence[int], tokens: int) -> tuple[int, int]:
    """Items are their own sizes."""
    total = 0
    for count, size in enumerate(items):
        if count and total + size > tokens:
            return count, total
        total += size
    return len(items), total


class Memory:
    """Work that fits up to `room` tokens, and what it was given."""

    def __init__(self, room: int, error: Exception) -> None:
        self.room = room
        self.error = error
        self.done: list[list[int]] = []
        self.tried: list[int] = []

    def work(self, batch: Sequence[int]) -> None:
        self.tried.append(sum(batch))
        if sum(batch) > self.room:
            raise self.error
        self.done.append(list(batch))


OUT_OF_MEMORY = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"),
    RuntimeError(CPU_MESSAGE),
)


def test_all_items_in_order() -> None:
    memory = Memory(1000, ValueError())
    TokenBudget(10, "policy").run([4, 4, 4, 20, 1], take, memory.work)
    assert memory.done == [[4, 4], [4], [20], [1]]
    TokenBudget(10, "policy").run([], take, memory.work)
    assert len(memory.done) == 4


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "cpu"])
def test_budget_is_halved_and_remembered(error: Exception) -> None:
    memory, budget = Memory(10, error), TokenBudget(64, "policy")
    items = [3, 2, 4, 1, 5, 5, 6, 4, 1, 2, 7, 3]
    budget.run(items, take, memory.work)
    assert [item for batch in memory.done for item in batch] == items
    # Half of what was tried, not of what was allowed: 43 -> 21 -> 10.
    assert memory.tried[:3] == [43, 20, 10]
    assert budget.tokens == 10
    tried = len(memory.tried)
    budget.run(items, take, memory.work)
    assert max(memory.tried[tried:]) <= 10, "what did not fit once is not tried again"


def test_other_errors_pass() -> None:
    for error in (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), ValueError("no")):
        memory, budget = Memory(0, error), TokenBudget(64, "policy")
        with pytest.raises(type(error)) as found:
            budget.run([1, 2], take, memory.work)
        assert found.value is error
        assert (memory.tried, budget.tokens) == ([3], 64)


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=["cuda", "cpu"])
def test_item_that_does_not_fit_alone(error: Exception) -> None:
    memory = Memory(10, error)
    with pytest.raises(ModelError) as found:
        TokenBudget(64, "reward").run([4, 1200, 4], take, memory.work)
    message = str(found.value)
    for part in ("reward model", "1,200 tokens", "`reward.max_length`", str(error).split("\n")[0]):
        assert part in message
    assert "more\n" not in message
    assert "second line" not in message
    assert memory.done == [[4]]


def test_nothing_of_a_failed_attempt_stays_alive() -> None:
    alive: list[weakref.ref[torch.Tensor]] = []

    def work(batch: Sequence[int]) -> None:
        # A collection between the attempts is not what frees them: on a GPU it would come too late.
        assert not any(reference() is not None for reference in alive)
        tensor = torch.zeros(8)
        alive.append(weakref.ref(tensor))
        if sum(batch) > 2:
            raise torch.OutOfMemoryError("no room")

    gc.disable()
    try:
        TokenBudget(8, "policy").run([1] * 8, take, work)
    finally:
        gc.enable()
    assert len(alive) == 6  # 8, 4, and then four batches of 2
