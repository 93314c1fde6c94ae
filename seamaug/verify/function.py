"""A user's Python function as a check: tests, a parser, a rule of one's own."""

import math
from collections.abc import Sequence

from seamaug.errors import ConfigError
from seamaug.log import logger
from seamaug.records import Evidence, Failure, Seed
from seamaug.user_code import load_function

SETTING = "verify.worse.function"
Told = Evidence | Failure | None
_SHOWN = 5  # failed calls that are named; all are counted


class UserFunction:
    """Compares the function's values of a response and of the golden one, the higher the better.

    What it raises is no proof either way: the call is named in a warning, and the response is one
    that could not be judged. A function that returns anything but a number, a bool or None ends the
    run.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._call = load_function(path, SETTING)
        self._failed = 0

    def __call__(self, cases: Sequence[tuple[Seed, Sequence[str]]]) -> list[list[Told]]:
        """By how much each text falls short; None where the function returned None."""
        return [self._of_one(seed, texts) for seed, texts in cases]

    def _of_one(self, seed: Seed, texts: Sequence[str]) -> list[Told]:
        if not texts:
            return []
        golden = self._value(seed, seed.golden)
        if golden is None or isinstance(golden, Failure):
            return [golden] * len(texts)
        return [self._told(golden, self._value(seed, text)) for text in texts]

    def _told(self, golden: float, value: float | Failure | None) -> Told:
        if value is None or isinstance(value, Failure):
            return value
        return Evidence(self._path, golden - value, worse=golden > value)

    def _value(self, seed: Seed, response: str) -> float | Failure | None:
        try:
            value = self._call([{**turn} for turn in seed.prompt], response, seed.golden)
        except Exception as error:  # whatever a user's code raises is about this response alone
            self._warn(seed, error)
            return Failure(f"{self._path}: {type(error).__name__}: {error}")
        if value is None:
            return None
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, str) or math.isnan(number):
            raise ConfigError(
                f"`{SETTING}`: {self._path} returned {value!r} for the seed at "
                f"{seed.where}; it must return a bool, a number or None"
            )
        return number

    def _warn(self, seed: Seed, error: Exception) -> None:
        self._failed += 1
        if self._failed <= _SHOWN:
            more = "; further ones are not shown" if self._failed == _SHOWN else ""
            logger.warning(
                f"{self._path} failed on a response to the seed at {seed.where}, not taken: "
                f"{type(error).__name__}: {error}{more}"
            )
