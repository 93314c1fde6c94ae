"""Policy, reward models and judges that the process of a run asks of its workers."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seamaug.config import load_config
from seamaug.errors import ConfigError, ModelError
from seamaug.models.load import Loaders
from seamaug.models.reward import RewardModel
from seamaug.on_ray.cluster import RayCluster
from seamaug.on_ray.loaders import loaders
from seamaug.records import user_message
from seamaug.run_engine import models_of_run
from seamaug.scoring.scorer import ResponseSet, Scorer

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'seamaug[ray]'")

HERE = Loaders()
SETS = [
    ResponseSet(user_message(f"What is {i} plus {i}?"), str(2 * i), ["5", "I cannot say", "a" * i])
    for i in range(1, 8)
]


@pytest.fixture
def settings(saved: Callable[..., str]) -> dict[str, Any]:
    return {
        "engine": "ray",
        "policy.name": saved("llama", "causal"),
        "reward.name": saved("llama", "reward"),
        "policy.dtype": "float32",
        "reward.dtype": "float32",
    }


@pytest.fixture
def on_ray(cluster: Any, settings: dict[str, Any]) -> Iterator[Callable[..., Loaders]]:
    begun = []

    def start(*, writes: bool = False, **more: Any) -> Loaders:
        config = load_config(None, settings | {f"ray.{name}": own for name, own in more.items()})
        begun.append(RayCluster(config.ray))
        return loaders(begun[-1], config, writes=writes)

    yield start
    for one in begun:
        one.close()


def scores_of(load: Loaders, settings: dict[str, Any]) -> list[Any]:
    config = load_config(None, settings)
    return Scorer(load.policy(config.policy), [load.reward(config.reward)]).score(
        SETS, features=True
    )


def test_one_worker_scores_samples_and_votes_as_this_process_does(
    on_ray: Callable[..., Loaders], settings: dict[str, Any]
) -> None:
    config, there = load_config(None, settings), on_ray()
    for own, other in zip(scores_of(there, settings), scores_of(HERE, settings), strict=True):
        assert (own.logprobs, own.rewards) == (other.logprobs, other.rewards)
        assert np.array_equal(own.features, other.features)
    prompts = [item.prompt for item in SETS]
    drawn = [
        load.policy(config.policy).sample(prompts, n=3, seed=1, max_new_tokens=6)
        for load in (there, HERE)
    ]
    assert drawn[0] == drawn[1]
    voter, reward = there.voter(config.reward), RewardModel(config.reward)
    ids = [reward.conversation_ids(item.prompt, item.worse) for item in SETS]
    found = zip(voter.votes(ids), reward.votes(ids), strict=True)
    assert all(np.array_equal(own, other) for own, other in found)
    assert voter.rewards(ids) == reward.rewards(ids)


def test_two_workers_share_the_sets_and_either_may_die(
    on_ray: Callable[..., Loaders], settings: dict[str, Any]
) -> None:
    config = load_config(None, settings)
    there = on_ray(**{"rescore.concurrency": 2})
    scorer = Scorer(there.policy(config.policy), [there.reward(config.reward)])
    expected = scores_of(HERE, settings)
    for _ in range(2):
        for own, other in zip(scorer.score(SETS), expected, strict=True):
            assert own.logprobs == pytest.approx(other.logprobs, abs=1e-3)
            assert own.rewards[0] == pytest.approx(other.rewards[0], abs=1e-4)
        for worker in scorer.policy._workers._there:
            ray.kill(worker, no_restart=False)
    assert len(scorer.policy._workers._there) == 2
    assert scorer.score([]) == []


def test_a_model_that_does_not_load_there_is_named_here(
    tmp_path: Path, on_ray: Callable[..., Loaders], settings: dict[str, Any]
) -> None:
    whole, broken = Path(settings["policy.name"]), tmp_path / "broken"
    shutil.copytree(whole, broken, ignore=shutil.ignore_patterns("*.safetensors"))
    policy = load_config(None, settings | {"policy.name": str(broken)}).policy
    with pytest.raises(ModelError, match=f"policy model '{broken}'"):
        on_ray().policy(policy)


def test_there_must_be_room_for_both_the_llm_and_the_scorers(
    on_ray: Callable[..., Loaders],
) -> None:
    with pytest.raises(ConfigError, match=r"`ray.rescore`: .* beside the others of the run"):
        on_ray(writes=True, **{"generate.num_cpus": 2})
    on_ray(writes=False, **{"generate.num_cpus": 2})


def test_servers_take_no_worker(cluster: Any) -> None:
    server = {"engine": "server", "url": "http://127.0.0.1:1/v1"}
    roles = {f"{role}.{name}": own for role in ("policy", "reward") for name, own in server.items()}
    config = load_config(None, {**roles, "ray.rescore.num_cpus": 64})
    load = loaders(RayCluster(config.ray), config, writes=False)
    assert (load.policy, load.reward, load.voter) == (HERE.policy, HERE.reward, HERE.voter)
    needing = load_config(None, {"ray.rescore.num_cpus": 64})
    with pytest.raises(ConfigError, match="no node of the Ray cluster has so many"):
        loaders(RayCluster(needing.ray), needing, writes=False)


def test_a_judge_that_is_none_is_refused_before_the_cluster_is_asked() -> None:
    config = load_config(None, {"engine": "ray", "verify.worse.judges": ["nobody/no-such-model"]})
    with pytest.raises(ModelError, match="judge 'nobody/no-such-model'"), models_of_run(config):
        pass
