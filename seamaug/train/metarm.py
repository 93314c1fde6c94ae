"""MetaRM's step (arXiv 2401.06080): learn pairs as one who tells the policy's samples apart."""

from collections.abc import Callable, Sequence

import torch


def meta_gradients(
    parameters: Sequence[torch.Tensor],
    objective: Callable[[], torch.Tensor],
    loss: Callable[[], torch.Tensor],
    rate: float,
) -> list[torch.Tensor]:
    """``∇_{θ'} L(θ'; pairs)`` at ``θ' = θ + η ∇_θ J(θ; samples)``, to be applied at θ.

    parameters: θ, those that are trained; they are as they were when this returns. objective:
    computes J with the parameters as they stand, loss: L; rate: η. First order, as published: how
    θ' depends on θ is left out. A parameter that one of them does not use counts with 0.
    """
    ascent = _gradients(objective(), parameters)
    before = [parameter.detach().clone() for parameter in parameters]
    try:
        with torch.no_grad():
            for parameter, step in zip(parameters, ascent, strict=True):
                parameter.add_(step, alpha=rate)
        return _gradients(loss(), parameters)
    finally:
        with torch.no_grad():
            for parameter, value in zip(parameters, before, strict=True):
                parameter.copy_(value)  # taking the step back would leave its rounding


def _gradients(value: torch.Tensor, parameters: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    found = torch.autograd.grad(value, list(parameters), allow_unused=True)
    return [
        torch.zeros_like(parameter) if gradient is None else gradient
        for parameter, gradient in zip(parameters, found, strict=True)
    ]
