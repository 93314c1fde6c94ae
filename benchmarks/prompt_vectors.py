"""A million vectors of 384 dimensions with the structure of real text.

No model that gives 384 dimensions can be downloaded where this runs, and noise has no neighbours
to find. So real texts are taken: all distinct sentences of the prompts and responses of `--data`
(without it, of the bundled seeds), then pairs of adjacent sentences until there are enough. Their
vectors are latent semantic analysis: TF-IDF of words and word pairs, and its 384 largest singular
directions, scaled to length 1. Nothing is interpolated, repeated or perturbed.
"""

import argparse
import gzip
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from seamaug.resources import resource

DIMENSIONS = 384
_SENTENCE = re.compile(r"(?<=[.?!])\s+|\n+")
_FIT = 60_000  # texts that the directions are fitted on
_BLOCK = 50_000


def texts(data: Path | None, count: int) -> list[str]:
    """At most `count` distinct texts, shuffled: sentences first, then adjacent pairs."""
    found: dict[str, None] = {}
    for size in (1, 2):
        for sentences in _documents(data):
            for start in range(len(sentences) - size + 1):
                found.setdefault(" ".join(sentences[start : start + size]))
            if len(found) >= count:
                break
    chosen = np.array(list(itertools.islice(found, count)), object)
    return list(np.random.default_rng(0).permutation(chosen))


def _documents(data: Path | None) -> Iterator[list[str]]:
    """Sentences of 4 to 60 words of each prompt and response, in lower case."""
    folder = data or resource("embedded")
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for row in map(json.loads, lines):
                for key in ("prompt", "chosen", "rejected", "response"):
                    parts = [part.strip().lower() for part in _SENTENCE.split(row.get(key) or "")]
                    yield [part for part in parts if 4 <= len(part.split()) <= 60]


def embed(documents: list[str]) -> np.ndarray:
    """Unit vectors of shape (documents, 384), float32; texts without a known word are left out."""
    words = TfidfVectorizer(
        max_features=50_000, ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32
    )
    directions = TruncatedSVD(DIMENSIONS, n_iter=3, random_state=0)
    directions.fit(words.fit_transform(documents[:_FIT]))
    blocks = []
    for start in range(0, len(documents), _BLOCK):
        block = directions.transform(words.transform(documents[start : start + _BLOCK]))
        lengths = np.linalg.norm(block, axis=1, keepdims=True)
        blocks.append((block / np.maximum(lengths, 1e-9))[lengths[:, 0] > 1e-3].astype(np.float32))
    return np.concatenate(blocks)


def main() -> None:
    """Write the vectors to a file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    options = parser.parse_args()
    # A few texts have no known word.
    vectors = embed(texts(options.data, options.count + options.count // 100))
    np.save(options.out, vectors[: options.count])


if __name__ == "__main__":
    main()
