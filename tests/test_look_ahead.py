"""What a run stores to look ahead: seeds near to several parents are scored once."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from seamaug import expand
from seamaug.probes import NEAR, OutlookMaker

SMALL = {
    "score.estimators": ["contrast"],
    "select.share": 0.4,
    "generate.batch_parents": 3,
    "generate.worse": ["given", "scored"],
    "generate.policy_max_new_tokens": 4,
    "keep.probes": 8,
    "keep.near": 3,
    "keep.variance_prompts": 2,
    "keep.variance_samples": 2,
}


def run(seeds_file: Path, out: Path) -> list[list[dict[str, Any]]]:
    """The stored parts of what is near to the parents."""
    expand(str(seeds_file), budget=4, out=out, settings=SMALL)
    parts = sorted((out / "stages" / NEAR).glob("*.parquet"))
    return [pq.read_table(part).to_pylist() for part in parts]


@pytest.fixture(scope="module")
def seeds_file(tmp_path_factory: pytest.TempPathFactory, bundled: Any) -> Path:
    path = tmp_path_factory.mktemp("seeds") / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in bundled(24)), encoding="utf-8")
    return path


def test_a_seed_near_to_several_parents_is_scored_once_and_stored_with_each(
    seeds_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    rows = OutlookMaker._rows

    def counted(maker: OutlookMaker, positions: Sequence[int]) -> Any:
        scored.extend(positions)
        return rows(maker, positions)

    monkeypatch.setattr(OutlookMaker, "_rows", counted)
    parts = run(seeds_file, tmp_path / "run")
    near = scored[8:]  # the probes come first
    stored = [row for part in parts for row in part]
    positions = [row["position"] for row in stored]
    assert len(parts) > 2
    assert len(set(positions)) < len(positions)
    assert sorted(near) == sorted(set(positions))
    by_position: dict[int, bytes] = {}
    for row in stored:
        assert by_position.setdefault(row["position"], row["features"]) == row["features"]


def test_parts_are_the_same_when_a_run_goes_on(seeds_file: Path, tmp_path: Path) -> None:
    """A part that is gone is made anew, from those before it."""
    whole = run(seeds_file, tmp_path / "run")
    folder = tmp_path / "run" / "stages" / NEAR
    last = sorted(folder.glob("*.parquet"))[-1]
    before = last.read_bytes()
    last.unlink()
    for name in ("run.json", "README.md"):
        (tmp_path / "run" / name).unlink(missing_ok=True)
    assert run(seeds_file, tmp_path / "run") == whole
    assert last.read_bytes() == before
    features = np.frombuffer(whole[0][0]["features"], np.float32)
    assert np.isfinite(features).all()
