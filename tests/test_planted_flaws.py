"""The benchmark with planted flaws runs, and SEAM finds what was planted."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.usefixtures("planted")
def test_golden_responses_are_right_and_exploits_wrong() -> None:
    from planted.plan import FLAWS, make_plan
    from planted.tasks import make_tasks

    rng = random.Random(1)
    tasks, plan = make_tasks(4, rng), make_plan(rng)
    for task in tasks:
        assert task.is_right(task.golden), task
        for kind in FLAWS:
            assert not task.is_right(plan.exploit(task, kind, rng)), (task, kind)


@pytest.mark.usefixtures("planted")
def test_auc_counts_pairs_and_halves_ties() -> None:
    from planted.measure import auc, resampled_aucs

    positive, negative = np.array([3.0, 1.0]), np.array([2.0, 1.0, 0.0])
    assert auc(positive, negative) == pytest.approx(4.5 / 6)
    cells = (["a", "b"], ["c", "d", "e"])
    drawn = resampled_aucs(positive, negative, cells, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(4.5 / 6, abs=0.03)
    assert ((drawn >= 0) & (drawn <= 1)).all()


def test_quick_run_finds_what_was_planted(tmp_path: Path) -> None:
    out = tmp_path / "results.json"
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / "planted_flaws.py"), "--quick", "--out", str(out)],
        env=os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(out.read_text(encoding="utf-8"))
    areas = {(row["method"], row["weighting"]): row for row in result["auc"]}
    assert len(areas) == len(result["auc"])
    assert all(0 <= row["all"] <= 1 and 0 <= row["hard"] <= 1 for row in areas.values())
    _planting_took(result["runs"][0]["policy"])
    assert areas["on-policy", "prob"]["all"] > 0.8  # 0.99, 0.98, 0.92 on seeds 0, 1, 2


def _planting_took(policy: dict[str, Any]) -> None:
    says = {group: own["says_exploit"] for group, own in policy.items()}
    assert says["flaw and exploit"] > says["flaw, no exploit"] + 0.15
    assert says["exploit, no flaw"] > says["neither"] + 0.15
