"""Log-probabilities in slices of the vocabulary against one softmax over all of it."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from seamaug.models import vocabulary
from seamaug.models.vocabulary import Projection, logprobs_of_logits

VOCABULARY = 1000


class Model:
    """An output projection with what a config says of its logits."""

    def __init__(self, head: torch.nn.Linear, **settings: Any) -> None:
        self._head = head
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(**settings))

    def get_output_embeddings(self) -> torch.nn.Linear:
        return self._head


def head(bias: bool, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> torch.nn.Linear:
    torch.manual_seed(0)
    linear = torch.nn.Linear(16, VOCABULARY, bias=bias)
    torch.nn.init.normal_(linear.weight, std=scale)
    if bias:
        torch.nn.init.normal_(linear.bias)
    return linear.to(dtype)


def queries(dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(40, 16, generator=generator).to(dtype)
    positions = torch.randint(0, 40, (3000,), generator=generator)  # more than one chunk of rows
    return states, positions, torch.randint(0, VOCABULARY, (3000,), generator=generator)


def whole(linear: torch.nn.Linear, states: torch.Tensor) -> torch.Tensor:
    logits = states.double() @ linear.weight.double().T
    return logits if linear.bias is None else logits + linear.bias.double()


@pytest.fixture(params=[1, 64 * 40 * 4, 1 << 30], ids=["64 words", "64 words too", "all words"])
def sliced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vocabulary, "_CPU_SLICE", request.param)


@pytest.mark.usefixtures("sliced")
@torch.inference_mode()
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("settings", "factor", "cap"),
    [
        ({}, 1.0, None),
        ({"logit_scale": 0.0625}, 0.0625, None),
        ({"logits_scaling": 8.0}, 0.125, None),
        ({"final_logit_softcapping": 5.0}, 1.0, 5.0),
        ({"logit_scale": 2.0, "final_logit_softcapping": 5.0}, 2.0, 5.0),
        ({"logit_scale": None, "logits_scaling": None}, 1.0, None),
    ],
    ids=lambda value: str(value),
)
def test_slices_equal_the_whole(
    bias: bool, settings: dict[str, Any], factor: float, cap: float | None
) -> None:
    linear, (states, positions, targets) = head(bias), queries()
    logits = whole(linear, states) * factor
    logits = torch.tanh(logits / cap) * cap if cap else logits
    expected = logits.log_softmax(-1)[positions, targets]
    found = Projection(Model(linear, **settings)).logprobs(states, positions, targets)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5)
    direct = logprobs_of_logits(logits, positions, targets)
    torch.testing.assert_close(direct.double(), expected, rtol=0, atol=2e-5)


@pytest.mark.usefixtures("sliced")
@torch.inference_mode()
@pytest.mark.parametrize("ruled_out", [slice(7, 8), slice(0, 130), slice(500, 1000)])
def test_words_that_are_ruled_out(ruled_out: slice) -> None:
    linear, (states, positions, targets) = head(bias=True), queries()
    linear.bias[ruled_out] = -torch.inf  # whole slices of the vocabulary, too
    targets[:50] = ruled_out.start
    expected = whole(linear, states).log_softmax(-1)[positions, targets]
    found = Projection(Model(linear)).logprobs(states, positions, targets)
    assert torch.equal(found == -torch.inf, expected == -torch.inf)
    assert bool((found[:50] == -torch.inf).all())
    assert bool((expected != -torch.inf).any())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-5)


@torch.inference_mode()
def test_likely_words_are_not_charged_for_rounding() -> None:
    # Logits near 30 are 0.125 apart in bfloat16; a word that is certain has log P = 0 all the same.
    linear, (states, _, _) = head(False, torch.bfloat16, scale=4.0), queries(torch.bfloat16)
    exact = whole(linear, states)
    top = exact.argmax(-1)
    positions = torch.arange(len(states))
    expected = exact.log_softmax(-1)[positions, top]
    found = Projection(Model(linear)).logprobs(states, positions, top)
    sure = expected > -0.05
    assert int(sure.sum()) >= 5
    assert exact[positions, top][sure].min() > 20
    error = (found.double() - expected).abs()
    assert error[sure].mean() < 2e-3
    assert found.max() < 1e-3


@pytest.mark.usefixtures("sliced")
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(
    ("settings", "factor", "cap"),
    [
        ({}, 1.0, None),
        ({"logits_scaling": 8.0}, 0.125, None),
        ({"logit_scale": 2.0, "final_logit_softcapping": 5.0}, 2.0, 5.0),
    ],
    ids=lambda value: str(value),
)
def test_errors_are_the_gradient_by_what_the_projection_gives(
    bias: bool, settings: dict[str, Any], factor: float, cap: float | None
) -> None:
    linear, (states, positions, targets) = head(bias), queries()
    linear.requires_grad_(False)
    if bias:
        linear.bias[:130] = -torch.inf  # whole slices of the vocabulary are ruled out
        targets = targets.clamp(min=130)
    states = states[positions]
    raw = whole(linear, states).requires_grad_()
    logits = raw * factor
    logits = torch.tanh(logits / cap) * cap if cap else logits
    total = logits.log_softmax(-1).gather(1, targets[:, None]).sum()
    expected = torch.autograd.grad(total, raw)[0]
    sketch = torch.randn(12, VOCABULARY, generator=torch.Generator().manual_seed(2))
    found = Projection(Model(linear, **settings)).errors(states, targets, sketch)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), expected @ sketch.double().T, rtol=0, atol=1e-4)
