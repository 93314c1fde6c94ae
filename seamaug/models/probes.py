"""What a model's config and a few short passes tell about how it reads, with no list of names."""

from collections.abc import Iterator
from typing import Any

import torch

NO_LIMIT = 1 << 30
_ROPES_BY_LENGTH = ("dynamic", "longrope")
"""Kinds of rotary positions whose frequencies follow the longest sequence of a batch."""


def exact_up_to(config: Any) -> int:
    """Tokens up to which a text config's attention is plain: all that came before, near and far.

    A config may name a window that no layer uses; it then costs speed only.
    """
    known = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    if depends_on_longest(config):
        places = [vars(config), *_ropes(config)]
        known += [place.get("original_max_position_embeddings") for place in places]
        known.append(config.max_position_embeddings)
    return min((int(limit) for limit in known if limit), default=NO_LIMIT)


def depends_on_longest(config: Any) -> bool:
    """Whether what a sequence gives depends on the longest one beside it in a padded batch."""
    kinds = [str(rope.get("rope_type", rope.get("type"))) for rope in _ropes(config)]
    return any(name in kind for kind in kinds for name in _ROPES_BY_LENGTH)


def follows_the_longest(config: Any) -> bool:
    """Whether what a sequence gives depends on the longest one that was ever read."""
    return any("dynamic" in str(rope.get("rope_type", rope.get("type"))) for rope in _ropes(config))


def _ropes(config: Any) -> Iterator[dict[str, Any]]:
    """Settings of rotary positions: one set, or one for each kind of layer."""
    found = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if isinstance(found, dict):
        yield found
        yield from (value for value in found.values() if isinstance(value, dict))


def sees_what_follows(model: Any) -> bool:
    """Whether later tokens change a causal model's logits: then it gives no log P of a text.

    Both rows have one shape, so that any precision gives the same numbers unless they do.
    """
    return _differ(model, _probe(model, 0), _probe(model, 5))


def padding_shows(model: Any) -> bool:
    """Whether a causal model's logits depend on how long its row is padded (ProphetNet, Doge)."""
    whole = _probe(model, 0)
    return depends_on_longest(model.config.get_text_config()) or _differ(model, whole, whole[:6])


def _probe(model: Any, change: int) -> list[int]:
    """Token ids, of which those after the sixth may be changed."""
    vocabulary = model.config.get_text_config().vocab_size
    return [(7 * i + 3 + (i > 5) * change) % vocabulary for i in range(12)]


def _differ(model: Any, *rows: list[int]) -> bool:
    first, second = (
        model(input_ids=torch.tensor([row], device=model.device)).logits[0, :6].float()
        for row in rows
    )
    tolerance = 1e-3 if model.dtype == torch.float32 else 0.05
    return not bool((first - second).abs().max() <= tolerance * first.abs().max())
