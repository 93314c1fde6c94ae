"""What the flow asks of an LLM: a reply to each request, none paid for twice, all accounted for."""

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

from seamaug.config import GeneratorConfig
from seamaug.errors import BudgetSpent, LimitReached
from seamaug.models.engines import GeneratorEngine, Leave, Reply, Request, most_tokens
from seamaug.models.journal import Account, Journal
from seamaug.records import text_key
from seamaug.units import Spend

TOKEN_LIMIT = "token limit reached"
COST_LIMIT = "cost limit reached"
TIME_UP = "time is up"
BUDGET_SPENT = "budget spent"
GRACE = 5.0
"""Seconds for which requests in flight are waited for when time is up: they may well be paid."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an LLM may take over all processes of a run; None is no limit."""

    tokens: int | None = None
    cost: float | None = None
    """USD."""
    deadline: float = math.inf
    """Of this process, by `time.monotonic`."""
    budget: Spend | None = None
    """After which a run is done, not paused."""


class _Flight:
    """What the requests in flight may take; one thread begins them, another sees them end."""

    def __init__(self) -> None:
        self.refusal = ""
        """The limit that let no more be begun."""
        self.refused = Account()
        """What those might have taken."""
        self._each: dict[int, Account] = {}
        self._all = Account()
        self._lock = threading.Lock()

    def begin(self, most: dict[int, Account], limit: Callable[[Account], str]) -> bool:
        """Reserve what these may take, by the request's `id`, unless that may pass a limit."""
        with self._lock:
            new = {name: own for name, own in most.items() if name not in self._each}
            wanted, self.refused = Account(), Account()
            for own in new.values():
                self.refused.join(own)
            for own in (self._all, self.refused):
                wanted.join(own)
            self.refusal = limit(wanted)
            if not self.refusal:
                self._each |= new
                self._all = wanted
            return not self.refusal

    def end(self, request: Request) -> None:
        """It has a reply, and what that took is counted; some have one without being begun."""
        with self._lock:
            self._all.join(self._each.pop(id(request), Account()), times=-1)


class Generation:
    """An LLM's engine with the journal of its replies."""

    def __init__(
        self,
        engine: GeneratorEngine,
        config: GeneratorConfig,
        journal: Journal | None = None,
        limits: Limits | None = None,
    ) -> None:
        self.config = config
        self._engine = engine
        self._journal = journal or Journal()
        self._limits = limits or Limits()
        self._replayed: Counter[str] = Counter()
        self._using_up = False
        self.is_used_up = False
        """Whether the budget did not reach for all that was asked in the last `using_up`."""

    @property
    def structured(self) -> bool:
        """Whether replies are held to a request's schema."""
        return self._engine.structured

    @property
    def max_length(self) -> int | None:
        """Tokens that a prompt and its reply may have together, where that is known."""
        return self._engine.max_length

    @property
    def accounts(self) -> dict[str, dict[str, Any]]:
        """By operator: requests answered, tokens, and USD (None without prices) over the whole run.

        `unreadable` of the answers were of no use, `failed` requests got no text. `replayed`
        (answered from the journal) is of this process alone.
        """
        stored, failed = self._journal.accounts, self._journal.failed()
        unreadable = self._journal.unreadable()
        return {
            name: {
                **asdict(account := stored.get(name, Account())),
                "cost": self._cost(account),
                "replayed": self._replayed[name],
                "unreadable": unreadable.get(name, 0),
                "failed": failed.get(name, 0),
            }
            for name in sorted({*stored, *failed})
        }

    def write(self, requests: Sequence[Request]) -> list[Reply]:
        """The reply to each request, in their order; what went wrong with one is in its reply.

        Equal requests have one reply. Raises LimitReached where tokens, money or time are spent
        before all are answered (what was answered is stored), and ModelError where no request could
        be answered.
        """
        keys = [self._key(request) for request in requests]
        asked = dict(zip(keys, requests, strict=True))
        replies = self._journal.replies(list(asked)) if self._engine.paid else {}
        self._replayed.update(asked[key].operator for key in replies)
        while missing := {key: own for key, own in asked.items() if key not in replies}:
            flight, before = _Flight(), len(replies)
            self._ask(missing, flight, replies)
            # Near a limit requests reserve more than they take, so what is left is told anew.
            if len(replies) > before:
                continue
            if not (self._using_up and flight.refusal == BUDGET_SPENT):
                raise self._reached(flight)
            self.is_used_up = True
            replies |= dict.fromkeys(missing, Reply(error=BUDGET_SPENT))
        return [replies[key] for key in keys]

    def _ask(self, asked: dict[str, Request], flight: "_Flight", replies: dict[str, Reply]) -> None:
        """Add the replies to these, as far as the limits allow them to be begun."""

        def begin(requests: Sequence[Request]) -> bool:
            return flight.begin({id(own): self._most(own) for own in requests}, self._limit)

        keys, wanted = list(asked), list(asked.values())
        leave = Leave(begin, self._limits.deadline + GRACE)
        for position, reply in self._engine.stream(wanted, leave):
            key, operator = keys[position], wanted[position].operator
            replies[key] = reply
            if not reply.error or reply.prompt_tokens:  # what was paid for counts
                self._journal.add(key, operator, reply)
            else:
                self._journal.add_failure(key, operator)
            flight.end(wanted[position])

    @contextmanager
    def using_up(self) -> Iterator[None]:
        """In this block, what the budget does not reach has a reply that says so: the rest of what
        was asked together is paid for, and is to be used."""
        self._using_up, self.is_used_up = True, False
        try:
            yield
        finally:
            self._using_up = False

    def taken(self, budget: Spend) -> float:
        """What was taken so far over the whole run, in the budget's unit."""
        total = self._journal.total
        return total.tokens if budget.cost is None else self._cost(total) or 0.0

    def mark_unreadable(self, requests: Sequence[Request]) -> None:
        """Count the replies to these requests as of no use."""
        self._journal.mark_unreadable(self._key(request) for request in requests)

    def close(self) -> None:
        """Let the journal go."""
        self._journal.close()

    def _key(self, request: Request) -> str:
        """Hash of all that decides the reply; `operator` only says whose it is."""
        return text_key(
            [
                self._engine.mark,
                self._engine.structured,
                request.messages,
                request.seed,
                request.max_new_tokens,
                request.temperature,
                request.schema,
            ]
        )

    def _most(self, request: Request) -> Account:
        """What it may take. A model in this process is not paid for, and begins many together: for
        it a token each has to be left, no more."""
        if not self._engine.paid:
            return Account(1, 0, 1)
        schema = len(json.dumps(request.schema)) if request.schema else 0
        return Account(1, most_tokens(request) + schema, request.max_new_tokens)

    def _limit(self, in_flight: Account) -> str:
        """The limit that may be passed by what was taken and what is in flight; empty if none."""
        total, limits = Account(), self._limits
        total.join(self._journal.total)
        total.join(in_flight)
        spend, cost = limits.budget or Spend(), self._cost(total) or 0.0
        for outcome, most, taken in (
            (BUDGET_SPENT, spend.tokens, total.tokens),
            (BUDGET_SPENT, spend.cost, cost),
            (TOKEN_LIMIT, limits.tokens, total.tokens),
            (COST_LIMIT, limits.cost, cost),
        ):
            if most is not None and taken > most:
                return outcome
        return TIME_UP if time.monotonic() >= limits.deadline else ""

    def _reached(self, flight: "_Flight") -> LimitReached:
        outcome, cost = flight.refusal or TIME_UP, self._cost(self._journal.total)
        used = f"{self._journal.total.tokens:,} tokens"
        used += "" if cost is None else f", {cost:.2f} USD"
        if self._engine.paid and outcome != TIME_UP:
            used += f", and the next request may take {flight.refused.tokens:,} tokens"
        if outcome == BUDGET_SPENT:
            return BudgetSpent(
                outcome,
                f"{outcome} before the first candidate: the generator took {used}; give a larger "
                "`budget`, and another folder",
            )
        option = {TOKEN_LIMIT: "max_tokens", COST_LIMIT: "max_cost"}.get(outcome)
        higher = f"with a higher `{option}` " if option else ""
        return LimitReached(
            outcome, f"{outcome}: the generator took {used}; {higher}the same command goes on"
        )

    def _cost(self, account: Account) -> float | None:
        """USD; None without prices."""
        price_in, price_out = self.config.price_in, self.config.price_out
        if price_in is None or price_out is None:
            return None
        return account.cost(price_in, price_out)
