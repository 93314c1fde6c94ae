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
        if config.prompt_name and config.prompt_name not in self.model.prompts:
            raise ModelError(
                f"embedder {config.name!r} has no prompt named {config.prompt_name!r} "
                f"(`embedder.prompt_name`), but {', '.join(self.model.prompts) or 'none at all'}; "
                "`embedder.prompt` takes a text"
            )
        # Of an asymmetric model the prompt for queries; else what the model takes by default.
        own = "query" if self.model.prompts.get("query") else self.model.default_prompt_name
        self._prompt_name = config.prompt_name or own

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of shape (texts, dimensions), float32; equal texts are embedded once.

        All texts are embedded as queries: by the way that an asymmetric model has for them, and
        after its prompt for them, unless the config names another.
        """
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        with clock.kind("embedder"):
            vectors = self.model.encode_query(
                list(rows),
                prompt_name=self._prompt_name,
                prompt=self.config.prompt,
                batch_size=self.config.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return np.asarray(vectors, np.float32)[[rows[text] for text in texts]]
