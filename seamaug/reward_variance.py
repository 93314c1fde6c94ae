"""How far a reward model tells a policy's own responses to one prompt apart (arXiv 2503.15477).

Where that is little, the objective of RLHF is flat around the policy: the time that it takes to
raise any expected reward by a fixed amount grows as variance^(-1/3), however accurate the model.
"""

import numpy as np

SAME = 1e-6
"""Relative differences up to this are rounding: rewards are float32."""


def is_constant(rewards: np.ndarray) -> bool:
    """Whether all rewards are one number, rounding aside."""
    return bool(np.ptp(rewards) <= SAME * np.abs(rewards).max(initial=0.0))


def standardised(rewards: np.ndarray) -> np.ndarray:
    """Rewards in standard deviations (unbiased) from the mean of them all; 0 if all are one."""
    if is_constant(rewards):
        return np.zeros(rewards.shape)
    units: np.ndarray = (rewards - rewards.mean()) / rewards.std(ddof=1)
    return units


def reward_variances(rewards: np.ndarray) -> np.ndarray:
    """Unbiased variance over each prompt's samples, rewards in standard deviations of them all.

    rewards: raw, of one model, shape (prompts, samples), two samples at least. Shape (prompts,);
    all 0 for a model that gives every response one reward. As in the authors' code, which takes
    the mean of these over 500 prompts with 10 samples each.
    """
    variances: np.ndarray = standardised(rewards).var(axis=1, ddof=1)
    return variances
