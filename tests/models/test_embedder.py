"""The embedder: with which prompt it reads, and each text once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer
from tokenizers import AddedToken
from transformers import BertConfig, BertModel, ByT5Tokenizer

from seamaug.config import EmbedderConfig
from seamaug.errors import ModelError
from seamaug.models.embedder import Embedder
from seamaug.resources import resource
from tests.models.test_literal import KINDS, SPECIAL, trained
from tests.models.test_literal import TEXTS as UNTRUSTED

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


# --- control tokens


@pytest.fixture
def transformer(tmp_path: Path) -> Callable[[str], Embedder]:
    """An embedder with layers, and a tokenizer of one of the families."""

    def make(kind: str) -> Embedder:
        tokenizer = ByT5Tokenizer() if kind == "slow" else trained(kind)
        tokenizer.add_tokens([AddedToken(t, special=True) for t in SPECIAL], special_tokens=True)
        tokenizer.add_special_tokens({"pad_token": "<pad>"})
        tokenizer.save_pretrained(tmp_path)
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, initializer_range=0.5,
        )  # fmt: skip
        BertModel(config).save_pretrained(tmp_path)
        return Embedder(EmbedderConfig(name=str(tmp_path), device="cpu"))

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_in_a_text_are_text(
    kind: str, transformer: Callable[[str], Embedder], monkeypatch: pytest.MonkeyPatch
) -> None:
    embedder = transformer(kind)
    controls = set(embedder.model.tokenizer.convert_tokens_to_ids(SPECIAL))
    texts = [*UNTRUSTED, *SPECIAL, *(f"a {token}{token}<{token}b" for token in SPECIAL)]
    found: list[set[int]] = []
    preprocess = embedder.model[0].preprocess

    def seen(inputs: list[str], **how: Any) -> Any:
        features = preprocess(inputs, **how)
        found.extend(
            {int(i) for i in row[mask.bool()]}
            for row, mask in zip(features["input_ids"], features["attention_mask"], strict=True)
        )
        return features

    monkeypatch.setattr(embedder.model[0], "preprocess", seen)
    ends = _ends(embedder)
    found.clear()
    embedder.embed(texts)
    assert len(found) == len(set(texts))
    assert set().union(*found) & controls <= ends


def _ends(embedder: Embedder) -> set[int]:
    """What the tokenizer puts around every text."""
    tokenizer = embedder.model.tokenizer
    return set(tokenizer("a")["input_ids"]) - set(
        tokenizer("a", add_special_tokens=False)["input_ids"]
    )


@pytest.mark.parametrize("kind", ["bytes", "wordpiece", "unigram"])
def test_all_other_texts_keep_their_vectors(
    kind: str, transformer: Callable[[str], Embedder]
) -> None:
    embedder = transformer(kind)
    controls = [*SPECIAL, "<unk>", "[UNK]", "<pad>"]
    plain = [text for text in UNTRUSTED if not any(token in text for token in controls)]
    assert len(plain) > 20
    raw = embedder.model.encode_query(plain, batch_size=64, normalize_embeddings=True)
    assert np.array_equal(embedder.embed(plain), raw)
    marked = ["Say [SEP] to me", "Say </s> to me"]
    assert not np.allclose(
        embedder.embed(marked), embedder.model.encode_query(marked, normalize_embeddings=True)
    )


def test_control_tokens_of_static_embeddings() -> None:
    embedder = Embedder(EmbedderConfig())
    said, spelt, other = embedder.embed(["What is [UNK]?", "What is [ UNK]?", "What is UNK?"])
    assert np.array_equal(said, spelt)
    assert not np.array_equal(said, other)
    (raw,) = embedder.model.encode_query(["What is [UNK]?"], normalize_embeddings=True)
    assert not np.allclose(said, raw)
