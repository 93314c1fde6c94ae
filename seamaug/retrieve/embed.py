"""Vectors of all seeds, streamed to a memory-mapped file: they are never in memory as a whole.

A text that occurs twice is embedded once, by content. There is no cache across runs: a text that is
embedded in another batch differs in its last bits, and the same inputs must give the same bytes.
"""

from pathlib import Path

import numpy as np

from seamaug.log import logger
from seamaug.models.embedder import Embedder
from seamaug.records import text_key
from seamaug.retrieve.vectors import GrowingVectors, open_vectors
from seamaug.run.folder import RunFolder
from seamaug.run.progress import progress
from seamaug.seeds import Seeds

STAGE = "embed"
_BATCH = 4096


def embed_seeds(
    run: RunFolder,
    seeds: Seeds,
    embedder: Embedder,
    dtype: str = "float32",
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
        for start in range(sound, len(seeds), _BATCH):
            sources = first[start : start + _BATCH]
            file.put(start, _vectors(seeds, embedder, start, sources, file))
            bar.advance(len(sources))
        file.finish()
    return open_vectors(path)


def _first_of_its_text(seeds: Seeds) -> np.ndarray:
    """By position, the first position with the same text: prompts may differ in other turns."""
    keys = np.empty(len(seeds), np.uint64)
    for start in range(0, len(seeds), _BATCH):
        texts = seeds.texts(start, min(start + _BATCH, len(seeds)))
        keys[start : start + len(texts)] = [int(text_key(text), 16) for text in texts]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    return np.asarray(first[inverse])


def _vectors(
    seeds: Seeds, embedder: Embedder, start: int, sources: np.ndarray, file: GrowingVectors
) -> np.ndarray:
    """Vectors of the seeds from `start` on: embedded, or those of the source that came before."""
    new = sources >= start  # a repetition within the batch is the embedder's to find
    texts = seeds.texts(start, start + len(sources))
    if not new.any():
        return np.asarray(file.found()[sources])
    embedded = embedder.embed([text for text, is_new in zip(texts, new, strict=True) if is_new])
    vectors = np.empty((len(sources), embedded.shape[1]), np.float32)
    vectors[new] = embedded
    if not new.all():
        vectors[~new] = file.found()[sources[~new]]
    return vectors
