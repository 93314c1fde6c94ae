"""Vectors of all seeds, in resumable parts."""

from functools import partial

import numpy as np
import pyarrow as pa

from seamaug.models.embedder import Embedder
from seamaug.run.folder import RunFolder
from seamaug.run.progress import progress
from seamaug.seeds import Seeds

STAGE = "embed"
_BATCH = 4096


def embed_seeds(
    run: RunFolder, seeds: Seeds, embedder: Embedder, *, quiet: bool = False
) -> np.ndarray:
    """Unit vectors of shape (seeds, dimensions), float32."""
    blocks = []
    with progress(STAGE, len(seeds), "seeds", quiet=quiet) as bar:
        for number, start in enumerate(range(0, len(seeds), _BATCH)):
            stop = min(start + _BATCH, len(seeds))
            resumed = run.has_part(STAGE, number)
            table = run.part(STAGE, number, partial(_embed, embedder, seeds, start, stop))
            flat = table["vector"].combine_chunks().flatten().to_numpy()
            blocks.append(flat.reshape(stop - start, -1))
            bar.advance(stop - start, resumed=resumed)
    return np.concatenate(blocks)


def _embed(embedder: Embedder, seeds: Seeds, start: int, stop: int) -> pa.Table:
    vectors = embedder.embed(seeds.texts(start, stop))
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    return pa.table({"vector": column})
