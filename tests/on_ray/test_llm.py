"""The LLM on a Ray cluster: the replies that this process has, whatever dies on the way."""

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from seamaug import api
from seamaug.config import GeneratorConfig, load_config
from seamaug.errors import ConfigError, ModelError
from seamaug.models.engines import Leave, Request
from seamaug.models.generator import TransformersGenerator
from seamaug.on_ray.cluster import Pool, RayCluster, _fit, _Node
from seamaug.on_ray.generator import RayGenerator, groups_of
from seamaug.on_ray.workers import Workers
from seamaug.records import user_message
from tests.models.faulty_server import MODEL, FaultyServer
from tests.on_ray.conftest import KEY_NAME, loads_nothing, until

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'seamaug[ray]'")

Generator = Callable[..., RayGenerator]


@pytest.fixture
def own(saved: Callable[..., str]) -> GeneratorConfig:
    return GeneratorConfig(name=saved("llama", "causal"), dtype="float32")


@pytest.fixture
def on_ray(cluster: Any, own: GeneratorConfig) -> Iterator[Generator]:
    begun = []

    def start(name: str = own.name, **settings: Any) -> RayGenerator:
        named = {f"ray.{name}": value for name, value in settings.items()}
        cluster = RayCluster(load_config(None, named).ray)
        begun.append(cluster)
        workers = Workers(cluster, "generate", cluster.pool("generate"))
        return RayGenerator(workers, own.model_copy(update={"name": name}))

    yield start
    for one in begun:
        one.close()


def requests(count: int) -> list[Request]:
    """Of two kinds, by turns."""
    return [Request("op", user_message(f"prompt {i}"), i, 4 + i % 2, 0.8) for i in range(count)]


TWO = {"generate.num_cpus": 0.5, "generate.concurrency": 2}


def test_its_replies_are_those_of_this_process(on_ray: Generator, own: GeneratorConfig) -> None:
    here, there = TransformersGenerator(own), on_ray(**TWO)
    asked = requests(150)
    found = dict(there.stream(asked))
    assert found == dict(here.stream(asked))
    assert len({reply.text for reply in found.values()}) > 100
    assert (there.structured, there.paid, there.mark, there.max_length) == (
        here.structured, here.paid, here.mark, here.max_length,
    )  # fmt: skip


def test_no_more_is_begun_where_a_limit_is_reached(on_ray: Generator) -> None:
    limit = iter([True, False])
    found = dict(on_ray().stream(requests(300), Leave(lambda _: next(limit, False))))
    assert list(found) == list(range(0, 128, 2))  # one batch of one kind


def test_a_worker_that_dies_is_started_anew_and_every_request_has_one_reply(
    on_ray: Generator, own: GeneratorConfig
) -> None:
    generator, asked = on_ray(), requests(200)
    arriving = generator.stream(asked)
    found = list(islice(arriving, 1))
    for worker in generator._workers._there:
        ray.kill(worker, no_restart=False)
    found += arriving
    assert sorted(position for position, _ in found) == list(range(200))
    assert dict(found) == dict(TransformersGenerator(own).stream(asked))


def test_one_that_always_dies_ends_the_run_with_what_to_do(on_ray: Generator) -> None:
    generator = on_ray(restarts=0)
    arriving = generator.stream(requests(200))
    next(arriving)
    for worker in generator._workers._there:
        ray.kill(worker)
    with pytest.raises(ModelError, match=r"(?s)workers of stage generate failed.*resumes"):
        list(arriving)


def test_a_node_that_is_lost_takes_nothing_along(
    cluster: Any, add_node: Callable[..., Any], on_ray: Generator
) -> None:
    """The worker on the other node goes on, and no other is waited for."""
    lost = add_node(num_cpus=2)
    generator = on_ray(**{"generate.num_cpus": 2, "generate.concurrency": 2})
    arriving = generator.stream(requests(300))
    found = list(islice(arriving, 1))
    cluster.remove_node(lost, allow_graceful=False)
    found += arriving
    assert sorted(position for position, _ in found) == list(range(300))
    assert [len(generator._workers._there), len(generator._workers._coming)] == [1, 1]


def test_where_no_other_node_has_room_that_is_an_error(
    cluster: Any, add_node: Callable[..., Any], on_ray: Generator
) -> None:
    lost, before = add_node(num_cpus=3), len(cluster.list_all_nodes())
    workers = on_ray(**{"generate.num_cpus": 3})._workers
    cluster.remove_node(lost, allow_graceful=False)
    assert until(lambda: sum(node["Alive"] for node in ray.nodes()) < before)
    with pytest.raises(ConfigError, match=r"`ray.generate.num_cpus: 3`: no node .* has so many"):
        workers._replace(workers._there[0], None)


@pytest.mark.parametrize(("count", "sizes"), [(0, []), (1, [1]), (5, [3, 2])])
def test_vllm_is_given_an_even_share_for_each_worker(count: int, sizes: list[int]) -> None:
    groups = groups_of(requests(count), "vllm", workers=2)
    assert [len(group) for group in groups] == sizes
    assert [i for group in groups for i in group] == list(range(count))


def test_workers_leave_their_room_to_others_and_after_the_run_to_all(
    add_node: Callable[..., Any], on_ray: Generator
) -> None:
    add_node(num_cpus=7)
    settings = {"generate.num_cpus": 7}  # all of this node, whatever is left on the others

    def taken() -> bool:
        return bool(ray.available_resources().get("CPU", 0) < 7)

    generator = on_ray(**settings)
    cluster = generator._workers._cluster
    for end in (cluster.clear, cluster.close):
        list(generator.stream(requests(1)))
        assert until(taken)
        end()
        assert until(lambda: not taken())


def test_what_does_not_load_there_is_named_here(on_ray: Generator, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="generator model: there is no folder"):
        on_ray(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"generate.num_cpus": 3}, "`ray.generate.num_cpus: 3`: no node .* the largest has 2"),
        ({"generate.concurrency": 3}, "has room for 2 workers .*, not for 3"),
        ({"generate.num_gpus": 0.5}, "no node of the Ray cluster has so many, the largest has 0"),
    ],
)
def test_what_leaves_no_room_is_refused(
    settings: dict[str, Any], message: str, on_ray: Generator
) -> None:
    with pytest.raises(ConfigError, match=message):
        on_ray(**settings)


def test_a_run_on_the_cluster_writes_what_a_run_here_writes(
    tmp_path: Path,
    cluster: Any,
    own: GeneratorConfig,
    saved: Callable[..., str],
    bundled: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = {
        "policy.dtype": "float32", "reward.dtype": "float32", "generator.dtype": "float32",
        "select.share": 0.5, "generate.operators": ["formal", "closing"],
        "generate.policy_samples": 0, "generator.max_new_tokens": 8, "keep.probes": 4,
        "keep.near": 1, "keep.variance_prompts": 1, "keep.variance_samples": 2,
    }  # fmt: skip
    made = {}
    for engine in ("local", "ray"):
        folder = tmp_path / engine
        result = api.expand(
            bundled(16),
            out=folder,
            budget=10,
            policy=saved("llama", "causal"),
            reward=saved("llama", "reward"),
            generator=own.name,
            settings={**settings, "engine": engine},
        )
        assert result.summary["generation"]["formal"]["requests"] > 0
        loads_nothing(monkeypatch)
        made[engine] = pq.read_table(folder / "provenance.parquet").to_pylist()
    assert made["ray"] == made["local"]


def test_neither_ray_s_logs_nor_the_run_hold_a_key(
    cluster: Any, tmp_path: Path, saved: Callable[..., str], bundled: Any
) -> None:
    """Workers ask a server for themselves, and Ray keeps what they say and raise."""
    key = os.environ[KEY_NAME]
    with FaultyServer(fault=lambda prompt, attempt: f"401 {key} is wrong") as server:
        policy = {
            "engine": "server",
            "url": server.url,
            "served_name": MODEL,
            "api_key_env": KEY_NAME,
        }
        settings = {f"policy.{name}": value for name, value in policy.items()} | {"engine": "ray"}
        with pytest.raises(ModelError, match=r"401: \*\*\* is wrong"):
            api.score(
                bundled(12),
                work=tmp_path / "work",
                policy=saved("llama", "causal"),
                settings=settings,
            )
    assert server.keys == {f"Bearer {key}"}
    kept = [Path(cluster.head_node.get_session_dir_path()) / "logs", tmp_path]
    files = [path for folder in kept for path in folder.rglob("*") if path.is_file()]
    assert any(path.suffix == ".log" for path in files)
    for path in files:
        assert key.encode() not in path.read_bytes(), path


@pytest.mark.parametrize(
    ("node", "needs", "room"),
    [
        ({"CPU": 2}, (1, 0), 2),
        ({"CPU": 1}, (0.1, 0), 10),
        ({"CPU": 8, "GPU": 2}, (1, 0.6), 2),
        ({"CPU": 8, "GPU": 2}, (1, 0.25), 8),
        ({"CPU": 3, "GPU": 4}, (1, 2), 2),
        ({"CPU": 3}, (1, 1), 0),
    ],
)
def test_room_is_counted_as_ray_places(
    node: dict[str, float], needs: tuple[float, float], room: int
) -> None:
    assert _Node(node).room(*needs) == room


def test_room_is_what_others_leave() -> None:
    node = _Node({"CPU": 4, "GPU": 2})
    assert node.place(1, 1.0)
    assert node.place(1, 0.5)
    assert not node.place(1, 1.0)
    assert node.room(0.5, 0.5) == 1


@pytest.mark.parametrize(
    ("nodes", "fits"), [([2, 1], True), ([1, 2], True), ([2, 0.5], False), ([3], True)]
)
def test_what_is_there_together_is_placed_the_largest_first(nodes: list[float], fits: bool) -> None:
    there = [_Node({"CPU": cpus}) for cpus in nodes]
    assert _fit(there, [Pool(1, 1, 0), Pool(1, 2, 0)]) == fits
