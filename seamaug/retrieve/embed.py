"""Vectors of all seeds, streamed to a memory-mapped file: they are never in memory as a whole.

A text that occurs twice is embedded once, by content; across runs cache.py finds vectors again.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from seamaug.log import logger
from seamaug.models.embedder import Embedder
from seamaug.records import text_key
from seamaug.retrieve.cache import VectorCache
from seamaug.retrieve.vectors import GrowingVectors, open_vectors
from seamaug.run.executor import Executor
from seamaug.run.folder import RunFolder
from seamaug.run.progress import progress
from seamaug.seeds import Seeds
from seamaug.seeds.repeats import first_of_each

STAGE = "embed"
_BATCH = 4096


def embed_seeds(
    run: RunFolder,
    seeds: Seeds,
    executor: Executor,
    dtype: str = "float32",
    cache: VectorCache | None = None,
    *,
    quiet: bool = False,
) -> np.ndarray:
    """Unit vectors of shape (seeds, dimensions) and this dtype, mapped from the run folder."""
    path: Path = run.stages / STAGE / "vectors.npy"
    with progress(STAGE, len(seeds), "seeds", quiet=quiet) as bar:
        file = GrowingVectors(path, len(seeds), np.dtype(dtype), _BATCH)
        sound = file.sound()
        bar.advance(sound, resumed=True)
        if path.exists():
            if sound == len(seeds):
                return open_vectors(path)
            logger.warning(f"{path} is damaged: it is made anew from row {sound:,} on")
            file.reopen()
        first = _first_of_its_text(seeds)
        starts = range(sound, len(seeds), _BATCH)
        new = [np.flatnonzero(first[i : i + _BATCH] >= i) + i for i in starts]
        work = partial(_embedding, seeds, cache)
        found = executor.map(STAGE, [own for own in new if len(own)], work)
        for start, own in zip(starts, new, strict=True):
            sources = first[start : start + _BATCH]
            file.put(start, _vectors(start, sources, next(found) if len(own) else None, file))
            bar.advance(len(sources))
        file.finish()
    return open_vectors(path)


def _first_of_its_text(seeds: Seeds) -> np.ndarray:
    """By position, the first position with the same text: prompts may differ in other turns."""
    keys = np.empty(len(seeds), np.uint64)
    for start in range(0, len(seeds), _BATCH):
        texts = seeds.texts(start, min(start + _BATCH, len(seeds)))
        keys[start : start + len(texts)] = [int(text_key(text), 16) for text in texts]
    return first_of_each(keys)


class _HasEmbedder(Protocol):
    @property
    def embedder(self) -> Embedder: ...


def _embedding(
    seeds: Seeds, cache: VectorCache | None, models: _HasEmbedder
) -> Callable[[np.ndarray], np.ndarray]:
    """What a worker does: vectors of the seeds at given positions."""

    def embed(positions: np.ndarray) -> np.ndarray:
        texts, embedder = seeds.texts_at(positions), models.embedder
        if cache is None:
            return embedder.embed(texts)
        return cache.vectors(texts, embedder.embed, embedder.device)

    return embed


def _vectors(
    start: int, sources: np.ndarray, embedded: np.ndarray | None, file: GrowingVectors
) -> np.ndarray:
    """Vectors of the seeds from `start` on: embedded, or those of the source that came before."""
    new = sources >= start  # a repetition within the batch is the embedder's to find
    if embedded is None:
        return np.asarray(file.found()[sources])
    vectors = np.empty((len(sources), embedded.shape[1]), np.float32)
    vectors[new] = embedded
    if not new.all():
        vectors[~new] = file.found()[sources[~new]]
    return vectors
