"""Requests in flight: halved by a round of refusals, and creeping up again."""

import asyncio

import pytest

from seamaug.models.pace import Pace
from seamaug.models.retries import Fault, TimedOut


async def one(pace: Pace, fault: Fault | None = None) -> None:
    async with pace.slot():
        await asyncio.sleep(0)
        if fault:
            raise fault


async def many(pace: Pace, count: int, fault: Fault | None = None) -> None:
    await asyncio.gather(*(one(pace, fault) for _ in range(count)), return_exceptions=True)


@pytest.mark.parametrize(
    ("fault", "limit"),
    [
        (Fault("", 429), 8),
        (Fault("", 503), 8),
        (Fault("", 502), 8),
        (Fault("", 504), 8),
        (TimedOut(""), 8),
        (Fault("", 500), 8),
        (Fault("broke off"), 16),
        (Fault("", 400), 16),
    ],
)
def test_a_round_of_refusals_halves_the_limit(fault: Fault, limit: int) -> None:
    pace = Pace(16)
    asyncio.run(many(pace, 16, fault))
    assert pace.limit == limit
    assert pace.busy == 0


def test_it_falls_to_one_and_climbs_to_the_most() -> None:
    pace = Pace(16)

    async def run() -> list[float]:
        for _ in range(8):
            await many(pace, 16, Fault("", 429))
        limits = [pace.limit]
        for _ in range(200):
            await one(pace)
            limits.append(pace.limit)
        return limits

    limits = asyncio.run(run())
    assert limits[0] == 1
    assert limits == sorted(limits)
    assert limits[1] == 2
    assert limits[3] == 2.9  # a round of answers adds one, as far as it did not rise meanwhile
    assert limits[-1] == 16


def test_a_refusal_now_and_then_does_not_matter() -> None:
    pace = Pace(16)

    async def run() -> None:
        for _ in range(50):
            await asyncio.gather(many(pace, 15), many(pace, 1, Fault("", 429)))

    asyncio.run(run())
    assert pace.limit > 15


def test_no_more_than_the_limit_at_a_time_and_none_forgotten() -> None:
    pace, seen = Pace(5), []

    async def watched() -> None:
        async with pace.slot():
            seen.append(pace.busy)
            await asyncio.sleep(0.001)

    async def run() -> None:
        await asyncio.gather(*(watched() for _ in range(60)))

    asyncio.run(run())
    assert max(seen) == 5
    assert len(seen) == 60


def test_a_request_that_is_given_up_leaves_its_place() -> None:
    pace = Pace(1)

    async def run() -> None:
        async with pace.slot():
            waiting = asyncio.create_task(one(pace))
            await asyncio.sleep(0.01)
            waiting.cancel()
        working = asyncio.create_task(asyncio.wait_for(one(pace), 5))
        await working

    asyncio.run(run())
    assert pace.busy == 0
