"""Learning where variants pay, on planted arms; quotas; what a round gives to whom."""

import random
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from seamaug.allocation import Ledger, _shrunk, evenly
from seamaug.clusters import cluster
from seamaug.config import load_config
from seamaug.errors import ConfigError
from seamaug.keep.quotas import Quotas
from seamaug.records import Misjudged, Parent, user_message
from seamaug.steering import LEARNT_FROM, Steering, check_allocation, removed

RULES = ["a", "b", "c", "d"]
MISJUDGED = Misjudged(text="bad", margin=1.0, rank=1, among=2, logprob=-1.0, golden_logprob=-1.0)
PARENTS = 40
CLUSTERS = 4


def parents(seams: Sequence[float] = (1.0,) * PARENTS) -> list[Parent]:
    return [
        Parent(
            id=f"p{i}",
            position=i,
            prompt=user_message("What is it?"),
            golden="yes",
            goldens=["yes"],
            golden_scores=[None],
            neighbours=[],
            neighbour_texts=[],
            neighbour_cosines=[],
            misjudged=MISJUDGED,
            worse=["no"],
            worse_sources=["given"],
            verifiers=["given"],
            verifier_scores=[None],
            seams=[seam],
            error="",
        )
        for i, seam in enumerate(seams)
    ]


LABELS = {i: i % CLUSTERS for i in range(PARENTS)}


def steering(seed: int = 0, **settings: Any) -> Steering:
    own = {"generate.batch_parents": 4, "generate.per_round": 16, **settings}
    own = {"generate.allocation": "thompson", **own}
    own = {"keep.operator_share": 0.99, "keep.cluster_share": 0.99, **own}
    config = load_config(None, {"budget": 400, "seed": seed, "keep.most_per_seed": 400, **own})
    return Steering(config, parents(), LABELS, RULES, [], None)


class World:
    """Outcomes by planted arms: a candidate is kept or not, and removes what its arm does."""

    def __init__(self, falls: Any, seed: int = 0) -> None:
        self.falls = falls
        self.rng = random.Random(seed)

    def play(self, own: Steering, rounds: int) -> list[list[dict[str, Any]]]:
        """Rows of each round, made and learnt from as a run does."""
        people = {parent.id: parent for parent in parents()}
        played = []
        for number in range(rounds):
            rows = []
            for name, count in own.next_round(number).items():
                for _ in range(count):
                    rng = random.Random(self.rng.random())
                    operator = next(iter(own.order(people[name], RULES, rng)))
                    rows.append(self.row(name, operator))
            own.take([people[name] for name in {row["parent"] for row in rows}], as_part(rows))
            played.append(rows)
        return played

    def row(self, name: str, operator: str) -> dict[str, Any]:
        kept = self.rng.random() < 0.6
        fall = self.falls(LABELS[int(name[1:])], operator) * self.rng.uniform(0.5, 1.5)
        return {
            "parent": name,
            "operator": operator,
            "tokens": self.rng.randint(15, 25),
            "verdict": "kept" if kept else "rejected",
            "predicted_reduction": fall if kept else None,
            "seam_before": 1.0,
            "seam_after": 0.5,
        }


def as_part(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.table({name: [row[name] for row in rows] for name in LEARNT_FROM})


def one_arm(cluster_: int, operator: str) -> float:
    return 0.05 if (cluster_, operator) == (2, "c") else 0.01


def last(rounds: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of all but the first five rounds."""
    return [row for rows in rounds[5:] for row in rows]


def share(rows: list[dict[str, Any]]) -> float:
    best = [LABELS[int(r["parent"][1:])] == 2 and r["operator"] == "c" for r in rows]
    return sum(best) / len(best)


@pytest.mark.parametrize("seed", range(4))
def test_the_planted_arm_gets_most_variants_within_a_few_rounds(seed: int) -> None:
    rounds = World(one_arm, seed).play(steering(seed), 8)
    assert share(rounds[0]) < 0.2  # 1 of 16 by chance
    assert share(last(rounds)) > 0.5
    even = World(one_arm, seed).play(steering(seed, **{"generate.allocation": "uniform"}), 8)
    assert share(last(even)) < 0.15


@pytest.mark.parametrize("explore", [0.2, 0.5])
def test_the_floor_of_exploration_holds(explore: float) -> None:
    rounds = World(one_arm).play(steering(**{"generate.explore": explore}), 10)
    late = last(rounds)
    parents_seen = Counter(row["parent"] for row in late)
    elsewhere = sum(n for name, n in parents_seen.items() if LABELS[int(name[1:])] != 2)
    assert elsewhere / len(late) >= explore * 0.7  # three of four clusters
    assert sum(row["operator"] != "c" for row in late) / len(late) >= explore * 0.6
    assert len(parents_seen) > 0.8 * PARENTS


def test_a_round_is_of_the_size_that_is_set() -> None:
    for number in (5, 10):
        rounds = World(one_arm).play(steering(**{"generate.rounds": number}), 4)
        assert {len(rows) for rows in rounds} == {400 // number}


def test_the_first_round_is_even() -> None:
    assert set(steering(**{"generate.rounds": 10}).next_round(0).values()) == {1}
    wanted = steering(**{"generate.rounds": 50}).next_round(0)
    assert list(wanted.values()) == [1] * 8
    assert len({LABELS[int(name[1:])] for name in wanted}) > 1


def test_the_same_seed_plans_alike_and_another_does_not() -> None:
    def plans(seed: int) -> list[Any]:
        own = steering(seed)
        World(one_arm).play(own, 3)
        rng = random.Random(0)
        return [own.next_round(3), [list(own.order(p, RULES, rng)) for p in parents()]]

    assert plans(0) == plans(0)
    assert plans(0)[0] != plans(1)[0]


def test_parents_of_higher_seam_are_tried_first_where_that_pays() -> None:
    """A hint's worth is learnt: no outcome says anything of the parents that are compared."""
    rng = random.Random(0)
    for pays in (True, False):
        seams = [1.0 + i % 10 for i in range(PARENTS)]
        ledger = Ledger(RULES, [], [0] * PARENTS, seams)
        for place in range(0, PARENTS, 2):
            for _ in range(4):
                fall = (seams[place] if pays else 5.0) * rng.uniform(0.8, 1.2) / 100
                ledger.take(["a"], place, 20, fall)
        beliefs = ledger.beliefs()
        assert beliefs is not None
        high, low = beliefs.parents.means[9], beliefs.parents.means[1]  # seam 10 and 2, untried
        assert bool(high > 2 * low) is pays


def test_what_was_hardly_tried_is_what_its_kin_are() -> None:
    ledger = Ledger(RULES, [], [0, 1, 2], [1.0] * 3)
    rng = random.Random(0)
    for place in range(3):
        for name, fall in zip(RULES, (1.0, 2.0, 3.0, 10.0), strict=True):
            for _ in range(30 if (place, name) != (2, "d") else 0):
                ledger.take([name], place, 10, fall + rng.gauss(0, 0.5))
    beliefs = ledger.beliefs()
    assert beliefs is not None
    means, variances = beliefs.arms.means, beliefs.arms.variances
    assert means[:, 0] == pytest.approx([1, 2, 3, 10], abs=0.5)
    assert means[3, 2] > 6  # never tried: its operator is good in other clusters
    assert variances[3, 2] > 2 * variances[3, 0]


@pytest.mark.parametrize(("rounds", "later"), [(1, True), (4, True), (4, False)])
def test_noise_is_estimated_without_bias_however_old_the_outcomes(rounds: int, later: bool) -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(40):
        ledger = Ledger(RULES, [], list(range(20)), [0.0] * 20)
        for number in range(rounds):
            if number:
                ledger.fade()
            for parent in range(20 if later or not number else 0):
                for name in rng.choice(RULES, 4):
                    ledger.take([name], parent, 1, rng.normal(1, 1))
        found.append(ledger._noise(ledger._tokens, ledger._squares))
    assert np.mean(found) == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("doubt", "between"), [(0.5, 0.0), (0.5, 0.5), (0.0, 0.5)])
def test_rates_are_as_far_from_what_is_expected_as_they_show(doubt: float, between: float) -> None:
    rng = np.random.default_rng(0)
    tokens = np.full(20_000, 4.0)
    rates = rng.normal(5, np.sqrt(doubt + between), 20_000)
    falls = tokens * rng.normal(rates, np.sqrt(1 / tokens))
    found = _shrunk(falls, tokens, 1.0, np.full(1, 5.0), doubt)
    assert 1 / (1 / found.variances - tokens) == pytest.approx(doubt + between, rel=0.05)
    assert ((found.means - rates) ** 2).mean() == pytest.approx(found.variances[0], rel=0.05)


def test_operators_of_one_variant_share_alike_and_a_failed_request_counts_for_nothing() -> None:
    ledger = Ledger(RULES, [], [0], [1.0])
    ledger.take(["a", "b"], 0, 20, 1.0)
    ledger.take(["c"], 0, 0, 0.0)
    assert ledger._tokens[:, 0].tolist() == [10, 10, 0, 0]
    assert ledger._falls[:, 0].tolist() == [0.5, 0.5, 0, 0]
    beliefs = ledger.beliefs()
    assert beliefs is not None
    assert np.isfinite(beliefs.arms.means).all()


def test_an_llm_s_tokens_are_compared_with_an_llm_s() -> None:
    """Twice the fall for fifty times the tokens: still the better operator of a dear kind."""
    ledger = Ledger(["a"], ["good", "poor"], [0, 1], [1.0] * 2)
    rng = random.Random(0)
    for place in (0, 1):
        for name, tokens, fall in (("a", 20, 1.0), ("good", 1000, 2.0), ("poor", 1000, 0.5)):
            for _ in range(20):
                ledger.take([name], place, tokens, fall + rng.gauss(0, 0.1))
    beliefs = ledger.beliefs()
    assert beliefs is not None
    assert beliefs.arms.means[:, 0] == pytest.approx([1.0, 2.0, 0.5], abs=0.2)


def test_evenly_is_even_and_within_the_room() -> None:
    rng = np.random.default_rng(0)
    room = np.array([3, 0, 1, 3])
    assert evenly(5, room, np.zeros(4), rng).tolist() in ([2, 0, 1, 2],)
    assert evenly(99, room, np.zeros(4), rng).tolist() == [3, 0, 1, 3]
    assert evenly(1, room, np.array([5, 0, 5, 4]), rng).tolist() == [0, 0, 0, 1]
    assert evenly(3, np.array([], int), np.array([]), rng).tolist() == []


def test_nobody_gets_variants_who_is_at_an_end() -> None:
    limits = {"keep.patience": 3, "generate.per_parent": 4, "keep.most_per_seed": 1}
    own = steering(**{**limits, "generate.allocation": "uniform"})
    rows = {
        name: {**World(one_arm).row(name, "a"), "verdict": verdict}
        for name, verdict in (("p0", "rejected"), ("p1", "kept"), ("p2", "rejected"))
    }
    people = parents()
    part = [rows["p0"]] * 3 + [rows["p1"]] + [rows["p2"]] * 2
    own.take(people[:4], as_part(part))  # nothing could be made of the fourth
    wanted = own.next_round(0)
    assert wanted.keys() == {person.id for person in people} - {"p0", "p1", "p3"}
    assert wanted["p2"] <= 2


@pytest.mark.parametrize(
    ("verdict", "predicted", "expected"),
    [("kept", 0.25, 0.25), ("kept", None, 0.5), ("rejected", 0.25, 0.0), ("failed", None, 0.0)],
)
def test_what_a_candidate_removes(verdict: str, predicted: float | None, expected: float) -> None:
    row = {"verdict": verdict, "predicted_reduction": predicted}
    assert removed({**row, "seam_before": 1.0, "seam_after": 0.5}) == expected


def test_quotas_name_what_is_full_and_close_it() -> None:
    shares = {"keep.cluster_share": 0.2, "keep.operator_share": 0.15, "keep.most_per_seed": 12}
    config = load_config(None, {"budget": 100, "generate.depth": 1, **shares})
    quotas = Quotas(config, seeds=30, clusters=20, operators=20)
    for _ in range(12):
        assert quotas.problem("p0", 0, "a+b") == ""
        quotas.take("p0", 0, "a+b")
    assert quotas.problem("p0", 0, "c") == "quota of its seed"
    for _ in range(3):
        quotas.take("p1", 1, "a")
    assert quotas.problem("p1", 1, "c+a") == "quota of its operator"
    assert quotas.problem("p1", 1, "b") == ""
    for _ in range(8):
        quotas.take("p2", 0, "d")
    assert quotas.problem("p3", 0, "d") == "quota of its cluster"
    tally = quotas.copy()
    tally.take("p4", 1, "e")
    assert tally._kept["operator", "e"] == 1
    assert quotas._kept["operator", "e"] == 0


def test_quotas_leave_a_small_run_its_budget() -> None:
    config = load_config(None, {"budget": 200})
    quotas = Quotas(config, seeds=2, clusters=1, operators=1)
    for i in range(200):
        assert quotas.problem(f"p{i % 2}", 0, "a") == ""
        quotas.take(f"p{i % 2}", 0, "a")


SPEND: dict[str, Any] = {"budget": "5M tokens", "generator.name": "m"}


def test_quotas_are_of_what_is_kept_so_far_where_its_number_is_open() -> None:
    config = load_config(None, SPEND | {"keep.cluster_share": 0.2, "keep.operator_share": 0.5})
    quotas = Quotas(config, seeds=30, clusters=20, operators=20)
    for i in range(10):
        assert quotas.problem(f"p{i}", 0, "a") == ""
        quotas.take(f"p{i}", 0, "a")
    assert quotas.problem("p10", 0, "b") == "quota of its cluster"
    for i in range(40):
        assert quotas.problem(f"p{i % 30}", 1 + i % 10, f"{i}") == ""
        quotas.take(f"p{i % 30}", 1 + i % 10, f"{i}")
    assert not quotas.is_full("cluster", 0), "one more of 51 is a fifth of them, rounded up"
    assert not quotas.is_full("operator", "a")


def test_quotas_leave_an_open_run_its_only_cluster_and_operator() -> None:
    quotas = Quotas(load_config(None, SPEND), seeds=2, clusters=1, operators=1)
    for i in range(200):
        assert quotas.problem(f"p{i % 2}", 0, "a") == ""
        quotas.take(f"p{i % 2}", 0, "a")


def test_rounds_grow_where_the_number_of_examples_is_open() -> None:
    own = steering(**SPEND, **{"generate.batch_parents": 4, "generate.rounds": 5})
    sizes = []
    for number in range(12):
        wanted = own.next_round(number)
        sizes.append(sum(wanted.values()))
        for parent, count in wanted.items():
            own._tried[own._places[parent]] += count
    assert sizes[:6] == [4] * 6
    assert sizes == sorted(sizes)
    assert sizes[-1] == -(-sum(sizes[:-1]) // 5) > 4


def test_full_operators_are_not_drawn() -> None:
    own = steering(**{"keep.operator_share": 0.1, "generate.depth": 1})
    for i in range(400):
        own.quotas.take(f"p{i}", 0, "b")
    orders = [list(own.order(parents()[0], RULES, random.Random(i))) for i in range(20)]
    assert {tuple(sorted(names)) for names in orders} == {("a", "c", "d")}


def test_clusters_are_of_a_kind_and_repeat() -> None:
    rng = np.random.default_rng(0)
    middles = np.eye(8)[:4]
    vectors = np.repeat(middles, 8, axis=0) + rng.normal(0, 0.02, (32, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    positions = list(range(32))
    found = cluster(vectors, positions, seed=0)
    assert cluster(vectors, positions, seed=0) == found
    kinds = {frozenset(found.labels[i] for i in range(k * 8, k * 8 + 8)) for k in range(4)}
    assert {len(kind) for kind in kinds} == {1}
    assert len(kinds) == 4
    assert [found.labels[centre] for centre in found.centres] == [0, 1, 2, 3]
    assert len(cluster(vectors, positions[:3], seed=0).centres) == 1
    assert cluster(vectors, [], seed=0).centres == []


def test_a_round_without_parents_is_empty() -> None:
    assert Steering(load_config(), [], {}, RULES, [], None).next_round(0) == {}


def test_looking_ahead_needs_features() -> None:
    config = load_config(None, {"budget": 8, "generate.allocation": "lookahead"}).generate
    with pytest.raises(ConfigError, match=r"reward\.engine: transformers"):
        check_allocation(config, features=False)
    check_allocation(config, features=True)
