"""What judges say of the pairs of candidates."""

from collections.abc import Sequence

import pytest

from seamaug.models.ensemble import Ensemble
from seamaug.records import Candidate, Message, user_message
from seamaug.verify.strength import AGAINST, PairStrength


class Reader:
    """Scores a response by how often it says `good`, times `scale`; reads what is short."""

    def __init__(self, scale: float, max_length: int = 100) -> None:
        self.scale = scale
        self.max_length = max_length

    def conversation_ids(self, prompt: list[Message], responses: Sequence[str]) -> list[list[int]]:
        return [[ord(letter) for letter in text] for text in responses]

    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        texts = [["".join(map(chr, row)) for row in rows] for rows in sets]
        return [[self.scale * text.count("good") for text in own] for own in texts]


def candidate(chosen: str, rejected: str) -> Candidate:
    return Candidate("", "", user_message("?"), chosen, "", "", "", [], rejected=rejected)


def test_mu_and_sigma_of_each_pair_and_who_is_against() -> None:
    pairs = [
        candidate("good good", "bad"),
        candidate("bad", "good"),
        candidate("bad", "bad"),
        candidate("x" * 200, "good"),
    ]
    judges = Ensemble([Reader(1.0), Reader(3.0)])
    assert PairStrength(lambda: judges, 1.0).problems(pairs) == ["", AGAINST, "", ""]
    assert [(own.mu, own.sigma) for own in pairs] == [(4, 2), (-2, 1), (0, 0), (None, None)]
    # mu -2 and sigma 1: twice the spread is no agreement.
    assert PairStrength(lambda: judges, 2.0).problems(pairs[1:2]) == [""]


def test_judges_are_not_loaded_for_nothing() -> None:
    assert PairStrength(lambda: pytest.fail("loaded"), 1.0).problems([]) == []
