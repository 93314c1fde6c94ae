"""What the flow asks of an LLM: a reply to each request, none paid for twice, all accounted for."""

import math
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seamaug.config import GeneratorConfig
from seamaug.errors import LimitReached
from seamaug.models.engines import GeneratorEngine, Reply, Request
from seamaug.models.journal import Account, Journal
from seamaug.records import text_key

TOKEN_LIMIT = "token limit reached"
COST_LIMIT = "cost limit reached"
TIME_UP = "time is up"


@dataclass(frozen=True, slots=True)
class Limits:
    """What an LLM may take over all processes of a run; None is no limit."""

    tokens: int | None = None
    cost: float | None = None
    """USD."""
    deadline: float = math.inf
    """Of this process, by `time.monotonic`."""


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
        before all are asked (what was asked is answered and stored, so a limit is overshot by as
        many requests as the engine works on), and ModelError where no request could be answered.
        """
        keys = [self._key(request) for request in requests]
        asked = dict(zip(keys, requests, strict=True))
        replies = self._journal.replies(list(asked)) if self._engine.paid else {}
        self._replayed.update(asked[key].operator for key in replies)
        missing = [key for key in asked if key not in replies]
        wanted = [asked[key] for key in missing]
        arriving = self._engine.stream(wanted, lambda: not self._spent()) if wanted else ()
        for position, reply in arriving:
            key, operator = missing[position], wanted[position].operator
            replies[key] = reply
            if not reply.error or reply.prompt_tokens:  # what was paid for counts
                self._journal.add(key, operator, reply)
            else:
                self._journal.add_failure(key, operator)
        if len(replies) < len(asked):
            raise LimitReached(*self._why())
        return [replies[key] for key in keys]

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

    def _spent(self) -> str:
        """The limit that is reached; empty if none is."""
        limits, total = self._limits, self._journal.total
        if limits.tokens is not None and total.tokens >= limits.tokens:
            return TOKEN_LIMIT
        if limits.cost is not None and (self._cost(total) or 0.0) >= limits.cost:
            return COST_LIMIT
        return TIME_UP if time.monotonic() >= limits.deadline else ""

    def _why(self) -> tuple[str, str]:
        outcome, cost = self._spent(), self._cost(self._journal.total)
        used = f"{self._journal.total.tokens:,} tokens"
        used += "" if cost is None else f", {cost:.2f} USD"
        option = {TOKEN_LIMIT: "max_tokens", COST_LIMIT: "max_cost"}.get(outcome)
        higher = f"with a higher `{option}` " if option else ""
        return outcome, (f"{outcome}: the generator took {used}; {higher}the same command goes on")

    def _cost(self, account: Account) -> float | None:
        """USD; None without prices."""
        price_in, price_out = self.config.price_in, self.config.price_out
        if price_in is None or price_out is None:
            return None
        return account.cost(price_in, price_out)
