"""Ray as the engine: the same bytes as here, whatever dies on the way; nodes of a real cluster."""

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from seamaug import api
from seamaug.config import RayConfig, load_config
from seamaug.errors import ConfigError, InputError, ModelError
from seamaug.on_ray.cluster import RayCluster
from seamaug.on_ray.executor import RayExecutor
from seamaug.run_models import Models

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'seamaug[ray]'")
from ray.cluster_utils import Cluster  # noqa: E402 - only where there is Ray

from tests.on_ray.conftest import loads_nothing, until  # noqa: E402

COUNT = 120
"""Seeds, each an item of its own."""


@pytest.fixture
def executor(cluster: Cluster) -> Callable[..., RayExecutor]:
    def start(**settings: Any) -> RayExecutor:
        named = {f"ray.{name}": value for name, value in settings.items()}
        return RayExecutor(RayCluster(load_config(None, named).ray), lambda: None)

    return start


def written(folder: Path) -> dict[str, bytes]:
    """What a run holds of its seeds, by file."""
    stages = folder / "stages"
    files = [*stages.glob("score-*/*.parquet"), stages / "embed" / "vectors.npy"]
    return {str(file.relative_to(stages)): file.read_bytes() for file in files}


def test_two_workers_write_the_bytes_that_this_process_writes(
    tmp_path: Path, cluster: Cluster, saved: Callable[..., str], bundled: Any
) -> None:
    settings = {"score.batch_seeds": 5, "policy.dtype": "float32", "reward.dtype": "float32"}
    rows = bundled(23)
    for engine in ("local", "ray"):
        api.score(
            rows,
            work=tmp_path / engine,
            policy=saved("llama", "causal"),
            reward=saved("llama", "reward"),
            estimator=["contrast", "on-policy"],
            samples=4,
            engine=engine,
            settings={**settings, "score.on_policy.max_new_tokens": 8},
        )
    found = written(tmp_path / "ray")
    assert len(found) == 2 * 5 + 1
    assert found == written(tmp_path / "local")


def test_a_run_begun_here_goes_on_there(
    tmp_path: Path, cluster: Cluster, saved: Callable[..., str], bundled: Any
) -> None:
    given = {"policy": saved("gpt2", "causal"), "reward": saved("gpt2", "reward"), "samples": 4}
    settings = {"score.batch_seeds": 4}
    whole = api.score(bundled(12), work=tmp_path / "run", settings=settings, **given)
    before = written(tmp_path / "run")
    (tmp_path / "run" / "stages" / "score-contrast" / "00001.parquet").unlink()
    again = api.score(bundled(12), work=tmp_path / "run", settings=settings, engine="ray", **given)
    assert written(tmp_path / "run") == before
    assert again.to_dict() == whole.to_dict()


def test_parents_and_scores_of_candidates_are_made_by_the_workers(
    tmp_path: Path,
    cluster: Cluster,
    saved: Callable[..., str],
    bundled: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {
        "policy.dtype": "float32", "reward.dtype": "float32", "select.share": 0.5,
        "generate.batch_parents": 3, "generate.policy_max_new_tokens": 6, "keep.probes": 4,
        "keep.near": 1, "keep.variance_prompts": 1, "keep.variance_samples": 2,
    }  # fmt: skip
    rows, made = bundled(16), {}
    for engine in ("local", "ray"):
        folder = tmp_path / engine
        api.expand(
            rows,
            out=folder,
            budget=10,
            policy=saved("llama", "causal"),
            reward=saved("llama", "reward"),
            settings={**settings, "engine": engine},
        )
        made[engine] = {path.name: path.read_bytes() for path in folder.glob("stages/parents/*")}
        made[engine] |= {"kept": (folder / "provenance.parquet").read_bytes()}
        loads_nothing(monkeypatch)
    sources = pq.read_table(tmp_path / "ray" / "stages" / "parents")["worse_sources"].to_pylist()
    assert any("policy" in own for own in sources)
    assert len(made["ray"]) == 4
    assert made["ray"] == made["local"]


def test_a_worker_that_dies_is_started_anew_and_nothing_is_lost_or_doubled(
    tmp_path: Path, executor: Callable[..., RayExecutor]
) -> None:
    died = tmp_path / "died"

    def dying(_: Any) -> Callable[[int], tuple[int, int]]:
        def work(item: int) -> tuple[int, int]:
            if item == 7 and not died.exists():
                died.touch()
                os._exit(1)
            return item, os.getpid()

        return work

    found = list(executor().map("score", range(30), dying))
    assert died.exists()
    assert [item for item, _ in found] == list(range(30))
    assert len({process for _, process in found}) >= 2


def test_a_worker_that_always_dies_ends_the_run_with_what_to_do(
    executor: Callable[..., RayExecutor],
) -> None:
    def dying(_: Any) -> Callable[[int], int]:
        return lambda item: os._exit(1) if item == 3 else item

    with pytest.raises(ModelError, match=r"(?s)workers of stage score failed.*resumes"):
        list(executor(restarts=1).map("score", range(6), dying))


def test_a_node_that_is_lost_takes_nothing_along(
    tmp_path: Path,
    cluster: Cluster,
    add_node: Callable[..., Any],
    executor: Callable[..., RayExecutor],
) -> None:
    lost = add_node(num_cpus=1, resources={"lost": 1})
    go_on = tmp_path / "go on"

    def slow(_: Any) -> Callable[[int], tuple[int, str]]:
        def work(item: int) -> tuple[int, str]:
            while item > 20 and not go_on.exists():
                time.sleep(0.05)
            return item, ray.get_runtime_context().get_node_id()

        return work

    found = []
    for item, node in executor().map("score", range(40), slow):
        found.append((item, node))
        if item == 8:
            cluster.remove_node(lost, allow_graceful=False)
            go_on.touch()
    assert [item for item, _ in found] == list(range(40))
    # Nor does it leave a worker behind.
    assert until(lambda: ray.available_resources().get("CPU") == 2)


def test_a_run_that_loses_a_node_writes_what_a_run_here_writes(
    tmp_path: Path,
    cluster: Cluster,
    add_node: Callable[..., Any],
    saved: Callable[..., str],
    bundled: Any,
) -> None:
    lost, left, parts = add_node(num_cpus=1), [], tmp_path / "ray" / "stages" / "score-contrast"

    def lose() -> None:
        """As soon as something is scored."""
        until(lambda: parts.is_dir() and any(parts.glob("*.parquet")))
        left.append(COUNT - len(list(parts.glob("*.parquet"))))
        cluster.remove_node(lost, allow_graceful=False)

    losing = threading.Thread(target=lose, daemon=True)
    losing.start()
    settings = {
        "policy.dtype": "float32", "reward.dtype": "float32", "score.batch_seeds": 1,
        "select.top": 4, "keep.probes": 4, "keep.near": 1, "keep.variance_prompts": 1,
        "keep.variance_samples": 2,
    }  # fmt: skip
    made = {}
    for engine in ("ray", "local"):
        folder = tmp_path / engine
        found = api.expand(
            bundled(COUNT),
            out=folder,
            budget=8,
            policy=saved("gpt2", "causal"),
            reward=saved("gpt2", "reward"),
            settings={**settings, "engine": engine},
        )
        kept = (folder / "provenance.parquet").read_bytes()
        made[engine] = {**written(folder), "kept": kept, "counts": found.summary["counts"]}
        losing.join()
    assert left[0] > 0, "all was scored before the node was lost"
    assert made["ray"] == made["local"]


def test_an_error_that_a_user_can_act_on_is_raised_as_it_is(
    executor: Callable[..., RayExecutor],
) -> None:
    def refusing(_: Any) -> Callable[[int], int]:
        def work(item: int) -> int:
            if item == 2:
                raise InputError("rows.jsonl:3: no such thing")
            return item

        return work

    results = executor().map("score", range(4), refusing)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(InputError, match=r"^rows\.jsonl:3: no such thing$") as raised:
        next(results)
    assert raised.tb  # which holds on to what was at work
    assert not [t for t in threading.enumerate() if t.name.startswith("StreamingExecutor")]


def test_a_model_that_a_worker_cannot_load_is_named(
    tmp_path: Path, executor: Callable[..., RayExecutor]
) -> None:
    def loading(models: Any) -> Callable[[int], int]:
        assert models.scorer
        return lambda item: item

    settings = {"policy.name": str(tmp_path / "nowhere")}
    own = load_config(None, settings)
    with pytest.raises(ModelError, match="policy model: there is no folder"):
        list(RayExecutor(RayCluster(own.ray), partial(Models, own)).map("score", range(2), loading))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"score.num_gpus": 0.5}, "no node of the Ray cluster has so many, the largest has 0"),
        ({"embed.num_cpus": 64}, "`ray.embed.num_cpus: 64`: no node .* the largest has 2"),
        ({"score.concurrency": 9}, "has room for 2 workers .*, not for 9"),
    ],
)
def test_what_no_node_has_is_refused_before_anything_waits_for_it(
    settings: dict[str, Any], message: str, executor: Callable[..., RayExecutor]
) -> None:
    with pytest.raises(ConfigError, match=message):
        executor(**settings)


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'seamaug\[ray\]'"):
        RayCluster(RayConfig())
