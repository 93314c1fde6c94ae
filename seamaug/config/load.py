"""The whole config, from YAML and flags."""

import difflib
import os
import typing
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, ValidationError, model_validator

from seamaug.config.base import Budget, Duration, Section, Tokens
from seamaug.config.diagnose import DiagnoseConfig
from seamaug.config.flow import GenerateConfig, KeepConfig, SeedsConfig, SelectConfig
from seamaug.config.models import EmbedderConfig, GeneratorConfig, PolicyConfig, RewardConfig
from seamaug.config.retrieve import RetrieveConfig
from seamaug.config.scale import RayConfig
from seamaug.config.score import ScoreConfig
from seamaug.config.verify import VerifyConfig
from seamaug.errors import ConfigError
from seamaug.resources import EMBEDDED, resource
from seamaug.units import Spend
from seamaug.yaml_file import read_yaml

_SHOWN = 300
"""Characters of a wrong value that an error shows."""
Whole = TypeVar("Whole", bound=Section)
"""The section that a whole YAML file is."""


class Config(Section):
    """One run of seamaug: the whole YAML file."""

    seeds: SeedsConfig = SeedsConfig()
    policy: PolicyConfig = PolicyConfig()
    reward: RewardConfig = RewardConfig()
    embedder: EmbedderConfig = EmbedderConfig()
    generator: GeneratorConfig = GeneratorConfig()
    score: ScoreConfig = ScoreConfig()
    select: SelectConfig = SelectConfig()
    retrieve: RetrieveConfig = RetrieveConfig()
    generate: GenerateConfig = GenerateConfig()
    verify: VerifyConfig = VerifyConfig()
    keep: KeepConfig = KeepConfig()
    diagnose: DiagnoseConfig = DiagnoseConfig()
    ray: RayConfig = RayConfig()
    budget: Budget = 10_000
    """Examples to keep; or what the generator may take, after which the run is done: `5M tokens`
    read and written, or `20 USD` by its prices, with scoring and parents. Shares of a budget in
    tokens or money are those of the examples kept so far."""
    engine: Literal["local", "ray"] = "local"
    """What maps models over rows: this process, or the workers of a Ray cluster: the one that
    RAY_ADDRESS names, or one of this machine."""
    seed: int = 0
    """Seed of everything that is drawn at random."""
    max_time: Duration | None = None
    """Seconds after which the run stops generating and writes what it has. A server's answers are
    waited for a few seconds longer, and then asked for again when the run goes on."""
    max_tokens: Tokens | None = None
    """Tokens that the generator may read and write; then the run ends as after `max_time`. A
    request to a server is begun only if the most that it may take is left."""
    max_cost: Annotated[float, Field(gt=0)] | None = None
    """USD that they may cost, by the generator's prices."""
    track: Literal["tensorboard", "wandb"] | None = None
    """Where `expand` logs scalars while it works: event files in the run folder, or a W&B run."""

    @model_validator(mode="after")
    def _independent_judges(self) -> "Config":
        # Where it is wrong, it would vote the error away: every SEAM would be near 0.
        tested = {self.reward.name, *self.reward.others} & set(self.verify.worse.judges)
        if tested:
            raise ValueError(
                f"`verify.worse.judges` names the reward model under test, {min(tested)}: give "
                "others"
            )
        return self

    @model_validator(mode="after")
    def _has_llm(self) -> "Config":
        asked = "judge" in self.verify.worse.by or "llm" in self.score.estimators
        if asked and self.generator.name == EMBEDDED:
            raise ValueError(
                "the llm estimator and the check `judge` of `verify.worse` need an LLM: give "
                "`generator.name` (--generator MODEL)"
            )
        return self

    @model_validator(mode="after")
    def _policy_shows_its_states(self) -> "Config":
        if self.keep.policy_weight and self.policy.engine != "transformers":
            raise ValueError(
                "`keep.policy_weight` needs the policy's hidden states, which `policy.engine: "
                f"{self.policy.engine}` does not show; set `policy.engine: transformers`, or leave "
                "it at 0"
            )
        return self

    @model_validator(mode="after")
    def _own_operators_have_an_llm(self) -> "Config":
        if self.generate.operators_from is not None and self.generator.name == EMBEDDED:
            raise ValueError(
                "the operators of `generate.operators_from` need an LLM: give `generator.name` "
                "(--generator MODEL)"
            )
        return self

    @model_validator(mode="after")
    def _limits_that_count(self) -> "Config":
        for name in ("max_tokens", "max_cost"):
            if getattr(self, name) is not None and self.generator.name == EMBEDDED:
                raise ValueError(
                    f"`{name}` limits what an LLM writes, and there is none: give "
                    "`generator.name` (--generator MODEL), or limit the run by `max_time`"
                )
        if isinstance(self.budget, Spend) and self.generator.name == EMBEDDED:
            raise ValueError(
                f"`budget: {self.budget}` is spent on an LLM, and there is none: give "
                "`generator.name` (--generator MODEL), or a number of examples, such as 10k"
            )
        in_usd = isinstance(self.budget, Spend) and self.budget.cost is not None
        if (in_usd or self.max_cost is not None) and self.generator.price_in is None:
            name = f"budget: {self.budget}" if in_usd else "max_cost"
            raise ValueError(
                f"`{name}` needs `generator.price_in` and `generator.price_out`, in USD per "
                "million tokens"
            )
        return self

    @model_validator(mode="after")
    def _distinct_models(self) -> "Config":
        names = (self.policy.name, *self.diagnose.policies)
        if len(set(names)) < len(names):
            raise ValueError("`diagnose.policies` names a policy twice")
        return self

    def examples(self, kept: int) -> int:
        """What a share of the budget is a share of; `kept`: examples so far."""
        return kept if isinstance(self.budget, Spend) else self.budget

    @property
    def uses_writer_to_score(self) -> bool:
        """Whether scoring asks the generator."""
        names, judge = self.score.estimators, "judge" in self.verify.worse.by
        return "llm" in names or ("on-policy" in names and judge)


def load_config(path: str | Path | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """The config of a YAML file (or a shipped recipe's name), with overrides by dotted key.

    An override of None sets None, as `null` does in the file.
    Raises ConfigError naming the file, the key and the nearest known one.
    """
    return load_section(Config, path, overrides)


def load_section(
    kind: type[Whole], path: str | Path | None = None, overrides: dict[str, Any] | None = None
) -> Whole:
    """As `load_config`, for another whole file than that of a run."""
    data: dict[str, Any] = {}
    if path is not None:
        data = _read_yaml(_find(path))
    for key, value in (overrides or {}).items():
        _set(data, key.split("."), value, path)
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(kind, error, path)) from None


def _find(path: str | Path) -> Path:
    if os.path.isfile(path):  # False, not an error, for a name that no file can have
        return Path(path)
    recipes = {recipe.stem: recipe for recipe in sorted(resource("configs").glob("*.yaml"))}
    if str(path) in recipes:
        return recipes[str(path)]
    raise ConfigError(
        f"config file {path} does not exist; shipped recipes are {', '.join(recipes)}"
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if data is not None and not isinstance(data, dict):
        raise ConfigError(f"{path} must hold `key: value` sections, not a {type(data).__name__}")
    return data or {}


def _set(data: dict[str, Any], keys: list[str], value: Any, path: str | Path | None) -> None:
    for key in keys[:-1]:
        section = data.get(key, {})
        if not isinstance(section, dict):
            where = f"{path}: " if path else ""
            raise ConfigError(f"{where}`{key}` must be a section with keys of its own")
        # A copy: with a YAML alias, two roles share one dictionary.
        data[key] = dict(section)
        data = data[key]
    data[keys[-1]] = value


def _explain(kind: type[Section], error: ValidationError, path: str | Path | None) -> str:
    """One line per problem; an unknown key comes with the nearest known key of its section."""
    where = f"{path}: " if path else ""
    lines = []
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        dotted = ".".join(location)
        if problem["type"] == "extra_forbidden":
            section = _section_at(kind, location[:-1])
            near = difflib.get_close_matches(location[-1], list(section.model_fields), n=1)
            prefix = "".join(f"{part}." for part in location[:-1])
            hint = (
                f"did you mean `{prefix}{near[0]}`?"
                if near
                else f"known keys: {', '.join(section.model_fields)}"
            )
            lines.append(f"{where}unknown key `{dotted}`; {hint}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            # A whole section says nothing that the message does not, and may hold a secret.
            told = isinstance(problem["input"], dict) or location[-1] == "api_key_env"
            got = "" if told else f" (got {_shown(problem['input'])})"
            key = f"`{dotted}`: " if dotted else ""  # what sections ask of each other has no key
            lines.append(f"{where}{key}{message}{got}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _section_at(section: type[Section], location: list[str]) -> type[Section]:
    for part in location:
        field = section.model_fields.get(part)
        annotation = field.annotation if field else None
        for inner in (annotation, *typing.get_args(annotation)):
            if isinstance(inner, type) and issubclass(inner, Section):
                section = inner
    return section
