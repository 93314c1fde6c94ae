"""Settings of `train-rm`: what is trained, by which losses, and TRL's own arguments."""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from seamaug.config.base import Positive, Section, listed
from seamaug.config.flow import SeedsConfig
from seamaug.config.models import PolicyConfig
from seamaug.resources import EMBEDDED

_OURS = {
    *("output_dir", "max_length", "model_init_kwargs", "trust_remote_code", "chat_template_path"),
    *("disable_dropout", "remove_unused_columns", "label_names", "seed", "resume_from_checkpoint"),
    *("pad_token", "eos_token"),
}
"""TRL arguments that follow from other settings."""


class StartConfig(Section):
    """The model that training starts from: a causal LM, or a reward model."""

    name: str = EMBEDDED
    """Folder or hub id; `embedded` is the bundled policy."""
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    trust_remote_code: bool = False
    """Run Python code that the model's repository brings. Off: such a model is refused."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights; bfloat16 halves the memory and loses small steps."""
    chat_template: str | None = None
    """Template for a model that has none: a Jinja file, or `question_answer`, which ships."""
    max_length: Positive = 1024
    """Tokens of prompt and response; pairs with a longer one are left out, and counted."""


class SmoothingConfig(Section):
    """Label smoothing (arXiv 2401.06080, section 3.3)."""

    rate: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share a of the label that goes to the rejected response, for pairs that have no `smoothing`
    of their own."""


class ContrastiveConfig(Section):
    """The contrastive term, beta times which is added to the loss."""

    method: Literal["none", "simcse", "swav"] = "none"
    """Published: simcse is the best overall."""
    on: Literal["features", "differences"] = "features"
    """What is compared: features of responses, or differences within pairs."""
    beta: Annotated[float, Field(gt=0)] | None = None
    """Weight of the term. Default as published: simcse 1, swav 0.1, or 0.5 on differences."""
    dropout: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """On the embedded tokens: it makes the two views of a batch."""
    prototypes: Positive | None = None
    """Of swav. Default as published: 50, or 20 on differences."""

    @property
    def weight(self) -> float:
        """beta, or the published one."""
        swav = 0.1 if self.on == "features" else 0.5
        return self.beta or (swav if self.method == "swav" else 1.0)

    @property
    def clusters(self) -> int:
        """Prototypes, or as many as published."""
        return self.prototypes or (50 if self.on == "features" else 20)

    @model_validator(mode="after")
    def _prototypes_are_swavs(self) -> Self:
        if self.prototypes and self.method != "swav":
            raise ValueError("`prototypes` are of `method: swav`; set it, or remove them")
        return self


class MetaConfig(Section):
    """MetaRM: each gradient is taken where the policy's samples are told apart better."""

    step: Annotated[float, Field(ge=0)] = 0.0
    """eta, the length of the step up J; 0 is off. Not published; depends on the model's size."""
    samples: Annotated[int, Field(ge=2)] = 4
    """k, responses of the policy to each prompt."""
    prompts: Positive = 500
    """From which they are drawn, at most: the first ones of the pairs."""
    max_new_tokens: Positive = 128
    """Of a response."""


class LoraConfig(Section):
    """Low-rank adapters in place of full fine-tuning."""

    rank: Annotated[int, Field(ge=0)] = 0
    """0 is full fine-tuning."""
    alpha: Positive = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    targets: str | tuple[str, ...] = "all-linear"
    """Modules that get adapters; the layer that gives the score is always trained."""


class TrainConfig(Section):
    """One `train-rm`: the whole YAML file."""

    pairs: SeedsConfig = SeedsConfig()
    """Rows with a prompt, a chosen and a rejected response; `margin` and `smoothing` are read where
    they have them."""
    evaluation: Annotated[tuple[str, ...], BeforeValidator(listed)] = ()
    """Files of pairs on which accuracy is measured in the end."""
    start: StartConfig = StartConfig()
    smoothing: SmoothingConfig = SmoothingConfig()
    contrastive: ContrastiveConfig = ContrastiveConfig()
    meta: MetaConfig = MetaConfig()
    policy: PolicyConfig = PolicyConfig()
    """Whose samples MetaRM looks at."""
    lora: LoraConfig = LoraConfig()
    trainer: dict[str, Any] = Field(default_factory=dict)
    """Arguments of TRL's RewardConfig, such as learning_rate, num_train_epochs,
    per_device_train_batch_size, gradient_accumulation_steps, report_to."""
    seed: int = 0
    """Of the new layer, the order of the pairs, dropout and the policy's samples."""

    @model_validator(mode="after")
    def _arguments_of_the_users(self) -> Self:
        checked_arguments(self.trainer, "trainer")
        return self


def checked_arguments(trainer: dict[str, Any], key: str) -> None:
    """Raise ValueError for an argument of TRL's that follows from other settings."""
    if own := sorted(_OURS & trainer.keys()):
        raise ValueError(f"`{key}.{own[0]}` follows from the other settings; remove it")
    if "hub_token" in trainer:
        raise ValueError(
            f"`{key}.hub_token` would be stored with the model: remove it and set HF_TOKEN"
        )
    for name in ("num_train_epochs", "learning_rate"):
        value = trainer.get(name, 1)
        if not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"`{key}.{name}: {value}` trains nothing; give a number above 0")
