"""Attention that also returns its log-sum-exp, so that parts can be merged exactly."""

import torch


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float | None,
    *,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Output (rows, heads, queries, head size) and log-sum-exp (rows, heads, queries), float32.

    Keys and values may have fewer heads, each shared by as many of the query's that lie together.
    The kernels are those that torch's scaled_dot_product_attention chooses, which itself does not
    hand out the log-sum-exp.
    """
    if groups := query.shape[1] // key.shape[1] - 1:
        key, value = (x.repeat_interleave(groups + 1, dim=1) for x in (key, value))
    if query.device.type == "cpu":
        out, total = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, 0.0, causal, scale=scale
        )
        return out, total
    if query.device.type == "cuda" and query.dtype in (torch.bfloat16, torch.float16):
        found = torch.ops.aten._scaled_dot_product_flash_attention(
            query, key, value, 0.0, causal, False, scale=scale
        )
        return found[0], found[1][..., : query.shape[2]]  # some versions pad it
    return _plain(query, key, value, scale, causal)


def _plain(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scale: float | None, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    logits = query.float() @ key.float().transpose(-1, -2)
    logits *= scale if scale is not None else query.shape[-1] ** -0.5
    if causal:
        hidden = torch.ones(logits.shape[-2:], dtype=torch.bool, device=query.device).triu(1)
        logits.masked_fill_(hidden, -torch.inf)
    total = torch.logsumexp(logits, -1)
    out = (logits - total[..., None]).exp() @ value.float()
    return out.to(query.dtype), total
