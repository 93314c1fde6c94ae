"""Settings of `strength`: whose votes, which bands, and what becomes of each."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from seamaug.config.base import Section
from seamaug.config.flow import SeedsConfig
from seamaug.config.models import RewardConfig
from seamaug.config.train import StartConfig, checked_arguments


class EnsembleConfig(Section):
    """An ensemble trained here: several last layers on one backbone, in one pass over the pairs.

    Each layer starts from its own weights and sees each pair as often as a bootstrap sample of the
    pairs holds it (online bagging, Oza and Russell 2001), so the cost is that of one reward model.
    A tenth of the pairs is seen by none of them, and shows what the votes are worth.
    """

    start: StartConfig = StartConfig()
    heads: Annotated[int, Field(ge=2)] = 10
    """M; published: 10 reward models."""
    trainer: dict[str, Any] = Field(default_factory=dict)
    """Arguments of TRL's RewardConfig, such as learning_rate and num_train_epochs (here 1)."""

    @model_validator(mode="after")
    def _arguments_of_the_users(self) -> Self:
        checked_arguments(self.trainer, "ensemble.trainer")
        return self


class TreatmentConfig(Section):
    """What becomes of the bands (arXiv 2401.06080, section 3)."""

    incorrect: Literal["auto", "keep", "flip", "soften", "drop"] = "auto"
    """`flip` exchanges chosen and rejected; `soften` writes `smoothing`; `auto` flips where the
    votes agree so well with labels they had not seen that it mends more than it spoils, else keeps.
    Models that are given (`reward`) are taken not to have seen any."""
    noise: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Share of wrong labels that `auto` reckons with."""
    ambiguous: Literal["keep", "soften", "drop"] = "soften"
    smoothing: Annotated[float, Field(gt=0, le=0.5)] = 0.3
    """Share of a softened label that goes to the rejected response. Not published."""
    margin: bool = False
    """Write mu as the `margin` of every pair (after a flip, -mu)."""


class StrengthConfig(Section):
    """One `strength`: the whole YAML file."""

    pairs: SeedsConfig = SeedsConfig()
    reward: RewardConfig | None = None
    """Reward models that vote: `name` and `others`, or an ensemble trained earlier. Without them
    one is trained."""
    ensemble: EnsembleConfig = EnsembleConfig()
    certain: Annotated[float, Field(gt=0)] = 1.0
    """A pair is certain where \\|mu\\| exceeds so many sigma; less is ambiguous."""
    strong: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of all pairs, those with the highest mu, that count as strong."""
    treat: TreatmentConfig = TreatmentConfig()
    judge: str | None = None
    """What the bands are shown against: a reward model that does not vote, or your Python function
    as `package.module:name`, called with prompt (a list of messages), response and chosen response;
    it returns a number, the higher the better, or None where it cannot tell. It changes nothing."""
    seed: int = 0
