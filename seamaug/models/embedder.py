"""The embedder: unit vectors for prompts, through sentence-transformers."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seamaug.clock import clock
from seamaug.config import EmbedderConfig
from seamaug.errors import ModelError
from seamaug.models.loading import LOADING_ERRORS, device_of, locate


class Embedder:
    """Any sentence-transformers model; vectors are normalised, so dot product is cosine."""

    def __init__(self, config: EmbedderConfig) -> None:
        from sentence_transformers import SentenceTransformer

        self.config = config
        path = Path(locate(config, "embedder"))
        if pickled := sorted(path.rglob("*.bin")):
            raise ModelError(
                f"embedder {config.name!r}: {pickled[0].name} is a pickle; convert the weights to "
                "safetensors with save_pretrained"
            )
        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        try:
            self.model = SentenceTransformer(
                locate(config, "embedder"),
                revision=config.revision,
                trust_remote_code=config.trust_remote_code,
                device=str(device_of(config)),
                model_kwargs={"use_safetensors": True},
            )
        except LOADING_ERRORS as error:
            raise ModelError(f"embedder {config.name!r} cannot be loaded: {error}") from None

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of shape (texts, dimensions), float32."""
        with clock.kind("embedder"):
            vectors = self.model.encode(
                [self.config.prompt + text for text in texts],
                batch_size=self.config.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return np.ascontiguousarray(vectors, dtype=np.float32)
