"""Attention of our own in the layers of a transformers model, for one pass and no other."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionInterface

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float | None], torch.Tensor]
"""From query, key, value of shape (1, heads, tokens, head size) and the scale to the output."""


class OtherAttentionError(Exception):
    """A layer attends in another way than to all that came before."""


_NAME = "seamaug_shared_prompt"
_ACTIVE: ContextVar[tuple[Attend, int]] = ContextVar("attention of the pass that is under way")
_HARMLESS = frozenset(
    [
        *("dropout", "is_causal", "sliding_window", "position_ids", "use_cache", "return_dict"),
        *("output_attentions", "output_hidden_states", "output_router_logits"),
    ]
)


@contextmanager
def attending(body: Any, attend: Attend, longest: int) -> Iterator[None]:
    """Let the layers of `body` attend by `attend`; other calls keep the model's own way.

    longest: tokens of the longest sequence. What a layer asks for beyond causal attention to all of
    it raises OtherAttentionError.
    """
    own = [(config, config._attn_implementation) for config in _configs(body.config)]
    token = _ACTIVE.set((attend, longest))
    body.config._attn_implementation = _NAME
    try:
        yield
    finally:
        for config, name in own:  # setting one sets those inside it, so these come later
            config._attn_implementation = name
        _ACTIVE.reset(token)


def _configs(config: Any) -> Iterator[Any]:
    """A config and those inside it: a model of text and images has one for each."""
    yield config
    for name in config.sub_configs:
        if (inner := getattr(config, name, None)) is not None:
            yield from _configs(inner)


def _attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """In place of a model's attention: (1, tokens, heads, head size) and no weights.

    Refused is all that is not known to change nothing: caps, sinks, biases, blocks, and masks of a
    model's own (the usual ones are not made for attention under our name).
    """
    attend, longest = _ACTIVE.get()
    asked = {name for name, setting in kwargs.items() if setting is not None} - _HARMLESS
    if attention_mask is not None or asked:
        raise OtherAttentionError(f"attention with {', '.join(sorted(asked)) or 'its own mask'}")
    causal = kwargs.get("is_causal")
    if not (getattr(module, "is_causal", True) if causal is None else causal):
        raise OtherAttentionError("attention to what follows")
    if longest > (kwargs.get("sliding_window") or longest):
        raise OtherAttentionError("attention through a window")
    return attend(query, key, value, scaling).transpose(1, 2), None


AttentionInterface.register(_NAME, _attention)
