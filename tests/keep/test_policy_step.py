"""Slopes of SEAM against autograd, and the predicted fall against a real step."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from seamaug.config import PolicyConfig
from seamaug.keep.policy_step import PolicyStep, seam_slopes
from seamaug.models.policy import Policy
from seamaug.models.sketch import HeadGradients
from seamaug.records import user_message
from seamaug.scoring.seam import seam

HACK_SET = st.lists(st.tuples(st.floats(-20, 0), st.floats(0, 5)), min_size=1, max_size=8)


@given(HACK_SET, st.sampled_from(["prob", "paper"]))
def test_slopes_are_those_of_seam(pairs: list[tuple[float, float]], weighting: str) -> None:
    logprobs, eps = np.array(pairs).T
    found = seam_slopes(logprobs, eps, weighting)
    step = 1e-5
    for j, one in enumerate(np.eye(len(eps)) * step):
        higher, lower = (seam(logprobs + sign * one, eps, weighting) for sign in (1, -1))
        assert found[j] == pytest.approx((higher - lower) / (2 * step), abs=1e-6)


def test_slopes_of_a_sample_are_those_of_the_expected_misjudgement() -> None:
    # A policy over five responses, drawn as often as it says them.
    logits = torch.tensor([0.3, -1.0, 0.8, 0.0, -0.2], dtype=torch.float64, requires_grad=True)
    eps, tokens = np.array([2.0, 0.0, 0.5, 1.0, 0.0]), np.array([3, 7, 1, 12, 5])
    logprobs = logits.log_softmax(0)
    expected = torch.autograd.grad((logprobs.exp() * torch.tensor(eps)).sum(), logits)[0]
    jacobian = torch.autograd.functional.jacobian(lambda x: x.log_softmax(0), logits).numpy()
    means, counts = logprobs.detach().numpy() / tokens, 1000 * np.exp(logprobs.detach().numpy())
    slopes = seam_slopes(means, eps, "prob", tokens, counts, draws=1000)
    np.testing.assert_allclose((slopes / tokens) @ jacobian, expected.numpy(), atol=1e-12)


def test_what_the_policy_rules_out() -> None:
    out, eps = -np.inf, np.array([1.0, 2.0, 4.0])
    assert seam_slopes(np.array([out, -1.0, -2.0]), eps, "paper").tolist() == [0, -2, -4]
    mixed = seam_slopes(np.array([out, -1.0, -2.0]), eps, "prob")
    assert mixed[0] == 0
    assert mixed[2] == pytest.approx(-mixed[1])
    assert mixed[2] > 0.1
    assert np.isfinite(seam_slopes(np.array([out, out, out]), eps, "prob")).all()
    assert seam_slopes(np.empty(0), np.empty(0), "prob").shape == (0,)


def test_predicted_fall_is_that_of_a_step_before_the_projection(saved: Callable[..., str]) -> None:
    folder = saved("llama", "causal", vocab_size=512)
    policy = Policy(PolicyConfig(name=folder, device="cpu", dtype="float32"))
    truth = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    added = torch.zeros(32, 32, dtype=torch.float64, requires_grad=True)
    truth.get_output_embeddings().register_forward_pre_hook(
        lambda _, inputs: (inputs[0] + inputs[0] @ added.T,)
    )
    prompts = [policy.prompt_ids(user_message(t)) for t in ("Hi", "Who?", "Why is it so?")]
    prompts = [[i % 512 for i in ids] for ids in prompts]
    worse = [[[5, 8, 13, 1], [21, 34, 1]], [[3, 1, 4, 1], [2, 7, 1]], [[99, 98, 1], [8, 8, 8]]]
    eps = np.array([[1.0, 0.0], [0.2, 2.0], [3.0, 1.0]])
    variant, chosen, eta = prompts[2][:-2], [21, 8, 34, 99, 1], 1e-3

    def mean_logprob(prompt: list[int], response: list[int]) -> torch.Tensor:
        logits = truth(input_ids=torch.tensor([prompt + response])).logits[0, len(prompt) - 1 : -1]
        return logits.log_softmax(-1).gather(1, torch.tensor(response)[:, None]).mean()

    def seams() -> np.ndarray:
        rows = zip(prompts, worse, eps, strict=True)
        return np.array(
            [seam(np.array([mean_logprob(p, r).item() for r in w]), e, "prob") for p, w, e in rows]
        )

    sketcher = HeadGradients(policy, errors=32, states=32)
    watched = [
        seam_slopes(np.array([r.total / r.tokens for r in rows]), own, "prob") @ sketches
        for rows, own, sketches in zip(
            policy.logprobs(list(zip(prompts, worse, strict=True))),
            eps,
            sketcher.sketches(list(zip(prompts, worse, strict=True))),
            strict=True,
        )
    ]
    sketch = sketcher.sketches([(variant, [chosen])])[0][0]
    near = np.mean([watched[0], watched[2]], axis=0)
    step = PolicyStep(watched[1], {"parent": near}.__getitem__, 0.3, eta)

    def mean_seam() -> float:
        seam_of = seams()
        return float(0.3 * (seam_of[0] + seam_of[2]) / 2 + 0.7 * seam_of[1])

    gradient = torch.autograd.grad(mean_logprob(variant, chosen), added)[0]
    with torch.no_grad():
        added += eta * gradient
        after = mean_seam()
        added -= 2 * eta * gradient
        fall = (mean_seam() - after) / 2
    assert step.fall(sketch, "parent") == pytest.approx(fall, rel=2e-3)
    alone = [PolicyStep(own, lambda _: near, 0.0, eta).fall(sketch, "") for own in watched]
    assert 0.3 * (alone[0] + alone[2]) / 2 + 0.7 * alone[1] == pytest.approx(fall, rel=2e-3)
    assert alone[0] != pytest.approx(alone[2], rel=0.1)
