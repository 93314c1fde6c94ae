"""Preference strength from `strength` through `expand` to a trainer's margins, on real models."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from seamaug import expand, export, strength
from seamaug.api import ExpandResult
from seamaug.config import RewardConfig, load_config
from seamaug.models.ensemble import Comparison, Ensemble
from seamaug.models.ensemble import strength as preference_strength
from seamaug.models.load import load_voter
from seamaug.records import KEPT
from seamaug.verify.strength import AGAINST

RUN: dict[str, Any] = {
    "select.share": 0.5,
    "keep.rule": "discrepant",
    "reward.dtype": "float32",
    "score.samples": 3,
    "generate.policy_samples": 2,
    "generate.policy_max_new_tokens": 8,
}


@pytest.fixture(scope="module")
def found(bundled: Callable[[int], list[dict[str, Any]]], tmp_path_factory: Any) -> Path:
    """`strength` of bundled pairs, with margins and the ensemble that it trained."""
    out: Path = tmp_path_factory.mktemp("strength") / "out"
    settings = {"ensemble.heads": 3, "ensemble.trainer.max_steps": 4, "treat.margin": True}
    told = strength(bundled(24), out=out, settings=settings)
    assert told["ensemble"] == "ensemble"
    return out


@pytest.fixture(scope="module")
def run(found: Path, tmp_path_factory: Any) -> ExpandResult:
    return expand(
        str(found / "pairs.parquet"),
        judges=str(found / "ensemble"),
        budget=12,
        out=tmp_path_factory.mktemp("run") / "run",
        settings=RUN,
    )


def test_the_kept_ensemble_votes_as_it_did_when_it_was_trained(found: Path, tmp_path: Path) -> None:
    """Also through `strength` itself, which takes it as given voters."""
    first = pq.read_table(found / "pairs.parquet").to_pylist()
    rows = [
        {"prompt": row["chosen"][:-1], "chosen": row["chosen"][-1]["content"],
         "rejected": row["rejected"][-1]["content"]}
        for row in first
    ]  # fmt: skip
    exact = {"reward.dtype": "float32"}
    again = strength(rows, reward=[str(found / "ensemble")], out=tmp_path / "again", settings=exact)
    assert (again["models"], again["ensemble"]) == (3, None)
    told = pq.read_table(tmp_path / "again" / "pairs.parquet").to_pylist()
    # The label of a flipped pair is the other way round by now.
    signs = [-1 if row["treatment"] == "flipped" else 1 for row in first]
    wanted = [sign * row["mu"] for sign, row in zip(signs, first, strict=True)]
    np.testing.assert_allclose([row["mu"] for row in told], wanted, atol=1e-4)
    np.testing.assert_allclose(
        [row["sigma"] for row in told], [row["sigma"] for row in first], atol=1e-4
    )
    assert not (tmp_path / "again" / "ensemble").exists()


def test_every_pair_of_a_run_has_its_strength(found: Path, run: ExpandResult) -> None:
    judges = Ensemble([load_voter(RewardConfig(name=str(found / "ensemble"), dtype="float32"))])
    rows = [row for row in run.provenance if row["rejected"]]
    assert {row["verdict"] for row in rows} >= {KEPT}
    for row in rows:
        (margins,) = judges.margins([Comparison(row["prompt"], row["chosen"], [row["rejected"]])])
        wanted = preference_strength(margins)
        assert row["mu"] == pytest.approx(wanted.mu[0], abs=1e-4)
        assert row["sigma"] == pytest.approx(wanted.sigma[0], abs=1e-4)
        assert (row["reason"] == AGAINST) <= (row["mu"] + row["sigma"] < 0)
        assert (row["verdict"] == KEPT) <= (row["mu"] + row["sigma"] >= 0)
    # Not only the pairs of one verifier have it, which is what a margin on every row needs.
    assert len({row["verifier"] for row in rows}) > 1
    assert all(row["mu"] is None for row in run.provenance if not row["rejected"])


def test_pairs_that_the_judges_contradict_are_counted(run: ExpandResult) -> None:
    reasons = Counter(row["reason"] for row in run.provenance)
    assert reasons[AGAINST] > 0
    assert run.summary["counts"]["candidates"]["rejected"][AGAINST] == reasons[AGAINST]


def test_margins_of_a_run_and_of_its_seeds_are_on_one_scale(
    found: Path, run: ExpandResult, tmp_path: Path
) -> None:
    seeds = str(found / "pairs.parquet")
    (done,) = export(run.path, to="trl", margin=True, merge_with=seeds, out=tmp_path)
    told = pq.read_table(done.path / "preference" / "train.parquet")["margin"].to_pylist()
    kept = [row["mu"] for row in run.provenance if row["verdict"] == KEPT]
    given = pq.read_table(seeds)["margin"].to_pylist()
    assert sorted(told) == sorted([*kept, *given])


def test_judges_alone_mean_numbers_and_then_the_vote() -> None:
    own = load_config(None, {"verify.worse.judges": ["a"]}).verify.worse
    assert own.by == ("number", "vote")
    own = load_config(None, {"verify.worse.judges": ["a"], "verify.worse.by": "vote"}).verify.worse
    assert own.by == ("vote",)
