"""The benchmark of keep rules: its measures say what they should, and a small run goes through."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.usefixtures("benchmarks")
def test_every_batch_is_half_new_and_half_old() -> None:
    from keeping.training import BATCH, batches

    new = [([1] * n, [1]) for n in range(1, 11)]
    old = [([2] * n, [2]) for n in range(1, 101)]
    made = batches(new, old, steps=20, rng=random.Random(0))
    assert len(made) == 20
    for batch in made:
        assert sum(row[1] == [1] for row in batch) == sum(row[1] == [2] for row in batch)
    seen = [len(row[0]) for batch in made for row in batch if row[1] == [1]]
    assert {seen.count(n) for n in range(1, 11)} == {20 * BATCH // 2 // len(new)}
    alone = batches([], old, steps=20, rng=random.Random(0))
    assert [len(batch) for batch in alone] == [BATCH] * 20


class Opinion:
    """A reward model that scores a set of responses by their places; golden is 0, given worse 1."""

    def __init__(self, score: Any, apart: float = 0.0) -> None:
        """`apart`: how far the scores of one prompt lie from those of the next."""
        self._score, self._apart = score, apart

    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        return [
            [float(self._score(place)) + self._apart * number for place in range(len(rows))]
            for number, rows in enumerate(sets)
        ]


@pytest.mark.usefixtures("benchmarks")
def test_measures_know_a_good_reward_model_from_a_bad_one(tmp_path: Path) -> None:
    from keeping import embedded
    from keeping.held_out import HeldOut

    scale = replace(embedded.FULL, samples=3, new_tokens=6, reward_steps=1)
    held_out = HeldOut(embedded.make_world(0, scale, tmp_path / "seed-0", seeds=24))
    good = held_out.measure(Opinion(lambda place: -place))[0]  # type: ignore[arg-type]
    assert (good["seam"], good["hack_rate"]) == (0, 0)
    assert (good["off_policy"], good["on_policy"]) == (1, 1)
    bad = held_out.measure(Opinion(lambda place: place))[0]  # type: ignore[arg-type]
    assert bad["seam"] > 0.5
    assert bad["hack_rate"] == 1
    assert bad["off_policy"] == 0
    assert bad["on_policy"] < 0.5  # a sample that passes for right may be above one that is wrong
    flat = held_out.measure(Opinion(lambda place: -(place > 1)))[0]  # type: ignore[arg-type]
    assert flat["variance"] == 0 < good["variance"]
    # What lies between prompts makes the unit of SEAM larger, and so SEAM less.
    far = held_out.measure(Opinion(lambda place: place, apart=100))[0]  # type: ignore[arg-type]
    assert far["seam"] < bad["seam"] / 10
    assert far["seam_in_spreads"] == pytest.approx(bad["seam_in_spreads"])


@pytest.mark.usefixtures("benchmarks")
def test_arms_are_compared_seed_by_seed() -> None:
    from keeping.results import interval, summary

    runs = [
        {"arms": {"none": {"seam": 3.0 + s}, "random": {"seam": 2.0 + s}, "a": {"seam": 1.0 + s}}}
        for s in (0.0, 5.0)
    ]
    found = summary(runs)["a"]
    assert found["removed_times_random"]["mean"] == 2
    assert found["seam"]["to_random"] == {"mean": -1, "low": -1, "high": -1}
    assert found["seam"]["low"] < 1 < 6 < found["seam"]["high"]
    assert interval([1.0]) == {"mean": 1, "low": None, "high": None}


def test_quick_run_trains_and_measures_the_arms(tmp_path: Path) -> None:
    out = tmp_path / "keep.json"
    command = [str(BENCHMARKS / "keep.py"), "--quick", "--out", str(out), "--setting", "planted"]
    command += ["--arms", "discrepant", "lookahead + guard", "lookahead + PM", "West-of-N"]
    done = subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(out.read_text(encoding="utf-8"))["settings"]["planted"]
    [run] = result["runs"]
    assert run["arms"].keys() == {"none", "random", *command[-4:]}
    assert len({own["steps"] for own in run["arms"].values()}) == 1
    rows = {arm: own["rows"] for arm, own in run["arms"].items()}
    assert rows["random"] == rows["discrepant"] >= rows["lookahead + guard"] > 0
    assert run["arms"]["random"]["seam"] != run["arms"]["none"]["seam"]
    assert len(run["batches"]["parents"]["held_out"]) > 0
