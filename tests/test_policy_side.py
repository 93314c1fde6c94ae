"""The policy's side in a run: it moves what is foreseen, resumes, and is refused where unseen."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from seamaug import expand
from seamaug.config import KeepConfig, load_config
from seamaug.errors import ConfigError
from seamaug.keep.outlook import Outlook
from seamaug.keep.rules import keep_rule
from seamaug.models.policy import Policy
from seamaug.policy_side import NEAR, PROBES, PolicySide, PolicySideMaker
from seamaug.probes import OutlookMaker
from seamaug.records import Candidate, Parent, Seed
from seamaug.rescoring import Rescoring
from seamaug.scoring.seam import misjudgements, seam

SMALL = {
    "policy.dtype": "float32",
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


@dataclass(frozen=True)
class Made:
    """What a run of weight 2, half of it for what is near, looked ahead with."""

    watch: OutlookMaker
    parents: list[Parent]
    outlook: Outlook
    side: PolicySide


@pytest.fixture(scope="module")
def made(seeds_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    found = []

    def seen(maker: PolicySideMaker, run: Any, parents: Any, outlook: Any, **options: Any) -> Any:
        side = make(maker, run, parents, outlook, **options)
        found.append(Made(maker.watch, parents, outlook.copy(), side))
        return side

    make = PolicySideMaker.make
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PolicySideMaker, "make", seen)
        run(seeds_file, tmp_path_factory.mktemp("runs") / "two", policy_weight=2, local=0.5)
    return found[0]


def as_step(seed: Seed, parent: Parent) -> Candidate:
    return Candidate("", parent.id, seed.prompt, seed.golden, "", "rule", "", [])


def test_both_sides_spread_alike_over_the_probes(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    probes = made.watch.seeds.at(made.watch.probe_positions(made.parents))
    monkeypatch.setattr(made.side._step, "_local", 0.0)
    falls = made.side.falls([as_step(seed, made.parents[0]) for seed in probes])
    assert np.std(falls) == pytest.approx(2 * made.outlook.spread(), rel=1e-3)
    assert made.outlook.spread() > 0


def test_what_is_foreseen_is_what_a_step_does(made: Made) -> None:
    parent, watch = made.parents[0], made.watch
    near = [position for _, position in watch.near_positions([parent])]
    policy = cast(Policy, watch.policy)

    def ids(prompt: Any, texts: list[str]) -> tuple[list[int], list[list[int]]]:
        return policy.prompt_ids(prompt), policy.response_ids(texts)

    def mean_seam(positions: list[int]) -> float:
        seams = []
        for position in positions:
            row = watch.scores.main.row(position)
            worst = row.worst(watch.scores.scale)[: watch.config.keep.hack_set_size]
            eps = misjudgements(row.scores, watch.scores.scale)[worst]
            hack_set = ids(watch.seeds[position].prompt, [row.worse[i] for i in worst])
            [found] = policy.logprobs([hack_set])
            seams.append(seam(np.array([r.total / r.tokens for r in found]), eps, "prob"))
        return float(np.mean(seams))

    def watched() -> float:
        return (mean_seam(near) + mean_seam(watch.probe_positions(made.parents))) / 2

    seed = watch.seeds[parent.position]
    [[sketch]] = made.side._gradients.sketches([ids(seed.prompt, [seed.golden])])
    gradient = torch.from_numpy(sketch).reshape(128, 128)  # the bundled policy's width
    eta = 0.01 / float(gradient.norm())
    after = []
    for sign in (1, -1):
        with policy.model.base_model.register_forward_hook(add(sign * eta * gradient)):
            after.append(watched())
    actual = (after[1] - after[0]) / 2
    [foreseen] = made.side.falls([as_step(seed, parent)])
    assert foreseen / made.side._step._eta * eta == pytest.approx(actual, rel=0.02)


def add(weights: torch.Tensor) -> Any:
    """A hook that adds a linear layer behind the last hidden states."""

    def hook(_: Any, __: Any, output: Any) -> Any:
        output.last_hidden_state = output.last_hidden_state + output.last_hidden_state @ weights.T
        return output

    return hook


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
