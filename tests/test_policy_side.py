"""The policy's side in a run: it moves what is foreseen, resumes, and is refused where unseen."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamaug import expand
from seamaug.config import KeepConfig, load_config
from seamaug.errors import ConfigError
from seamaug.keep.rules import keep_rule
from seamaug.policy_side import NEAR, PROBES, PolicySideMaker
from seamaug.records import Candidate
from seamaug.rescoring import Rescoring

SMALL = {
    "score.estimators": ["contrast"],
    "select.share": 0.3,
    "generate.batch_parents": 3,
    "generate.worse": ["given", "scored"],
    "generate.per_round": 3,
    "generate.rounds": 2,
    "generate.policy_max_new_tokens": 4,
    "keep.probes": 12,
    "keep.variance_prompts": 4,
    "keep.variance_samples": 2,
}
BUDGET = 12


@pytest.fixture(scope="module")
def seeds_file(tmp_path_factory: pytest.TempPathFactory, bundled: Any) -> Path:
    path = tmp_path_factory.mktemp("seeds") / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in bundled(24)), encoding="utf-8")
    return path


def run(seeds_file: Path, out: Path, **weight: float) -> Any:
    settings = SMALL | {f"keep.{name}": value for name, value in weight.items()}
    return expand(str(seeds_file), budget=BUDGET, out=out, settings=settings)


def candidates(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "stages/candidates").iterdir()}


def foreseen(result: Any) -> np.ndarray:
    rows = result.provenance.to_list()
    return np.array([row["predicted_reduction"] for row in rows], np.float64)


@pytest.fixture(scope="module")
def weighed(seeds_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(seeds_file, tmp_path_factory.mktemp("runs") / "one", policy_weight=1)


def test_without_weight_nothing_changes_and_with_it_what_is_foreseen(
    weighed: Any, seeds_file: Path, tmp_path: Path
) -> None:
    plain = run(seeds_file, tmp_path / "plain")
    none = run(seeds_file, tmp_path / "none", policy_weight=0)
    assert candidates(none.path) == candidates(plain.path)
    assert not (none.path / "stages" / PROBES).exists()
    with_policy, without = foreseen(weighed), foreseen(plain)
    assert np.isfinite(with_policy).any()
    assert not np.array_equal(with_policy, without, equal_nan=True)


def test_a_run_that_stopped_resumes_to_the_same_bytes(
    weighed: Any, seeds_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def stop(*given: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return cases(*given)

    cases = Rescoring.cases
    monkeypatch.setattr(Rescoring, "cases", stop)
    with pytest.raises(KeyboardInterrupt):
        run(seeds_file, tmp_path / "run", policy_weight=1)
    monkeypatch.undo()
    stages = tmp_path / "run" / "stages"
    assert len(candidates(tmp_path / "run")) == 1
    next((stages / NEAR).iterdir()).unlink()
    run(seeds_file, tmp_path / "run", policy_weight=1)
    assert candidates(tmp_path / "run") == candidates(weighed.path)


def test_both_sides_spread_alike_over_the_probes(
    seeds_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spreads = []

    def seen(maker: PolicySideMaker, run: Any, parents: Any, outlook: Any, **options: Any) -> Any:
        side = make(maker, run, parents, outlook, **options)
        probes = maker.watch.seeds.at(maker.watch.probe_positions(parents))
        steps = [
            Candidate("", parents[0].id, seed.prompt, seed.golden, "", "rule", "", [])
            for seed in probes
        ]
        spreads.append((np.std(side.falls(steps)), outlook.spread()))
        return side

    make = PolicySideMaker.make
    monkeypatch.setattr(PolicySideMaker, "make", seen)
    run(seeds_file, tmp_path / "run", policy_weight=2, local=0)
    [(policy, rewards)] = spreads
    assert policy == pytest.approx(2 * rewards, rel=1e-3)
    assert rewards > 0


@pytest.mark.parametrize("engine", ["server", "vllm"])
def test_an_engine_that_shows_no_hidden_states_is_refused(engine: str) -> None:
    url = {"policy.url": "http://127.0.0.1:1/v1"} if engine == "server" else {}
    settings = {"policy.name": "some/model", "policy.engine": engine, **url}
    load_config(None, settings)
    with pytest.raises(ConfigError, match=r"`keep.policy_weight` needs .*set `policy.engine: tra"):
        load_config(None, settings | {"keep.policy_weight": 1})


@pytest.mark.parametrize("rule", ["auto", "discrepant"])
def test_reward_models_that_show_no_features_are_refused(rule: str) -> None:
    with pytest.raises(ConfigError, match=r"`keep.policy_weight` adds"):
        keep_rule(KeepConfig(rule=rule, policy_weight=1), features=False)
    keep_rule(KeepConfig(rule=rule, policy_weight=1), features=True)
