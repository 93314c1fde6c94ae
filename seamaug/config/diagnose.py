"""Section `diagnose`: what a diagnosis of policies and reward models looks at."""

from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from seamaug.config.base import Positive, Section, listed


class DiagnoseConfig(Section):
    """How much is sampled to judge reward models as teachers of policies.

    The defaults are those of arXiv 2503.15477.
    """

    policies: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """Further policies with the settings of `policy`, such as earlier checkpoints."""
    prompts: Positive = 500
    """Seeds at random of which the policies are asked; all where there are fewer."""
    samples: int = 10
    """Responses of each policy to each prompt, at temperature 1."""
    max_new_tokens: Positive = 512
    """Tokens of a response, at most; lowered to half of what the policy can read."""
    floor: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Reward variance below which a prompt counts as flat, in variances of all rewards."""
    batch_prompts: Positive = 64
    """Prompts per part: what a killed diagnosis can lose."""

    @field_validator("samples")
    @classmethod
    def _can_vary(cls, samples: int) -> int:
        if samples < 2:
            raise ValueError("a variance needs two responses per prompt; the paper takes 10")
        return samples
