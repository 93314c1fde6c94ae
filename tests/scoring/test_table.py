"""Scores of seeds as tables: what the columns hold, and what reads them back."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from seamaug import score
from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.records import Evidence, SetScores
from seamaug.scoring.hack_set import HackSet
from seamaug.scoring.seam import RewardScale, Spread
from seamaug.scoring.seeds import ScoredSet, _score_batch
from seamaug.scoring.table import read_scores
from seamaug.seeds import read_seeds
from seamaug.write.table import write_table

Rows = list[dict[str, Any]]
SETTINGS: dict[str, Any] = {
    "score.batch_seeds": 8,
    "score.adversarial.calls": 16,
    "score.adversarial.proposals": 8,
    "score.on_policy.max_new_tokens": 8,
    # bfloat16 would let the golden response differ between estimators in the fourth digit.
    "policy.dtype": "float32",
    "reward.dtype": "float32",
}
ESTIMATORS = ["on-policy", "contrast", "adversarial"]
PARTS = [
    "seam_prob",
    "seam_paper",
    "hack_rate",
    "plausibility",
    "hack_set",
    "low",
    "high",
    "worst_response",
    "error",
]


@pytest.fixture(scope="module")
def seeds(bundled: Callable[[int], Rows]) -> Rows:
    return bundled(24)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work") / "scores"


@pytest.fixture(scope="module")
def tables(seeds: Rows, work: Path) -> tuple[Dataset, Rows]:
    responses = work.with_name("responses.parquet")
    table = score(
        seeds, estimator=ESTIMATORS, samples=6, settings=SETTINGS, work=work, responses=responses
    )
    return table, pq.read_table(responses).to_pylist()


def test_columns(tables: tuple[Dataset, Rows], seeds: Rows) -> None:
    table, _ = tables
    shared = ["id", "where", "prompt", "golden", "seam", "seam_low", "seam_high"]
    shared += ["golden_reward", "golden_logprob", "error"]
    own = [f"{name.replace('-', '_')}_{part}" for name in ESTIMATORS for part in PARTS]
    assert table.column_names == shared + own
    assert list(table["golden"]) == [row["chosen"] for row in seeds]
    # The first estimator decides.
    assert list(table["seam"]) == list(table["on_policy_seam_prob"])
    assert list(table["seam_low"]) == list(table["on_policy_low"])


def test_values(tables: tuple[Dataset, Rows]) -> None:
    for row in tables[0]:
        for name in ("on_policy", "contrast", "adversarial"):
            assert row[f"{name}_error"] is None
            assert 0 <= row[f"{name}_low"] <= row[f"{name}_seam_prob"] + 1e-9
            assert row[f"{name}_seam_prob"] <= row[f"{name}_high"] + 1e-9
            assert 0 <= row[f"{name}_hack_rate"] <= 1
            assert row[f"{name}_plausibility"] <= 0
            assert 0 <= row[f"{name}_hack_set"] <= 6
            assert bool(row[f"{name}_worst_response"]) == (row[f"{name}_hack_set"] > 0)
    # Found with the reward model in the loop: few of them are below the golden response.
    assert np.mean(tables[0]["adversarial_hack_rate"]) > 0.7
    assert np.mean(tables[0]["adversarial_hack_rate"]) > np.mean(tables[0]["contrast_hack_rate"])


def test_every_number_follows_from_the_responses(tables: tuple[Dataset, Rows], work: Path) -> None:
    """SEAM again, from the rows that a reader of the second file has."""
    table, responses = tables
    spread = Spread()
    spread.add(r["rewards"][0] for r in responses if r["estimator"] == "on-policy")
    draws = {
        row["id"]: sets["draws"]
        for row, sets in zip(
            table,
            [s for p in sorted((work / "stages" / "score-on-policy").iterdir())
             for s in pq.read_table(p).to_pylist()],
            strict=True,
        )
    }  # fmt: skip
    assert set(draws.values()) == {6}
    for row in table:
        for name in ESTIMATORS:
            found = [r for r in responses if (r["id"], r["estimator"]) == (row["id"], name)]
            golden, worse = found[0], found[1:]
            assert (golden["role"], golden["response"]) == ("golden", row["golden"])
            assert {r["role"] for r in worse} <= {"worse"}
            assert all(r["kind"] and r["verifier"] for r in worse)
            assert all((r["verifier_score"] is not None) == (name == "on-policy") for r in worse)
            prefix = name.replace("-", "_")
            assert row[f"{prefix}_hack_set"] == len(worse)
            per_token = [r["logprob"] / max(r["tokens"], 1) for r in found]
            assert [r["logprob_per_token"] for r in found] == pytest.approx(per_token)
            assert row["golden_logprob"] == pytest.approx(per_token[0], abs=1e-4)
            assert row["golden_reward"] == pytest.approx(
                (golden["rewards"][0] - spread.mean) / spread.std, abs=1e-4
            )
            eps = [max(r["rewards"][0] - golden["rewards"][0], 0) / spread.std for r in worse]
            assert [r["misjudgement"] for r in worse] == pytest.approx(eps)
            assert golden["misjudgement"] == 0
            counts = [r["count"] for r in worse]
            if name == "on-policy":
                seam = sum(c * e for c, e in zip(counts, eps, strict=True)) / 6
            else:
                assert set(counts) == {1}
                weights = np.exp(per_token[1:])
                seam = float(weights @ np.array(eps) / weights.sum())
            assert row[f"{prefix}_seam_prob"] == pytest.approx(seam)
            paper = sum(-p * e for p, e in zip(per_token[1:], eps, strict=True))
            assert row[f"{prefix}_seam_paper"] == pytest.approx(paper)
            if worse:
                weights = counts if name == "on-policy" else np.exp(per_token[1:])
                first = max(range(len(worse)), key=lambda i: (weights[i] * eps[i], -i))
                if eps[first] > 0:
                    assert row[f"{prefix}_worst_response"] == worse[first]["response"]


def test_the_same_again_and_resumed(
    tables: tuple[Dataset, Rows], seeds: Rows, work: Path, tmp_path: Path
) -> None:
    def again(folder: Path) -> Dataset:
        return score(seeds, estimator=ESTIMATORS, samples=6, settings=SETTINGS, work=folder)

    for stage in ("score-on-policy", "score-adversarial"):  # what a killed run had not yet written
        (work / "stages" / stage / "00001.parquet").unlink()
    assert again(work).to_list() == again(tmp_path / "new").to_list() == tables[0].to_list()
    for part in (tmp_path / "new" / "stages").rglob("*.parquet"):
        assert part.read_bytes() == (work / part.relative_to(tmp_path / "new")).read_bytes()


def test_more_estimators_leave_the_first_one_s_scores_alone(
    tables: tuple[Dataset, Rows], seeds: Rows
) -> None:
    alone = score(seeds, estimator="on-policy", samples=6, settings=SETTINGS)
    assert alone.to_list() == tables[0].select_columns(alone.column_names).to_list()


def test_the_weighting_decides_what_seam_is(tables: tuple[Dataset, Rows], seeds: Rows) -> None:
    paper = score(seeds, samples=6, settings=SETTINGS, weighting="paper")
    assert list(paper["seam"]) == list(paper["contrast_seam_paper"])
    assert list(paper["seam_low"]) == list(paper["contrast_low"])
    for row in paper:
        assert row["seam_low"] <= row["seam"] + 1e-9
        assert row["seam"] <= row["seam_high"] + 1e-9


def test_a_reward_model_twice_is_that_model(seeds: Rows, tmp_path: Path) -> None:
    estimators = ["contrast", "adversarial"]
    once, twice = (
        score(
            seeds,
            reward=reward,
            estimator=estimators,
            samples=6,
            settings=SETTINGS,
            responses=tmp_path / f"{len(reward)}.parquet",
        )
        for reward in (["embedded"], ["embedded", "embedded"])
    )
    assert twice.to_list() == once.to_list()
    assert {len(rewards) for rewards in pq.read_table(tmp_path / "2.parquet")["rewards"]} == {2}


def test_several_reward_models_differ_from_one(seeds: Rows, saved: Callable[..., str]) -> None:
    other = saved("llama", "reward", max_position_embeddings=2048)
    one = score(seeds[:12], samples=6, settings=SETTINGS)
    both = score(seeds[:12], reward=["embedded", other], samples=6, settings=SETTINGS)
    turned = score(seeds[:12], reward=[other, "embedded"], samples=6, settings=SETTINGS)
    assert list(both["seam"]) == pytest.approx(list(turned["seam"]))
    assert list(both["seam"]) != pytest.approx(list(one["seam"]))


def scored_set(kept: list[int], counts: list[int], draws: int) -> ScoredSet:
    n = len(counts)
    return ScoredSet(
        {
            "logprobs": [-1.0] * (1 + len(kept)),
            "tokens": [1] * (1 + len(kept)),
            "rewards": [[0.0, *[1.0] * len(kept)]],
            "kept": kept,
            "error": "",
            "worse": [f"text {i}" for i in range(n)],
            "kinds": [f"kind {i}" for i in range(n)],
            "verifiers": [f"by {i}" for i in range(n)],
            "verifier_scores": [float(i) for i in range(n)],
            "counts": counts,
            "draws": draws,
            "note": "",
        }
    )


def test_what_was_not_scored_leaves_no_trace() -> None:
    row = scored_set([0, 2], [1, 4, 2], 10)
    assert row.worse == ["text 0", "text 2"]
    assert row.kinds == ["kind 0", "kind 2"]
    assert row.evidence == [Evidence("by 0", 0.0), Evidence("by 2", 2.0)]
    assert row.counts.tolist() == [1, 2]
    assert row.draws == 6  # the four draws of text 1 say nothing either way
    unit = RewardScale((0.0,), (1.0,))
    assert row.discrepancy(unit).seam_prob == pytest.approx(3 / 6)
    assert row.worst(unit) == [1, 0]
    assert scored_set([0, 2], [1, 1, 1], 0).draws == 0


def test_which_empty_set_is_a_finding() -> None:
    """None worse among the draws is one; draws that no model could score are none."""
    worse_of = {"none worse": [], "none fits": ["long"], "one fits": ["long", "short"]}
    seeds = read_seeds(SeedsConfig(), [{"prompt": p, "golden": "g"} for p in worse_of])

    class Made:
        name = "on-policy"

        def __init__(self, draws: int) -> None:
            self.draws = draws

        def hack_sets(self, positions: range, batch: Any) -> list[HackSet]:
            sets = [HackSet(draws=self.draws) for _ in batch]
            for found, texts in zip(sets, worse_of.values(), strict=True):
                for text in texts:
                    found.add(text, "sampled", Evidence("checked"))
            return sets

    class Short:
        def score(self, sets: Any) -> list[SetScores]:
            kept = [[i for i, text in enumerate(s.worse) if text == "short"] for s in sets]
            n = [1 + len(k) for k in kept]
            return [
                SetScores([-1.0] * m, [1] * m, [[0.0] * m], k) for m, k in zip(n, kept, strict=True)
            ]

    def errors(draws: int) -> list[str]:
        table = _score_batch(range(3), seeds, Made(draws), Short())  # type: ignore[arg-type]
        for row in table.to_pylist():
            assert bool(row["rewards"]) == (not row["error"])
        return list(table["error"].to_pylist())

    nothing = "no worse response fits the models"
    assert errors(4) == ["", nothing, ""]
    assert errors(0) == [nothing, nothing, ""]


# --- reading scores back


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_every_format_reads_back(tmp_path: Path, suffix: str) -> None:
    rows = {
        "id": ["1234567890123456", "12e4567890123456", "0000000000000001", "00ff000000000000"],
        "golden": ['two\nlines, and "quotes"', "", "\r\n", "ünï"],
        "prompt": [[{"role": "user", "content": "a\nb"}]] * 4,
        "seam": [0.5, None, 0.0, 1e-300],
        "golden_logprob": [-math.inf, -1.0, None, -2.5],
        "error": [None, "too long: 9, or so", None, None],
    }
    path = tmp_path / f"scores{suffix}"
    write_table(Dataset.from_dict(rows), path)
    found = read_scores(path, "seam")
    assert list(found) == rows["id"]
    assert [v if v == v else None for v in found.values()] == rows["seam"]
    assert read_scores(path, "golden_logprob")[str(rows["id"][0])] == -math.inf
    for name in ("golden", "prompt"):
        with pytest.raises(InputError, match=f"column {name} does not hold numbers"):
            read_scores(path, name)
    with pytest.raises(InputError, match=r"no column contrast_seam; columns with SEAM: seam$"):
        read_scores(path, "contrast_seam")


def test_line_breaks_within_a_file_of_many_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seamaug.scoring.table._BLOCK", 500)
    n = 300
    golden = ["x\n" * (i % 40) for i in range(n)]
    ids = [f"{i:016x}" for i in range(n)]
    rows = {"id": ids, "golden": golden, "seam": [i / 7 for i in range(n)]}
    path = tmp_path / "scores.csv"
    write_table(Dataset.from_dict(rows), path)
    assert read_scores(path, "seam") == dict(zip(rows["id"], rows["seam"], strict=True))


def test_ids_of_digits_alone_stay_text(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    write_table(Dataset.from_dict({"id": ["0000000000000012"], "seam": [1.0]}), path)
    assert read_scores(path, "seam") == {"0000000000000012": 1.0}


def test_what_is_no_table_of_scores(tmp_path: Path) -> None:
    for name in ("missing.parquet", "scores.txt", "folder.csv"):
        if name == "folder.csv":
            (tmp_path / name).mkdir()
        with pytest.raises(InputError, match="no such file of scores; `seamaug score SEEDS"):
            read_scores(tmp_path / name, "seam")
    for suffix in ("parquet", "jsonl"):
        bad = tmp_path / f"bad.{suffix}"
        bad.write_text("{rubbish")
        with pytest.raises(InputError, match=r"cannot be read|is not a readable"):
            read_scores(bad, "seam")
    other = tmp_path / "prefs.jsonl"
    other.write_text(json.dumps({"prompt": "a", "chosen": "b"}) + "\n")
    with pytest.raises(InputError, match=r"no column id or seam; .* what `seamaug score` wrote"):
        read_scores(other, "seam")
    nothing = Dataset.from_dict({"id": ["a", "b"], "seam": [None, None]})
    with pytest.raises(InputError, match="the scores: column seam holds no number"):
        read_scores(nothing, "seam")


def test_rows_that_a_caller_filtered_out_are_gone() -> None:
    table = Dataset.from_dict({"id": ["a", "b", "c"], "seam": [1.0, 2.0, 3.0]})
    assert read_scores(table.filter(lambda row: row["seam"] != 2.0), "seam") == {"a": 1.0, "c": 3.0}
    assert list(read_scores(table.sort("seam", reverse=True), "seam")) == ["c", "b", "a"]
