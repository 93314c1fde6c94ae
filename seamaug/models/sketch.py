"""Gradients of log P(response | prompt) at the end of the policy, as short vectors.

With h_t the hidden state that predicts token y_t, p_t the policy's probabilities there, W the
projection's weight (vocabulary, width) and delta_t = (one at y_t) - p_t, a linear layer before the
projection, h + A h with A = 0, has the gradient

    d log P(y | x) / dA = sum_t (W^T delta_t) h_t^T:

the errors as the layers below receive them. So one step of SFT on a response y' of n' tokens
(loss: mean of -log p) at learning rate eta moves A by eta / n' sum_s (W^T delta'_s) h'_s^T, and
log P(y | x), to first order, by

    eta / n' sum_t sum_s <W^T delta_t, W^T delta'_s> <h_t, h'_s>,

the product of errors times the product of hidden states. It agrees better with what AdamW on all
weights does than the gradient of W itself, and does not grow with the vocabulary.

With random signs S (128, width), scaled by 1 / sqrt(128), on either side, the sketch
sum_t (S_e W^T delta_t) (S_h h_t)^T has 128 x 128 numbers, and the inner product of two sketches is
an unbiased estimate of that of the gradients (as in LoGra, arXiv 2405.13954, with signs for its
normal entries).
"""

from collections.abc import Sequence

import numpy as np
import torch

from seamaug.errors import ConfigError, ModelError
from seamaug.models.engines import PolicyEngine
from seamaug.models.policy import Policy
from seamaug.models.shared import Place


class HeadGradients:
    """Sketches of the gradients that SFT on a response has before the policy's projection."""

    @torch.inference_mode()
    def __init__(
        self,
        policy: PolicyEngine,
        *,
        errors: int = 128,
        states: int = 128,
        seed: int = 0,
    ) -> None:
        """errors, states: rows of S_e and S_h; where the width is not above, nothing is projected.

        Raises ConfigError for an engine that shows no hidden states, and ModelError for a model
        whose logits are no projection of them.
        """
        if not isinstance(policy, Policy):
            raise ConfigError(
                "the policy's side of the look-ahead reads hidden states, which a server or vLLM "
                "does not show; set `policy.engine: transformers`"
            )
        if policy.projection is None:
            raise ModelError(
                f"policy model {policy.config.name!r} does not make its logits by one linear layer "
                "from its last hidden states, which the policy's side of the look-ahead needs; "
                "switch that off"
            )
        self.policy, self._projection = policy, policy.projection
        generator = torch.Generator().manual_seed(seed)  # on the CPU: the same on every device
        weight = self._projection.weight
        width = weight.shape[1]
        signs = _signs(errors, width, generator).to(policy.device)
        # In parts: all of it in float32 may be gigabytes.
        parts = [signs @ part.float().T for part in torch.split(weight, 4096)]
        self._errors = torch.cat(parts, 1)
        self._states = _signs(states, width, generator).to(policy.device)

    @property
    def size(self) -> int:
        """Numbers in a sketch."""
        return len(self._errors) * len(self._states)

    @torch.inference_mode()
    def sketches(self, sets: Sequence[tuple[list[int], Sequence[list[int]]]]) -> list[np.ndarray]:
        """Of each set's responses, shape (responses, size), float32: the mean over their tokens.

        sets: as for `Policy.logprobs`. A mean, since SEAM and the loss of SFT have means; zeros for
        a response of no tokens. A sketch is long (64 KiB): reduce it before the next ones.
        """
        found = [np.zeros((len(rows), self.size), np.float32) for _, rows in sets]

        def take(
            places: Sequence[Place], states: torch.Tensor, positions: list[torch.Tensor]
        ) -> None:
            targets = [sets[i][1][k] for i, k in places]
            used = states[torch.cat(positions).to(states.device)]
            wanted = torch.tensor([t for ids in targets for t in ids], device=states.device)
            lengths = [len(ids) for ids in targets]
            errors = torch.split(self._projection.errors(used, wanted, self._errors), lengths)
            hidden = torch.split(used.float() @ self._states.T, lengths)
            for (i, k), error, own in zip(places, errors, hidden, strict=True):
                found[i][k] = (error.T @ own / len(own)).flatten().cpu().numpy()

        self.policy.read(sets, take)
        return found


def _signs(rows: int, columns: int, generator: torch.Generator) -> torch.Tensor:
    """Random signs / sqrt(rows); the identity where that has no more rows."""
    if rows >= columns:
        return torch.eye(columns)
    signs = torch.randint(0, 2, (rows, columns), generator=generator, dtype=torch.int8) * 2 - 1
    scaled: torch.Tensor = signs.float() / rows**0.5
    return scaled
