"""Overlap of examples with evaluation texts: n words in a row in common.

The rule of GPT-3 (Brown et al. 2020, appendix C: n = 13, lower case, punctuation aside). Exact
substrings of 50 tokens (Lee et al. 2022) would miss what a variant changes by a word.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from seamaug.errors import InputError
from seamaug.records import Message
from seamaug.verify.text import words


class Place(NamedTuple):
    """Where an evaluation text stands."""

    file: str
    row: str


class Overlap(NamedTuple):
    """The first n words in a row that a text has in common with an evaluation text."""

    file: str
    row: str
    words: str


class EvaluationTexts:
    """The n-grams of evaluation texts, as 64-bit hashes: 12 bytes for each different one."""

    def __init__(self, texts: Iterable[tuple[Place, str]], n: int) -> None:
        self._n = n
        self._places: list[Place] = []
        self._short: dict[int, int] = {}
        self._digest = hashlib.blake2b(digest_size=16)
        grams, owners = [], []
        for place, text in texts:
            found = words(text)
            if not found:
                continue
            hashed, own = _hashes(found), self._number(place)
            self._digest.update(" ".join(found).encode("utf-8", "surrogatepass") + b"\n")
            if len(found) < n:
                self._short.setdefault(_whole(hashed), own)
            else:
                grams.append(np.unique(_grams(hashed, n)))
                owners.append(np.full(len(grams[-1]), own, np.int32))
        if not self._places:
            raise InputError("the evaluation files hold no text to compare with; check them")
        every = np.concatenate([np.empty(0, np.uint64), *grams])
        self._keys, first = np.unique(every, return_index=True)
        self._owners = np.concatenate([np.empty(0, np.int32), *owners])[first]

    def _number(self, place: Place) -> int:
        if not self._places or self._places[-1] != place:
            self._places.append(place)
        return len(self._places) - 1

    def __len__(self) -> int:
        """How many rows have text."""
        return len(self._places)

    @property
    def fingerprint(self) -> str:
        """Content hash of all words; the files' names and formats do not count."""
        return self._digest.hexdigest()

    def of_prompt(self, prompt: Sequence[Message]) -> Overlap | None:
        """The first overlap of a conversation.

        An evaluation text of fewer than n words overlaps only with a last turn of the same words.
        """
        for turn in prompt:
            if found := self.of_response(turn["content"]):
                return found
        last = words(prompt[-1]["content"])
        owner = self._short.get(_whole(_hashes(last)))
        return None if owner is None else _overlap(self._places[owner], last)

    def of_response(self, text: str) -> Overlap | None:
        """The first overlap of a response.

        A short one overlaps with nothing: that it is an answer such as `yes` proves nothing.
        """
        found = words(text)
        if len(found) < self._n or not len(self._keys):
            return None
        grams = _grams(_hashes(found), self._n)
        at = np.searchsorted(self._keys, grams)
        at[at == len(self._keys)] = 0
        hits = np.flatnonzero(self._keys[at] == grams)
        if not len(hits):
            return None
        start = int(hits[0])
        place = self._places[self._owners[at[start]]]
        return _overlap(place, found[start : start + self._n])


def _overlap(place: Place, found: list[str]) -> Overlap:
    return Overlap(place.file, place.row, " ".join(found))


@lru_cache(maxsize=1 << 18)
def _word_hash(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _hashes(found: list[str]) -> np.ndarray:
    return np.fromiter(map(_word_hash, found), np.uint64, len(found))


_FACTOR = 0x9E3779B97F4A7C15  # odd, so that no power of it loses bits


def _grams(hashed: np.ndarray, n: int) -> np.ndarray:
    """A 64-bit polynomial hash of each n words in a row."""
    windows = len(hashed) - n + 1
    total = np.zeros(windows, np.uint64)
    for i in range(n):
        total = total * np.uint64(_FACTOR) + hashed[i : i + windows]
    return total


def _whole(hashed: np.ndarray) -> int:
    return int(_grams(hashed, len(hashed))[0])
