"""The screen: one reason for each candidate, and a memory that follows from finished parts."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from seamaug.config import SeedsConfig, VerifyConfig
from seamaug.records import KEPT, NEW_GOLDEN, Candidate, Parent, to_table, user_message
from seamaug.seeds import Seeds, read_seeds
from seamaug.verify.contamination import EvaluationTexts, Place
from seamaug.verify.golden import Judged
from seamaug.verify.screen import Screen

GOLDEN = "They are red because of the rust that forms when iron meets air and water, says Ann"
ROWS = [
    {"prompt": "Why is the old iron bridge red in the evening sun of June?", "golden": GOLDEN},
    {"prompt": "Name 3 rivers that are longer than 500 kilometres, please.", "golden": "No idea"},
    {"prompt": "What is the capital of France, and who built its tower?", "golden": "Paris"},
]
PARENT = ROWS[0]["prompt"]


class Letters:
    """An embedder: how often each letter occurs."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        rows = [[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts]
        vectors = np.array(rows, np.float32) + 1e-6
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def seeds() -> Seeds:
    return read_seeds(SeedsConfig(), ROWS)


def screen(seeds: Seeds, evaluation: EvaluationTexts | None = None, **settings: Any) -> Screen:
    embedder: Any = Letters()
    vectors = embedder.embed(seeds.texts(0, len(seeds)))
    return Screen(
        VerifyConfig(**settings),
        seeds,
        vectors,
        embedder,
        evaluation,
        lambda candidate: ("numbers", "meaning") if candidate.template_hash else (),
        lambda cases: [Judged("not verified" * (case.golden == "Wrong")) for case in cases],
    )


def parents(seeds: Seeds) -> dict[str, Parent]:
    lists: dict[str, Any] = {
        name: [] for name in Parent.__slots__ if name.startswith(("neighbour", "worse", "verifier"))
    }
    return {
        seed.id: Parent(id=seed.id, position=i, prompt=seed.prompt, golden=seed.golden,
                        goldens=[seed.golden], golden_scores=[None], misjudged=None, seams=[1.0],
                        error="", **lists)
        for i, seed in enumerate(seeds.at(range(len(seeds))))
    }  # fmt: skip


def candidates(
    seeds: Seeds, *texts: str, parent: int = 0, template: str = "", chosen: str = GOLDEN
) -> list[Candidate]:
    return [
        Candidate(id=str(i), parent=seeds.ids[parent], prompt=user_message(text), chosen=chosen,
                  operator="x", kind="rule", template_hash=template, neighbours=[])
        for i, text in enumerate(texts)
    ]  # fmt: skip


def reasons(own: Screen, seeds: Seeds, made: list[Candidate]) -> list[str]:
    own.judge(made, parents(seeds))
    assert all(bool(c.verdict) == bool(c.reason) for c in made)
    return [candidate.reason for candidate in made]


def take(own: Screen, seeds: Seeds, made: list[Candidate]) -> None:
    """As a finished part, in which all that passed was scored and kept."""
    for candidate in made:
        if not candidate.verdict:
            candidate.verdict, candidate.seam_after = KEPT, 0.5
    own.take(to_table(made, Candidate.SCHEMA), parents(seeds))


def test_each_reason(seeds: Seeds) -> None:
    evaluation = EvaluationTexts(
        [(Place("e", "1"), "who built the high tower of iron over there"), (Place("e", "2"), "Hi")],
        6,
    )
    own = screen(seeds, evaluation, ngram=6)
    made = candidates(
        seeds,
        "Why is the old iron bridge red at dawn, tell me?",
        "Why is  the old iron bridge red at dawn, tell me?",
        ROWS[1]["prompt"],
        " ",
        "Well: who BUILT the high tower, of iron?",
        "hi!",
        ROWS[2]["prompt"].replace("and who", "and by the way who"),
        "why is the old iron bridge red at dawn? Tell me",
    )
    assert reasons(own, seeds, made) == [
        "",
        "duplicate",
        "same as seed",
        "empty",
        "contaminated",
        "contaminated",
        "",
        "near duplicate",
    ]


def test_an_overlap_of_the_chosen_response_counts(seeds: Seeds) -> None:
    evaluation = EvaluationTexts([(Place("e", "1"), GOLDEN.upper())], 13)
    own = screen(seeds, evaluation)
    made = candidates(seeds, "Why, oh why, is that bridge red?")
    assert reasons(own, seeds, made) == ["contaminated"]
    assert reasons(own, seeds, candidates(seeds, "Why is that bridge red?", chosen="Rust")) == [""]
    assert own.is_contaminated(GOLDEN)
    assert not own.is_contaminated("Rust")


def test_what_an_llm_wrote_must_keep_numbers_and_meaning(seeds: Seeds) -> None:
    own = screen(seeds, min_similarity=0.9)
    texts = (
        "Name 3 rivers longer than 500 kilometres please",
        "Name three rivers longer than 500 kilometres please",
        "500, 3: zzz zzz zzz zzz zzz zzz zzz",
    )
    made = candidates(seeds, *texts, parent=1, template="hash")
    assert reasons(own, seeds, made) == ["", "number lost", "meaning drift"]
    assert reasons(own, seeds, candidates(seeds, *texts[1:], parent=1)) == ["", ""]


def test_a_new_golden_response_is_checked(seeds: Seeds) -> None:
    own = screen(seeds)
    made = candidates(seeds, "Why is that bridge so very blue?", chosen="Wrong")
    made += candidates(seeds, "Why is that bridge so very green, Sir?", chosen="Right")
    for candidate in made:
        candidate.chosen_source = NEW_GOLDEN
    assert reasons(own, seeds, made) == ["not verified", ""]
    assert reasons(own, seeds, candidates(seeds, "Whose bridge?", chosen="Wrong")) == [""]


def test_near_duplicates_can_be_let_through(seeds: Seeds) -> None:
    texts = ("Why is the old iron bridge red at dawn?", "why is the old iron bridge red at dawn")
    assert reasons(screen(seeds), seeds, candidates(seeds, *texts)) == ["", "near duplicate"]
    lenient = screen(seeds, duplicates={"near": None})
    assert reasons(lenient, seeds, candidates(seeds, *texts)) == ["", ""]


def test_semantic_duplicates_are_of_other_families(seeds: Seeds) -> None:
    own = screen(seeds, duplicates={"semantic": 0.999})
    shuffled = "tower its built who and, France of capital the is What?"
    assert reasons(own, seeds, candidates(seeds, shuffled)) == ["semantic duplicate"]
    assert reasons(own, seeds, candidates(seeds, shuffled, parent=2)) == [""]
    take(own, seeds, candidates(seeds, "Pack my box with five dozen liquor jugs"))
    late = ("jugs liquor dozen five with box my Pack",)
    assert reasons(own, seeds, candidates(seeds, *late, parent=2)) == ["semantic duplicate"]
    assert reasons(own, seeds, candidates(seeds, *late)) == [""]


def test_what_was_rejected_is_remembered_only_as_exactly_made(seeds: Seeds) -> None:
    own = screen(seeds)
    text = "Why is the old iron bridge red at dawn?"
    made = candidates(seeds, text)
    made[0].reject("meaning drift")
    take(own, seeds, made)
    assert not own.is_new(user_message(text))
    assert reasons(own, seeds, candidates(seeds, text, text.lower())) == ["duplicate", ""]


def test_a_failed_candidate_is_left_alone(seeds: Seeds) -> None:
    own = screen(seeds)
    made = candidates(seeds, "", "Why?")
    made[0].verdict, made[0].reason = "failed", "generate: no answer"
    assert reasons(own, seeds, made) == ["generate: no answer", ""]
    take(own, seeds, made)


def test_a_resumed_screen_judges_as_one_that_went_on(seeds: Seeds) -> None:
    settings = {"duplicates": {"semantic": 0.995, "near": 0.7}}
    parts = [
        [(ROWS[p]["prompt"].replace(" ", gap, 2) + end, p) for p in (0, 1, 2)]
        for gap in (" so ", " the ", " SO ")
        for end in ("", " Thanks", "!")
    ]
    parts.append([(" ".join(ROWS[p]["prompt"].split()[::-1]), (p + 1) % 3) for p in (0, 1, 2)])
    steady = screen(seeds, **settings)
    judged = []
    for part in parts:
        made = [candidates(seeds, text, parent=p)[0] for text, p in part]
        steady.judge(made, parents(seeds))
        take(steady, seeds, made)
        judged.append(made)
    assert len({c.reason for made in judged for c in made}) > 2
    for done in range(len(parts)):
        resumed = screen(seeds, **settings)
        for made in judged[:done]:
            resumed.take(to_table(made, Candidate.SCHEMA), parents(seeds))
        made = [candidates(seeds, text, parent=p)[0] for text, p in parts[done]]
        assert reasons(resumed, seeds, made) == [c.reason for c in judged[done]]
