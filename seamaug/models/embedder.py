"""The embedder: unit vectors for prompts, through sentence-transformers."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seamaug.clock import clock
from seamaug.config import EmbedderConfig
from seamaug.errors import ModelError
from seamaug.models.loading import LOADING_ERRORS, device_of, locate, only_safetensors


class Embedder:
    """Any sentence-transformers model; vectors are normalised, so dot product is cosine."""

    def __init__(self, config: EmbedderConfig) -> None:
        from sentence_transformers import SentenceTransformer

        self.config = config
        path = Path(locate(config, "embedder"))
        pickled = sorted(path.rglob("*.bin"))
        if pickled and not config.allow_pickle:
            raise ModelError(
                f"embedder {config.name!r}: {pickled[0].name} is a pickle; convert the weights to "
                "safetensors with save_pretrained, or give --allow-pickle"
            )
        logging.getLogger("sentence_transformers").setLevel(logging.WARNING)
        try:
            self.model = SentenceTransformer(
                locate(config, "embedder"),
                revision=config.revision,
                trust_remote_code=config.trust_remote_code,
                device=str(device_of(config)),
                model_kwargs={"use_safetensors": only_safetensors(config)},
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
        self._controls = _starts_of_control_tokens(getattr(self.model, "tokenizer", None))

    @property
    def device(self) -> str:
        """What it computes on, such as `cpu`."""
        return str(self.model.device.type)

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors of shape (texts, dimensions), float32; equal texts are embedded once.

        All texts are embedded as queries: by the way that an asymmetric model has for them, and
        after its prompt for them, unless the config names another. A control token that stands in a
        text, such as `[SEP]`, is read as text: a space goes behind its first character.
        """
        rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        with clock.kind("embedder"):
            vectors = self.model.encode_query(
                [self._controls.sub(r"\g<0> ", text) for text in rows],
                prompt_name=self._prompt_name,
                prompt=self.config.prompt,
                batch_size=self.config.batch_size,
                normalize_embeddings=True,
                convert_to_numpy=True,
                show_progress_bar=False,
            )
        return np.asarray(vectors, np.float32)[[rows[text] for text in texts]]


def _starts_of_control_tokens(tokenizer: Any) -> re.Pattern[str]:
    """First characters of a tokenizer's control tokens, where these stand in a text.

    models/literal.py leaves no trace in the ids; it needs them before they reach the model, and a
    sentence-transformers model tokenises by itself. Which piece of text `[` and `SEP]` come to is
    all the same to a cosine, and no tokenizer joins them over a space.
    """
    added = getattr(tokenizer, "added_tokens_decoder", None)
    if added is None and hasattr(tokenizer, "get_added_tokens_decoder"):
        added = tokenizer.get_added_tokens_decoder()  # static embeddings have the bare tokenizer
    tokens = {token.content for token in (added or {}).values() if token.special}
    tokens |= set(getattr(tokenizer, "all_special_tokens", ()))
    starts = [
        f"{re.escape(token[0])}(?={re.escape(token[1:])})" for token in sorted(tokens) if token[1:]
    ]
    return re.compile("|".join(starts) or r"(?!)")
