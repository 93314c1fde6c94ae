"""A few faults of each kind, as `make faults` does them by the hundred."""

import random
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.alike import unlike
from tests.faults.run import FAULTS, WITH_SERVER
from tests.faults.scene import Scene, Tried, parts_in, removed
from tests.faults.servers import Server, scene_with_server

FEW = {"kills": 4, "signals": 4, "full disk": 2, "memory": 2}
"""How often here; others once."""


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def scene(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("scene"))


@pytest.fixture(scope="module")
def with_server(
    one_thread: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Scene, Server]]:
    with scene_with_server(tmp_path_factory.mktemp("with-server")) as both:
        yield both


def survived(done: Iterator[Tried]) -> None:
    found = list(done)
    assert found
    assert not [one for one in found if one.problem]
    if all(one.skipped for one in found):
        pytest.skip(found[0].skipped)


@pytest.mark.parametrize("name", FAULTS)
def test_a_run_survives(name: str, scene: Scene) -> None:
    do, _ = FAULTS[name]
    survived(do(scene, random.Random(0), FEW.get(name, 1)))


def test_scores_of_other_rows_are_no_rounding(scene: Scene) -> None:
    """Where memory runs out, runs are compared within a tolerance."""
    assert not unlike(scene.whole, scene.whole, draws=True)
    with removed(scene.copy("swapped")) as out:
        path = parts_in(out, "score-contrast")[1]
        rows = pq.read_table(path).to_pylist()
        rows[0]["logprobs"], rows[1]["logprobs"] = rows[1]["logprobs"], rows[0]["logprobs"]
        pq.write_table(pa.Table.from_pylist(rows, pq.read_schema(path)), path)
        assert "[6].logprobs[0]: -" in unlike(out, scene.whole, draws=True)


@pytest.mark.parametrize("name", WITH_SERVER)
def test_a_run_with_an_llm_survives(name: str, with_server: tuple[Scene, Server]) -> None:
    ask, _ = WITH_SERVER[name]
    survived(ask(*with_server, random.Random(0), 1))
