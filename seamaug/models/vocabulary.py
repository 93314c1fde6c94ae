"""From hidden states to log-probabilities without a tensor of tokens x vocabulary."""

from collections.abc import Iterator
from typing import Any

import torch

from seamaug.models.batching import reused_size

_CPU_SLICE, _GPU_SLICE = 8 << 20, 256 << 20
"""Bytes of float32 logits alive at once. On a CPU more of them fall out of the cache."""
_ROWS = 1024


class Projection:
    """The output projection of a causal model, followed by what some models do to their logits."""

    def __init__(self, model: Any) -> None:
        config = model.config.get_text_config()
        self._head = model.get_output_embeddings()
        self._cap = getattr(config, "final_logit_softcapping", None)
        scale, scaling = (getattr(config, name, 1) for name in ("logit_scale", "logits_scaling"))
        # Some configs name these and set them to nothing (MPT).
        self._factor = (1 if scale is None else scale) / (1 if scaling is None else scaling)

    @classmethod
    def of(cls, model: Any) -> "Projection | None":
        """The model's, if body + projection equal the whole model as a short probe finds."""
        found = cls(model)
        if not isinstance(found._head, torch.nn.Linear):
            return None
        vocabulary = model.config.get_text_config().vocab_size
        probe = torch.arange(8, device=model.device)[None] % vocabulary
        whole = model(input_ids=probe, use_cache=False).logits[0].float()
        body = model.base_model(input_ids=probe, use_cache=False)
        states = getattr(body, "last_hidden_state", None)
        if states is None or states.shape[-1] != found._head.in_features:
            return None  # the latter where another layer comes between (ELECTRA)
        positions = torch.arange(8, device=model.device)
        ours = found.logprobs(states[0], positions, probe[0])
        expected = whole.log_softmax(-1)[positions, probe[0]]
        tolerance = 1e-4 if model.dtype == torch.float32 else 0.05
        return found if torch.allclose(ours, expected, rtol=tolerance, atol=tolerance) else None

    @property
    def weight(self) -> torch.Tensor:
        """Of shape (vocabulary, width)."""
        weight: torch.Tensor = self._head.weight
        return weight

    def logprobs(
        self, states: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Log-probability of `targets` (n,) after the states at `positions` (n,), float32.

        states: (tokens, width). States that predict several targets (the end of a prompt, whose
        responses all begin there) are projected once. The matmuls are in the model's precision, all
        else in float32.
        """
        places, inverse = torch.unique(positions, return_inverse=True)
        used = states[places]
        totals = torch.cat([self._log_sum_exp(rows) for rows in torch.split(used, _ROWS)])
        parts = [
            self._wanted(used[rows], totals[rows], ids) for rows, ids in _chunks(inverse, targets)
        ]
        return torch.cat(parts)

    def errors(
        self, states: torch.Tensor, targets: torch.Tensor, sketch: torch.Tensor
    ) -> torch.Tensor:
        """`sketch` times the error vector of each target, float32 (n, k).

        states: (n, width); targets: (n,); sketch: (k, vocabulary), float32. The error vector is the
        gradient of log P(target) by what the projection gives before any scaling or cap, which is
        (one at the target - P) where there is neither. Precision is as in `logprobs`.
        """
        return torch.cat(
            [self._errors(rows, ids, sketch) for rows, ids in _chunks(states, targets)]
        )

    def _errors(
        self, states: torch.Tensor, ids: torch.Tensor, sketch: torch.Tensor
    ) -> torch.Tensor:
        count = len(states)
        totals, sums = [], []
        for words, logits in self._slices(states):
            logits = logits[:count].float()
            totals.append(_log_sum_exp(logits))
            # Words that are ruled out all of them have no share; a NaN stays in the totals.
            shares = logits.softmax(-1).nan_to_num(0) * self._slope(logits)
            sums.append(shares @ sketch[:, words].T)
        expected = torch.stack(totals).softmax(0)[:, :, None] * torch.stack(sums)
        slope = self._slope(self._shaped(self._logits_of(states, ids)))
        found: torch.Tensor = (sketch[:, ids] * slope).T - expected.sum(0)
        return found

    def _logits_of(self, states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Of one word for each state, in float32 and before `_shaped`."""
        logits: torch.Tensor = (states.float() * self._head.weight[ids].float()).sum(-1)
        return logits if self._head.bias is None else logits + self._head.bias[ids].float()

    def _wanted(
        self, states: torch.Tensor, totals: torch.Tensor, ids: torch.Tensor
    ) -> torch.Tensor:
        """Logits of `ids` less `totals`, in which they are rounded to the model's precision.

        A likely token's own rounding is most of its total's error (a logit of 20 is known to 0.06
        in bfloat16), so there the exact logit takes the rounded one's place.
        """
        logits = self._logits_of(states, ids)
        exact, rounded = self._shaped(logits), self._shaped(logits.to(states.dtype)).float()
        share = (rounded - totals).exp().clamp(max=1)
        found = exact - totals - torch.log1p(share * torch.expm1(exact - rounded))
        return torch.where(exact == -torch.inf, exact, found)

    def _log_sum_exp(self, states: torch.Tensor) -> torch.Tensor:
        count = len(states)
        parts = [_log_sum_exp(logits) for _, logits in self._slices(states)]
        return torch.logsumexp(torch.stack(parts), 0)[:count]

    def _slices(self, states: torch.Tensor) -> Iterator[tuple[slice, torch.Tensor]]:
        """Logits over a slice of the vocabulary at a time; rows beyond `states` do not count."""
        count = len(states)
        room = reused_size(count, states.dtype, states.device)
        states = torch.nn.functional.pad(states, (0, 0, 0, room - count))
        size = _GPU_SLICE if states.is_cuda else _CPU_SLICE
        width = max(64, size // (4 * room))
        weight, bias = self._head.weight, self._head.bias
        for start in range(0, len(weight), width):
            words = slice(start, start + width)
            part = None if bias is None else bias[words]
            yield words, self._shaped(torch.nn.functional.linear(states, weight[words], part))

    def _shaped(self, logits: torch.Tensor) -> torch.Tensor:
        if self._factor != 1 or self._cap:
            logits = logits.float()
        if self._factor != 1:
            logits = logits * self._factor
        if self._cap:
            logits = torch.tanh(logits / self._cap) * self._cap
        return logits

    def _slope(self, shaped: torch.Tensor) -> torch.Tensor | float:
        """Derivative of `_shaped` where it gives these logits."""
        return self._factor * (1 - (shaped / self._cap) ** 2) if self._cap else self._factor


def _log_sum_exp(logits: torch.Tensor) -> torch.Tensor:
    """Over the last dimension, in float32; twice as fast on a CPU as torch.logsumexp."""
    top = logits.amax(-1).float()
    # The fused kernel reads the logits once; its largest value is top - log-sum-exp.
    lowered = torch.log_softmax(logits, -1, dtype=torch.float32).amax(-1)
    return torch.where(top == -torch.inf, top, top - lowered)


def logprobs_of_logits(
    logits: torch.Tensor, positions: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """As `Projection.logprobs`, from whole logits (tokens, vocabulary)."""
    return torch.cat(
        [
            -torch.nn.functional.cross_entropy(logits[rows].float(), ids, reduction="none")
            for rows, ids in _chunks(positions, targets)
        ]
    )


def _chunks(rows: torch.Tensor, ids: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return zip(torch.split(rows, _ROWS), torch.split(ids, _ROWS), strict=True)
