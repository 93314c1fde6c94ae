"""Several reward models for the price of one: last layers of their own on one backbone."""

from typing import Any

import numpy as np
import torch
from torch.nn import functional
from trl.trainer.reward_trainer import RewardTrainer

PAIR = "pair"


def bagging(pairs: int, heads: int, seed: int) -> np.ndarray:
    """How often each head's bootstrap sample holds each pair: (pairs, heads), Poisson with mean 1.

    Online bagging (Oza, Russell 2001); a tenth of the pairs, at random, is in no sample.
    """
    rng = np.random.default_rng([seed, pairs, heads])
    counts = rng.poisson(1.0, (pairs, heads))
    counts[rng.permutation(pairs)[: pairs // 10]] = 0
    return counts


def with_heads(model: Any, layer: Any, heads: int) -> Any:
    """The model with so many scores in place of one, each from weights of its own."""
    name = next(name for name, module in model.named_modules() if module is layer)
    wide = torch.nn.Linear(layer.in_features, heads, bias=layer.bias is not None)
    # As new heads of transformers models are drawn; alike in size to the one they replace.
    torch.nn.init.normal_(wide.weight, std=layer.weight.std().item() or 0.02)
    if wide.bias is not None:
        torch.nn.init.zeros_(wide.bias)
    model.set_submodule(name, wide.to(layer.weight.device, layer.weight.dtype))
    return model


class EnsembleTrainer(RewardTrainer):
    """TRL's RewardTrainer over a model with several scores; rows have their number in `pair`."""

    def __init__(self, *args: Any, weights: np.ndarray, **kwargs: Any) -> None:
        """`weights`: of each pair for each head, (pairs, heads)."""
        super().__init__(*args, **kwargs)
        self._weights = torch.tensor(weights, dtype=torch.float32)

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()  # type: ignore[no-untyped-call]
        if PAIR not in self._signature_columns:
            self._signature_columns += [PAIR]

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Mean Bradley–Terry loss of the heads, each pair weighed as each head's sample has it."""
        weights = self._weights.to(inputs["input_ids"].device)[inputs.pop(PAIR)]
        outputs = model(**inputs, use_cache=False)
        chosen, rejected = outputs.logits.float().chunk(2)
        loss = -(weights * functional.logsigmoid(chosen - rejected)).mean()
        with torch.no_grad():
            right = (chosen > rejected).float().mean().item()
        self._metrics["train"]["accuracy"].append(right)
        return (loss, outputs) if return_outputs else loss
