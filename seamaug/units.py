"""The units people type: budgets (`10k`, `5M tokens`), durations (`2h`), shares (`20%`)."""

import re
from dataclasses import dataclass

from seamaug.errors import ConfigError

_NUMBER = r"(\d+(?:\.\d+)?|\.\d+)"
_COUNT = re.compile(rf"{_NUMBER}\s*([kKmMgG]?)", re.ASCII)
_FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}
_DURATION_PART = re.compile(rf"{_NUMBER}\s*([smhd])", re.ASCII)
_LARGEST = 2**53  # above it a float no longer counts exactly
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_TOKENS = re.compile(rf"({_NUMBER}\s*[kKmMgG]?)\s?tokens?", re.ASCII | re.IGNORECASE)
_USD = re.compile(rf"\$\s*{_NUMBER}|{_NUMBER}\s*USD", re.ASCII | re.IGNORECASE)
_CENTS = 6  # digits of a dollar that count


@dataclass(frozen=True, slots=True)
class Spend:
    """What an LLM's work may come to: tokens read and written, or USD; one of the two."""

    tokens: int | None = None
    cost: float | None = None

    @property
    def amount(self) -> float:
        """How many of `unit`."""
        return (self.cost or 0.0) if self.tokens is None else self.tokens

    @property
    def unit(self) -> str:
        """``tokens`` or ``USD``."""
        return "USD" if self.tokens is None else "tokens"

    def __str__(self) -> str:
        """As `parse_budget` reads it."""
        if self.cost is None:
            return f"{self.tokens} tokens"
        return f"{self.cost:.{_CENTS}f}".rstrip("0").rstrip(".") + " USD"


def parse_budget(text: "str | int | Spend") -> "int | Spend":
    """Examples in ``500``, ``10k`` or ``1.5M``; or what to spend in ``5M tokens``, ``20 USD`` or
    ``$20``. Raises ConfigError unless it is at least one example or token, or above 0 USD."""
    if isinstance(text, Spend):
        return text
    shown = str(text).strip()
    if match := _TOKENS.fullmatch(shown):
        return Spend(tokens=_count(match[1], "budget", "token", "5M tokens"))
    if match := _USD.fullmatch(shown):
        cost = round(float(match[1] or match[2]), _CENTS)
        if not 0 < cost <= _LARGEST:
            raise ConfigError(
                f"budget {_short(text)} is out of range: write an amount such as 20 USD"
            )
        return Spend(cost=cost)
    return _count(text, "budget", "example", "500, 10k or 1.5M, or 5M tokens or 20 USD")


def parse_tokens(text: str | int) -> int:
    """Number of tokens in ``500k``, ``2M`` or ``1.5G``; raises ConfigError unless >= 1."""
    return _count(text, "token limit", "token", "500k, 2M or 1.5G")


def _count(text: str | int, name: str, unit: str, such_as: str) -> int:
    how = f"write a number of {unit}s such as {such_as}"
    match = _COUNT.fullmatch(str(text).strip())
    if match is None:
        raise ConfigError(f"{name} {text!r} is not a number of {unit}s: {how}")
    exact = float(match[1]) * _FACTORS[match[2].lower()]
    if exact > _LARGEST:
        raise ConfigError(f"{name} {_short(text)} is too large: {how}")
    count = round(exact)
    if abs(count - exact) > 1e-6:
        raise ConfigError(f"{name} {text!r} is not a whole number of {unit}s: {how}")
    if count < 1:
        raise ConfigError(f"{name} {text!r} is below one {unit}: {how}")
    return count


def parse_duration(text: str | float) -> float:
    """Seconds in ``90s``, ``30m``, ``2h``, ``1h30m`` or a plain number of seconds."""
    how = "write a duration such as 90s, 30m, 2h or 1h30m"
    text = str(text).strip().lower()
    if re.fullmatch(_NUMBER, text, re.ASCII):
        seconds = float(text)
    else:
        parts = _DURATION_PART.findall(text)
        if not parts or _DURATION_PART.sub("", text).strip():
            raise ConfigError(f"duration {text!r} is not understood: {how}")
        seconds = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if seconds <= 0:
        raise ConfigError(f"duration {text!r} is not above zero: {how}")
    if seconds > _LARGEST:
        raise ConfigError(f"duration {_short(text)} is too long: {how}")
    return seconds


def parse_share(text: str | float) -> float:
    """Fraction in (0, 1) from ``20%`` or ``0.2``."""
    how = "write a share between 0 and 100 %, such as 20% or 0.2"
    match = re.fullmatch(rf"{_NUMBER}\s*(%?)", str(text).strip(), re.ASCII)
    if match is None:
        raise ConfigError(f"share {text!r} is not understood: {how}")
    share = float(match[1]) / (100 if match[2] else 1)
    if not 0 < share < 1:
        raise ConfigError(f"share {text!r} is out of range: {how}")
    return share


def _short(text: object) -> str:
    shown = str(text)
    return repr(shown if len(shown) <= 40 else f"{shown[:40]}…")


def human_count(number: float) -> str:
    """``1234567`` -> ``1.2M``: for progress lines and plans."""
    for factor, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= factor:
            return f"{number / factor:.1f}{unit}"
    return f"{number:.0f}"


def human_seconds(seconds: float) -> str:
    """``3725`` -> ``1 h 02 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
