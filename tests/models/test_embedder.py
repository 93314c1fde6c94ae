"""The embedder: with which prompt it reads, and each text once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer

from seamaug.config import EmbedderConfig
from seamaug.errors import ModelError
from seamaug.models.embedder import Embedder
from seamaug.resources import resource

TEXTS = ["How tall is Mont Blanc?", "Why is the sky blue?", "How tall is Mont Blanc?"]
PROMPTS = {"query": "search for: ", "document": "passage: ", "clustering": "group: "}


@pytest.fixture
def prompted(tmp_path: Path) -> Callable[..., str]:
    """Folder of the bundled embedder with prompts of its own."""

    def save(prompts: dict[str, str], default: str | None = None) -> str:
        model = SentenceTransformer(str(resource("embedded", "embedder")), device="cpu")
        model.prompts, model.default_prompt_name = prompts, default
        model.save_pretrained(str(tmp_path / "model"), create_model_card=False)
        return str(tmp_path / "model")

    return save


def plain(texts: list[str]) -> np.ndarray:
    return Embedder(EmbedderConfig(prompt="")).embed(texts)


def with_prompt(prompt: str) -> np.ndarray:
    return plain([prompt + text for text in TEXTS])


@pytest.mark.parametrize(
    ("own", "default", "settings", "prompt"),
    [
        (PROMPTS, None, {}, "search for: "),
        (PROMPTS, "clustering", {}, "search for: "),
        ({**PROMPTS, "query": ""}, "clustering", {}, "group: "),
        ({}, None, {}, ""),
        (PROMPTS, None, {"prompt_name": "clustering"}, "group: "),
        (PROMPTS, None, {"prompt": "about: "}, "about: "),
        (PROMPTS, "clustering", {"prompt": ""}, ""),
    ],
)
def test_the_prompt(
    prompted: Callable[..., str],
    own: dict[str, str],
    default: str | None,
    settings: dict[str, Any],
    prompt: str,
) -> None:
    vectors = Embedder(EmbedderConfig(name=prompted(own, default), **settings)).embed(TEXTS)
    np.testing.assert_allclose(vectors, with_prompt(prompt), atol=1e-6)


def test_a_prompt_that_the_model_lacks_is_named_with_those_it_has(
    prompted: Callable[..., str],
) -> None:
    config = EmbedderConfig(name=prompted(PROMPTS), prompt_name="question")
    with pytest.raises(
        ModelError, match=r"no prompt named 'question'.*query, document, clustering"
    ):
        Embedder(config)


def test_a_text_and_a_name_are_one_too_many() -> None:
    with pytest.raises(ValidationError, match="give `prompt` or `prompt_name`, not both"):
        EmbedderConfig(prompt="a", prompt_name="query")


def test_equal_texts_are_embedded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    embedder = Embedder(EmbedderConfig())
    given: list[str] = []
    encode = embedder.model.encode_query
    monkeypatch.setattr(
        embedder.model,
        "encode_query",
        lambda texts, **how: (given.extend(texts), encode(texts, **how))[1],
    )
    vectors = embedder.embed(TEXTS)
    assert given == TEXTS[:2]
    assert vectors[0].tolist() == vectors[2].tolist() != vectors[1].tolist()
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
