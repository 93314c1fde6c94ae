"""Vectors on disk: those of the embedder, each text once, and the same bytes after any kill."""

import os
import shutil
import signal
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import seamaug.retrieve.embed as module
from seamaug import api
from seamaug.config import load_config
from seamaug.errors import ConfigError, RunFolderError
from seamaug.identity import embedder_mark
from seamaug.models.embedder import Embedder
from seamaug.resources import resource
from seamaug.retrieve.cache import VectorCache
from seamaug.retrieve.embed import embed_seeds
from seamaug.retrieve.vectors import open_vectors
from seamaug.run.executor import Local
from seamaug.run.folder import RunFolder
from seamaug.seeds import Seeds, read_seeds

BATCH = 8


class Counting(Embedder):
    """The real embedder; notes what it is given, and may be stopped after so many calls."""

    def __init__(self) -> None:
        super().__init__(load_config(None).embedder)
        self.given: list[str] = []
        self.stop: Callable[[], None] = lambda: None

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        self.stop()
        self.given += texts
        return super().embed(texts)


@pytest.fixture(scope="module")
def embedder() -> Counting:
    return Counting()


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch, embedder: Counting) -> None:
    monkeypatch.setattr(module, "_BATCH", BATCH)
    embedder.given, embedder.stop = [], lambda: None


@pytest.fixture(scope="module")
def rows(bundled: Callable[[int], list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [{"prompt": row["prompt"], "golden": row["chosen"]} for row in bundled(29)]


@pytest.fixture(scope="module")
def seeds(rows: list[dict[str, Any]]) -> Seeds:
    return read_seeds(load_config(None).seeds, rows)


def here(embedder: Embedder) -> Local:
    return Local(SimpleNamespace(embedder=embedder))


def folder(path: Path) -> RunFolder:
    return RunFolder(path, {"a": "test"})


def stored(path: Path) -> Path:
    return path / "stages" / "embed" / "vectors.npy"


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory, seeds: Seeds, embedder: Counting) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_BATCH", BATCH)
        path = tmp_path_factory.mktemp("whole") / "run"
        embed_seeds(folder(path), seeds, here(embedder), quiet=True)
    return path


@pytest.fixture(scope="module")
def whole(whole_run: Path) -> bytes:
    return stored(whole_run).read_bytes()


def test_they_are_the_embedders_in_order_and_mapped(
    tmp_path: Path, seeds: Seeds, embedder: Counting
) -> None:
    vectors = embed_seeds(folder(tmp_path / "run"), seeds, here(embedder), quiet=True)
    assert isinstance(vectors, np.memmap)
    assert (vectors.shape[0], vectors.dtype) == (len(seeds), np.float32)
    np.testing.assert_allclose(vectors, embedder.embed(seeds.texts(0, len(seeds))), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_float16_halves_the_file(
    tmp_path: Path, seeds: Seeds, embedder: Counting, whole: bytes
) -> None:
    vectors = embed_seeds(folder(tmp_path / "run"), seeds, here(embedder), "float16", quiet=True)
    assert vectors.dtype == np.float16
    assert len(stored(tmp_path / "run").read_bytes()) < 0.6 * len(whole)
    np.testing.assert_allclose(vectors, embedder.embed(seeds.texts(0, len(seeds))), atol=5e-4)


def test_a_finished_file_is_opened(tmp_path: Path, seeds: Seeds, embedder: Counting) -> None:
    first = embed_seeds(folder(tmp_path / "run"), seeds, here(embedder), quiet=True)
    embedder.given = []
    again = embed_seeds(folder(tmp_path / "run"), seeds, here(embedder), quiet=True)
    assert embedder.given == []
    np.testing.assert_array_equal(again, first)


def test_a_text_is_embedded_once_wherever_it_occurs_again(
    tmp_path: Path, embedder: Counting
) -> None:
    """Prompts that differ in a system or assistant turn only have one text."""
    places = [0, 1, 0, 2, 3, 1, 4, 5, 0, 6, 7, 2, 8, *range(8), 9]

    def prompt(row: int) -> list[dict[str, str]]:
        asked = {"role": "user", "content": f"What is the square of {places[row]}?"}
        return [{"role": "system", "content": f"Variant {row}"}, asked]

    rows = [{"prompt": prompt(row), "golden": "g"} for row in range(len(places))]
    seeds = read_seeds(load_config(None).seeds, rows)
    assert len(seeds) == len(places)
    vectors = embed_seeds(folder(tmp_path / "run"), seeds, here(embedder), quiet=True)
    texts = seeds.texts(0, len(seeds))
    within_batches = [dict.fromkeys(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)]
    assert sum(len(batch) for batch in within_batches) > 10  # some repeat across batches
    assert set(embedder.given) == set(texts)
    assert len(embedder.given) < len(texts)
    assert not set(embedder.given[BATCH:]) & set(texts[:BATCH])
    np.testing.assert_allclose(vectors, embedder.embed(texts), atol=1e-6)
    np.testing.assert_array_equal(vectors[0], vectors[8])


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_a_kill_left_the_bytes_are_the_same(
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
    seeds: Seeds,
    embedder: Counting,
    whole: bytes,
    whole_run: Path,
) -> None:
    """Any first part of the file and of its checksums, and any content of what was not synced."""
    size = data.draw(st.integers(0, len(whole)))
    run = folder(tmp_path_factory.mktemp("killed") / "run")
    partial = stored(run.path).with_suffix(".partial")
    partial.parent.mkdir()
    row = (len(whole) - 128) // len(seeds)
    rows = max(0, size - 128) // row
    sound = 128 + max(0, (rows - 1) // BATCH * BATCH) * row if rows else 0
    torn = size if data.draw(st.booleans()) or size < 128 else max(sound, 128)
    partial.write_bytes(whole[:torn] + bytes(size - torn))
    sums = stored(whole_run).with_suffix(".sha256").read_bytes()
    known = data.draw(st.integers(0, len(sums)))
    partial.with_suffix(".sha256").write_bytes(sums[:known])
    embed_seeds(run, seeds, here(embedder), quiet=True)
    assert stored(run.path).read_bytes() == whole
    assert not partial.exists()


def embed_until(calls: int, rows: list[dict[str, Any]], path: Path) -> None:
    """Embed and die after so many calls; runs in a process of its own."""
    module._BATCH = BATCH
    left = calls

    def stop() -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1

    embedder = Counting()
    embedder.stop = stop
    embed_seeds(folder(path), read_seeds(load_config(None).seeds, rows), here(embedder), quiet=True)


@pytest.mark.parametrize("calls", [0, 1, 3])
def test_killed_in_the_middle(
    tmp_path: Path,
    seeds: Seeds,
    rows: list[dict[str, Any]],
    embedder: Counting,
    whole: bytes,
    calls: int,
) -> None:
    # Not forked: the threads of torch do not live on in a fork, which may then hang.
    child = get_context("spawn").Process(target=embed_until, args=(calls, rows, tmp_path / "run"))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    embed_seeds(folder(tmp_path / "run"), seeds, here(embedder), quiet=True)
    assert stored(tmp_path / "run").read_bytes() == whole
    # All but the batch in flight.
    assert len(embedder.given) == len(seeds) - BATCH * calls


def test_an_unfinished_file_is_not_mixed_with_other_settings(
    tmp_path: Path, seeds: Seeds, embedder: Counting
) -> None:
    def stop() -> None:
        if embedder.given:
            raise KeyboardInterrupt

    embedder.stop = stop
    with pytest.raises(KeyboardInterrupt):
        embed_seeds(folder(tmp_path / "run"), seeds, here(embedder), quiet=True)
    with pytest.raises(RunFolderError, match="other settings"):
        RunFolder(tmp_path / "run", {"a": "other"})


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "vectors.npy"
    np.save(path, np.array([{"any": "object"}], dtype=object), allow_pickle=True)
    with pytest.raises(RunFolderError, match=r"vectors\.npy is missing or damaged"):
        open_vectors(path)


@pytest.mark.parametrize("place", [0, 9, 70, 200, 128 + 97 * 4 * BATCH, -1])
def test_a_flipped_bit_is_found_and_made_anew_from_there(
    tmp_path: Path,
    seeds: Seeds,
    embedder: Counting,
    whole: bytes,
    whole_run: Path,
    place: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    copied = Path(shutil.copytree(whole_run, tmp_path / "run"))
    content = bytearray(whole)
    content[place] ^= 4
    stored(copied).write_bytes(content)
    embed_seeds(folder(copied), seeds, here(embedder), quiet=True)
    assert f"{stored(copied)} is damaged" in caplog.text
    assert stored(copied).read_bytes() == whole
    sound = max(0, place % len(whole) - 128) // (97 * 4 * BATCH)
    assert len(embedder.given) == len(seeds) - BATCH * sound


def test_a_cut_file_is_made_anew(
    tmp_path: Path, seeds: Seeds, embedder: Counting, whole: bytes, whole_run: Path
) -> None:
    copied = Path(shutil.copytree(whole_run, tmp_path / "run"))
    stored(copied).write_bytes(whole[:200])
    embed_seeds(folder(copied), seeds, here(embedder), quiet=True)
    assert stored(copied).read_bytes() == whole


def cached(
    path: Path, rows: list[dict[str, Any]], embedder: Embedder, mark: str = "this model"
) -> bytes:
    """Vectors of a run of its own, with a cache beside it."""
    found, cache = folder(path / uuid4().hex), VectorCache(path / "cache", mark)
    own = read_seeds(load_config(None).seeds, rows)
    embed_seeds(found, own, here(embedder), "float32", cache, quiet=True)
    return stored(found.path).read_bytes()


def test_another_run_finds_vectors_and_embeds_what_is_new(
    tmp_path: Path, rows: list[dict[str, Any]], embedder: Counting, whole: bytes
) -> None:
    assert cached(tmp_path, rows[:20], embedder) != whole
    embedder.given = []
    assert cached(tmp_path, rows, embedder) == whole
    assert len(embedder.given) == len(rows) - 2 * BATCH  # whole batches are found again
    embedder.given = []
    assert cached(tmp_path, rows, embedder) == whole
    assert embedder.given == []
    cached(tmp_path, rows, embedder, mark="another model")
    assert len(embedder.given) == len(rows)


def test_a_damaged_file_of_the_cache_is_made_anew(
    tmp_path: Path,
    rows: list[dict[str, Any]],
    embedder: Counting,
    whole: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cached(tmp_path, rows, embedder)
    first, second, *_ = sorted((tmp_path / "cache").iterdir())
    content = bytearray(first.read_bytes())
    content[-40] ^= 1
    first.write_bytes(content)
    second.write_bytes(b"")
    embedder.given = []
    assert cached(tmp_path, rows, embedder) == whole
    assert 0 < len(embedder.given) <= 2 * BATCH
    assert all(f"{path} is damaged" in caplog.text for path in (first, second))
    embedder.given = []
    cached(tmp_path, rows, embedder)
    assert embedder.given == []


def test_a_run_can_do_without_its_cache(
    tmp_path: Path,
    rows: list[dict[str, Any]],
    embedder: Counting,
    whole: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / "cache").write_text("a file")
    assert cached(tmp_path, rows, embedder) == whole
    assert "cannot be written" in caplog.text


def test_the_cache_is_of_weights_and_settings_and_of_no_place(
    tmp_path: Path, bundled: Callable[[int], list[dict[str, Any]]]
) -> None:
    """As a run has it, from the config."""
    places = [
        resource("embedded", "embedder"),
        shutil.copytree(resource("embedded", "embedder"), tmp_path / "moved"),
    ]
    counts = []
    for number, (place, size) in enumerate(zip([*places, places[0]], (64, 64, 32), strict=True)):
        settings = {"embedder.cache": str(tmp_path / "cache"), "embedder.batch_size": size}
        api.score(
            bundled(BATCH),
            work=tmp_path / str(number),
            embedder=str(place),
            samples=2,
            settings=settings,
        )
        counts.append(len(list((tmp_path / "cache").iterdir())))
    assert counts == [1, 1, 2]
    with pytest.raises(ConfigError, match=r"embedder.cache.*not an address"):
        load_config(None, {"embedder.cache": "s3://bucket/cache"})


def test_each_device_has_vectors_of_its_own_and_the_folder_may_be_at_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    cache = VectorCache(Path("~/kept"), "a model")
    for number, device in enumerate(("cpu", "cuda", "cpu")):
        found = cache.vectors(["a text"], lambda _, n=number: np.full((1, 2), n), device)
        assert found[0, 0] == number % 2
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_weights_that_cannot_be_told_have_no_cache() -> None:
    config = load_config(None, {"embedder.name": "nobody/no-such-model"}).embedder
    with pytest.raises(ConfigError, match="which commit of 'nobody/no-such-model' is loaded"):
        embedder_mark(config, {"embedder": {"fingerprint": "of a name"}})
