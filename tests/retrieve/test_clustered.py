"""The index with clusters: its recall, and that it is reopened, extended, redone or refused."""

import json
import os
import pickle
import signal
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

import seamaug.retrieve.clustered as clustered
import seamaug.retrieve.shards as shards
from seamaug.config import RetrieveConfig
from seamaug.errors import RunFolderError
from seamaug.retrieve.clustered import ClusteredIndex
from seamaug.retrieve.index import VectorIndex, open_index

IVF = RetrieveConfig(index="ivf")
SHARD = "index-00000.faiss"


def prompts(rows: int, seed: int = 0, dimensions: int = 17) -> np.ndarray:
    """Unit vectors around forty topics; an odd number of dimensions is the harder case."""
    topics = np.random.default_rng(0).normal(size=(40, dimensions))
    rng = np.random.default_rng(seed)
    vectors = topics[rng.integers(0, 40, rows)] + 0.5 * rng.normal(size=(rows, dimensions))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return prompts(1500)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, vectors: np.ndarray) -> Path:
    folder = tmp_path_factory.mktemp("index")
    open_index(vectors, IVF, folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def recall(index: VectorIndex, queries: np.ndarray, k: int) -> float:
    truth, _ = VectorIndex(index.vectors).search(queries, k)
    return float((index.search(queries, k)[0] >= truth[:, -1:] - 1e-6).mean())


@pytest.mark.parametrize("k", [1, 30, 124])
def test_recall_on_new_queries(built: Path, vectors: np.ndarray, k: int) -> None:
    index = open_index(vectors, IVF, built)
    assert recall(index, prompts(300, seed=1), k) >= 0.99


def test_it_looks_at_a_part_only_and_a_lower_recall_at_less(
    built: Path, vectors: np.ndarray, tmp_path: Path
) -> None:
    manifest = json.loads((built / "index.json").read_text())
    easy = tmp_path / "easy"
    open_index(vectors, RetrieveConfig(index="ivf", recall=0.7), easy)
    lower = json.loads((easy / "index.json").read_text())
    first, least = manifest["efforts"][0], lower["efforts"][0]
    assert first["candidates"] < len(vectors) / 2
    assert least["clusters"] * least["candidates"] < first["clusters"] * first["candidates"]
    assert (easy / SHARD).read_bytes() == (built / SHARD).read_bytes()


def test_cosines_are_those_of_the_vectors(built: Path, vectors: np.ndarray) -> None:
    cosines, positions = open_index(vectors, IVF, built).search(vectors[:50], 20)
    own = np.einsum("qd,qkd->qk", vectors[:50], vectors[positions])
    np.testing.assert_allclose(cosines, own, atol=1e-6)
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert (positions[:, 0] == np.arange(50)).all()


def test_far_reaches_and_outliers_are_searched_exactly(built: Path, vectors: np.ndarray) -> None:
    index = open_index(vectors, IVF, built)
    assert recall(index, vectors[:3], 1200) == 1
    # One cluster, and more wanted than it holds: the rest comes from exact search.
    assert index._clustered is not None
    index._clustered.efforts = [clustered.Effort(reach=512, clusters=1, candidates=512, recall=0)]
    cosines, positions = index.search(vectors[:20], 500)
    assert (positions >= 0).all()
    assert np.isfinite(cosines).all()


def test_reopened_gives_the_same_and_writes_nothing(
    built: Path, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(built)
    first = open_index(vectors, IVF, built).search(vectors[:40], 30)
    monkeypatch.setattr(shards, "trained", None)
    again = open_index(vectors, IVF, built).search(vectors[:40], 30)
    assert [a.tolist() for a in first] == [a.tolist() for a in again]
    assert contents(built) == before


def test_two_builds_have_the_same_bytes(built: Path, vectors: np.ndarray, tmp_path: Path) -> None:
    open_index(vectors, IVF, tmp_path)
    assert contents(tmp_path) == contents(built)


def test_appended_vectors_are_found(vectors: np.ndarray, tmp_path: Path) -> None:
    new = prompts(200, seed=2)
    open_index(vectors, IVF, tmp_path)
    index = open_index(np.concatenate([vectors, new]), IVF, tmp_path)
    assert index.search(new, 1)[1][:, 0].tolist() == list(range(1500, 1700))
    assert recall(index, prompts(300, seed=1), 30) >= 0.99
    assert json.loads((tmp_path / "index.json").read_text())["rows"] == 1700


@pytest.mark.parametrize("other", ["order", "fewer", "dimensions", "value"])
def test_an_index_of_other_vectors_is_refused(built: Path, vectors: np.ndarray, other: str) -> None:
    changed = {
        "order": vectors[::-1],
        "fewer": vectors[:-1],
        "dimensions": vectors[:, :-1],
        "value": np.where(np.arange(len(vectors))[:, None] == 1499, -vectors, vectors),
    }[other]
    with pytest.raises(RunFolderError, match=r"was built from other vectors.*delete"):
        open_index(np.ascontiguousarray(changed), IVF, built)


@pytest.mark.parametrize("name", [SHARD, "index.json"])
@pytest.mark.parametrize("damage", ["cut", "a bit"])
def test_a_damaged_index_is_named_and_built_anew(
    vectors: np.ndarray,
    built: Path,
    tmp_path: Path,
    name: str,
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for file, content in contents(built).items():
        if file == name:
            middle = len(content) // 2
            flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
            content = content[:50] if damage == "cut" else flipped
        (tmp_path / file).write_bytes(content)
    open_index(vectors, IVF, tmp_path)
    assert f"{tmp_path / name} is" in caplog.text
    assert "damaged" in caplog.text
    assert contents(tmp_path) == contents(built)


def build_until(moment: str, vectors: np.ndarray, folder: Path) -> None:
    """Build an index and die in a moment; runs in a process of its own."""
    left = int(moment[-1]) if moment.startswith("rename") else 1
    replace = Path.replace

    def die(*arguments: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*arguments)  # type: ignore[arg-type]

    if moment.startswith("rename"):
        Path.replace = die  # type: ignore[assignment,method-assign]
    else:
        setattr(ClusteredIndex if moment == "calibrate" else shards, moment, die)
    open_index(vectors, IVF, folder)


@pytest.mark.parametrize("moment", ["add", "calibrate", "rename 1", "rename 2", "rename 3"])
def test_a_killed_build_is_redone_to_the_same_bytes(
    vectors: np.ndarray, built: Path, tmp_path: Path, moment: str
) -> None:
    # Not forked: the threads of torch and faiss do not live on in a fork, which may then hang.
    child = get_context("spawn").Process(target=build_until, args=(moment, vectors, tmp_path))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    open_index(vectors, IVF, tmp_path)
    for name, content in contents(built).items():
        assert (tmp_path / name).read_bytes() == content


def test_noise_has_no_neighbours_to_find_so_search_is_exact(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clustered, "_FEW", 0)  # or 1,500 would count as soon searched in any way
    noise = np.random.default_rng(0).normal(size=(1500, 64)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    with caplog.at_level("WARNING", "seamaug"):
        index = open_index(noise, RetrieveConfig(index="ivf", recall=0.999), tmp_path)
    assert "does not reach a recall of 0.999" in caplog.text
    assert recall(index, noise[:20], 30) == 1


def test_float16_vectors(tmp_path: Path, vectors: np.ndarray) -> None:
    index = open_index(vectors.astype(np.float16), IVF, tmp_path)
    assert recall(index, prompts(300, seed=1), 30) >= 0.99


@pytest.fixture
def sharded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "_SHARD", 400)


@pytest.mark.usefixtures("sharded")
def test_shards_find_what_one_index_finds(built: Path, vectors: np.ndarray, tmp_path: Path) -> None:
    one, many = open_index(vectors, IVF, built), open_index(vectors, IVF, tmp_path)
    assert len(list(tmp_path.glob("*.faiss"))) == 4
    queries = prompts(300, seed=1)
    assert recall(many, queries, 30) >= 0.99
    same = one.search(queries, 30)[1] == many.search(queries, 30)[1]
    assert same.mean() > 0.99  # codes tie at the last candidates
    (restored,) = pickle.loads(pickle.dumps([many]))  # what a worker gets
    assert (restored.search(queries, 30)[1] == many.search(queries, 30)[1]).all()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="this system does not say")
def test_an_index_is_mapped_not_held(built: Path, vectors: np.ndarray) -> None:
    index = open_index(vectors, IVF, built)
    assert str(built / SHARD) in Path("/proc/self/maps").read_text()
    del index


@pytest.mark.usefixtures("sharded")
def test_what_is_added_fills_the_last_shard(vectors: np.ndarray, tmp_path: Path) -> None:
    open_index(vectors[:900], IVF, tmp_path)
    before = contents(tmp_path)
    index = open_index(vectors, IVF, tmp_path)
    after = contents(tmp_path)
    changed = [name for name in after if before.get(name) != after[name]]
    assert sorted(changed) == ["index-00002.faiss", "index-00003.faiss", "index.json"]
    assert index.search(vectors, 1)[1][:, 0].tolist() == list(range(1500))


@pytest.mark.usefixtures("sharded")
def test_shards_before_a_damaged_one_are_left_alone(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_index(vectors, IVF, tmp_path)
    before = contents(tmp_path)
    (tmp_path / "index-00002.faiss").write_bytes(b"no index")
    monkeypatch.setattr(shards, "trained", None)
    kept = (tmp_path / "index-00001.faiss").stat().st_ino
    open_index(vectors, IVF, tmp_path)
    assert contents(tmp_path) == before
    assert (tmp_path / "index-00001.faiss").stat().st_ino == kept


@pytest.mark.parametrize("renames", range(1, 6))
def test_a_build_killed_between_shards_goes_on(
    vectors: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    monkeypatch.setattr(shards, "_SHARD", 800)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    open_index(vectors, IVF, whole)
    replace, left = Path.replace, renames

    def stop(own: Path, target: Path) -> Path:
        nonlocal left
        left -= 1
        if not left:
            raise KeyboardInterrupt
        return replace(own, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(KeyboardInterrupt):
            open_index(vectors, IVF, cut)
    open_index(vectors, IVF, cut)
    assert contents(cut) == contents(whole)
