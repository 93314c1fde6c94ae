"""Every knob of seamaug, typed and validated, from YAML and flags.

Each class is one section of the YAML file and says what its settings do; a key that no class
names is refused with the nearest known one.
"""

import difflib
import os
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from seamaug.errors import ConfigError
from seamaug.resources import EMBEDDED, resource
from seamaug.units import parse_budget, parse_duration, parse_share


def _typed(parse: Any) -> BeforeValidator:
    """Lets YAML and flags write `10k`, `20%`, `2h`; pydantic reports the parser's message."""

    def convert(value: Any) -> Any:
        try:
            return value if value is None else parse(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(convert)


def _listed(value: Any) -> Any:
    """One path may stand for a list of one."""
    return [value] if isinstance(value, str) else value


Budget = Annotated[int, _typed(parse_budget)]
Share = Annotated[float, _typed(parse_share)]
Duration = Annotated[float, _typed(parse_duration)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SeedsConfig(Section):
    """Where the seeds come from and which of their columns mean what."""

    paths: Annotated[tuple[str, ...], BeforeValidator(_listed)] = (EMBEDDED,)
    """Files, globs, dataset folders or hub ids; `embedded` is the bundled set."""
    split: str = "train"
    """Split of a dataset id or folder."""
    subset: str | None = None
    """Configuration name of a dataset id (the second argument of load_dataset)."""
    columns: dict[Literal["prompt", "golden", "worse"], str] = {}
    """Own column names, where they are not recognised by themselves."""


class ModelConfig(Section):
    """A model by name: `embedded`, a folder, or a hub id."""

    name: str = EMBEDDED
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    trust_remote_code: bool = False
    """Run Python code that the model's repository brings. Off: such a model is refused."""
    device: str = "auto"
    """`auto` takes a GPU where there is one."""


class LanguageModelConfig(ModelConfig):
    """What policy, reward model and generator share."""

    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto`: bfloat16 where the hardware multiplies it fast (a GPU, a CPU with AMX or AVX-512
    BF16), float32 elsewhere. Log-probabilities then err by less than 0.01 nats a token on
    average."""
    batch_tokens: Positive = 4096
    """Tokens that a forward pass, or one request to a server, may hold; where memory runs out it is
    lowered by itself."""
    chat_template: str | None = None
    """Template for a model that has none: a Jinja file, or `question_answer`, which ships."""
    max_length: Positive | None = None
    """Longest sequence in tokens; default is what the model's config allows."""


class ScorerConfig(LanguageModelConfig):
    """What policy and reward model share: the engine that runs them."""

    engine: Literal["transformers", "vllm", "server"] = "transformers"
    """`vllm`: vLLM in this process; `server`: a vLLM server at `url`."""
    url: str | None = None
    """Where the server is, such as http://127.0.0.1:8000/v1. The tokenizer is read here, by
    `name`."""
    served_name: str | None = None
    """The model's name at the server; default is `name`."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable that holds the server's key, which itself is never stored."""
    engine_options: dict[str, Any] = {}
    """Arguments of vllm.LLM, such as tensor_parallel_size, quantization, gpu_memory_utilization
    (here 0.4 by default: policy and reward model may share a GPU)."""

    @model_validator(mode="after")
    def _settings_of_the_engine(self) -> "ScorerConfig":
        """A setting that the engine would not read is a mistake."""
        if self.engine == "server" and self.url is None:
            raise ValueError("`engine: server` needs `url`, such as http://127.0.0.1:8000/v1")
        for engines, names, fix in _READ_BY:
            default = {name: type(self).model_fields[name].default for name in names}
            given = [name for name in names if getattr(self, name) != default[name]]
            if given and self.engine not in engines:
                raise ValueError(
                    f"`engine: {self.engine}` does not read `{given[0]}`; remove it, or {fix}"
                )
        scheme, _, rest = (self.url or "http://x").partition("://")
        if scheme not in ("http", "https") or not rest or set("@?#") & set(rest):
            raise ValueError(
                "`url` must be like http://127.0.0.1:8000/v1, without a password or a token: the "
                "variable that `api_key_env` names holds a key"
            )
        if own := sorted(_SET_FROM_CONFIG & self.engine_options.keys()):
            raise ValueError(
                f"`engine_options.{own[0]}` follows from the other settings; remove it"
            )
        return self


_READ_BY: tuple[tuple[tuple[str, ...], tuple[str, ...], str], ...] = (
    (("server",), ("url", "served_name", "api_key_env"), "set `engine: server`"),
    (("vllm",), ("engine_options",), "set `engine: vllm`"),
    (("transformers",), ("device",), "choose the device where vLLM starts (CUDA_VISIBLE_DEVICES)"),
    (("transformers", "vllm"), ("dtype",), "start the server with --dtype"),
)
"""Engines, the settings that only they read, and what to do instead."""
_SET_FROM_CONFIG = {
    "model",
    "revision",
    "tokenizer_revision",
    "trust_remote_code",
    "dtype",
    "runner",
    "convert",
    "pooler_config",
    "logprobs_mode",
}
"""Arguments of vllm.LLM that are not options."""


class PolicyConfig(ScorerConfig):
    """The policy model (PM): a causal language model."""

    count_eos: bool = True
    """Count the end-of-sequence token as part of a response."""


class RewardConfig(ScorerConfig):
    """The reward model (RM): a sequence classifier with one label."""

    others: tuple[str, ...] = ()
    """Further reward models with the same settings: an ensemble, whose standardised scores are
    averaged."""

    def members(self) -> "tuple[RewardConfig, ...]":
        """One config per reward model of the ensemble."""
        first = self.model_copy(update={"others": ()})
        return (first, *(self.like(name) for name in self.others))

    def like(self, name: str) -> "RewardConfig":
        """Another reward model with the same settings."""
        return self.model_copy(update={"name": name, "others": (), "served_name": None})


class EmbedderConfig(ModelConfig):
    """The sentence-transformers model that places prompts near each other."""

    batch_size: Positive = 64
    prompt: str = ""
    """Text put before each prompt, for embedders that were trained with one."""


class GeneratorConfig(LanguageModelConfig):
    """The LLM that writes variants; `embedded` uses the rule-based operators alone."""

    max_new_tokens: Positive = 256
    """For each answer that a reply is to hold."""
    temperature: Annotated[float, Field(gt=0)] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95


class ContrastConfig(Section):
    """The contrast estimator: golden responses of the nearest different prompts."""

    low: Annotated[float, Field(ge=-1, le=1)] = 0.8
    high: Annotated[float, Field(ge=-1, le=1)] = 0.9
    """Cosine band [low, high): nearer prompts may share the answer, farther ones say nothing."""
    at_least: Positive = 8
    """A band with fewer prompts than this counts as empty and is widened downwards."""
    generic_from: Annotated[int, Field(ge=2)] = 3
    """A golden response that so many prompts share ("I have no comment") may be right for any
    prompt: it enters a hack set only where there are too few others."""
    same_answer: Annotated[float, Field(gt=0, le=1)] = 0.9
    """ROUGE-L F1 with the golden response from which on another prompt's response passes for right,
    where no final number tells. Higher than `verify.reference_overlap`: "It is 7." answers another
    question than "It is 5."."""

    @model_validator(mode="after")
    def _ordered(self) -> "ContrastConfig":
        if self.low >= self.high:
            raise ValueError(f"`low` must be below `high`, not {self.low:g} and {self.high:g}")
        return self


class LLMHackConfig(Section):
    """The llm estimator: worse answers written by the generator."""

    aspects: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "a factual error",
        "a misread question",
        "irrelevance",
        "bad grammar",
        "over-confidence",
    )
    """What is to be wrong with an answer; gone through in turn."""
    per_call: Positive = 5
    """Worse answers asked for in one reply."""


class AdversarialConfig(Section):
    """The adversarial estimator: a beam search for damage that the reward model rewards."""

    calls: Positive = 240
    """Texts that each reward model scores per prompt."""
    proposals: Positive = 24
    """New texts per prompt and round."""
    beam: Positive = 4
    """Texts that each round goes on from; 1 is a greedy search."""


class OnPolicyConfig(Section):
    """The on-policy estimator: samples of the policy that a verifier finds worse."""

    verifier: Literal["reference", "vote", "judge"] = "reference"
    """`reference`: another final number, or little overlap with the golden response; `vote`: most
    of `judges` score it below the golden response; `judge`: the generator, asked in both orders."""
    judges: tuple[str, ...] = ()
    """Reward models other than the one under test."""
    max_new_tokens: Positive = 128

    @model_validator(mode="after")
    def _has_judges(self) -> "OnPolicyConfig":
        if (self.verifier == "vote") != bool(self.judges):
            raise ValueError(
                "`verifier: vote` needs `judges`, a list of reward models, and the other verifiers "
                "none"
            )
        return self


EstimatorName = Literal["contrast", "llm", "adversarial", "on-policy"]
Weighting = Literal["prob", "paper"]


class ScoreConfig(Section):
    """How SEAM is computed."""

    estimators: Annotated[
        tuple[EstimatorName, ...], BeforeValidator(_listed), Field(min_length=1)
    ] = ("contrast",)
    """How hack sets are built. The first one decides what is selected; all are reported."""
    weighting: Weighting = "prob"
    """The weighting that selection and the keep rule use; both are always reported."""
    samples: Positive = 30
    """Responses per prompt and estimator (N in the paper)."""
    contrast: ContrastConfig = ContrastConfig()
    llm: LLMHackConfig = LLMHackConfig()
    adversarial: AdversarialConfig = AdversarialConfig()
    on_policy: OnPolicyConfig = OnPolicyConfig()
    batch_seeds: Positive = 64
    """Seeds per part: what a killed run can lose."""

    @field_validator("estimators")
    @classmethod
    def _distinct(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError("an estimator is named twice")
        return names


class SelectConfig(Section):
    """Which seeds are worth variants: the worst share by SEAM, or the worst n."""

    share: Share = 0.2
    top: Positive | None = None
    """If set, the worst n seeds instead of a share."""


class GenerateConfig(Section):
    """How variants and worse responses are made."""

    operators: tuple[str, ...] = ("all",)
    """Operators by name, or `all`; those that need an LLM run only with a generator."""
    depth: Positive = 3
    """Embedded operators composed in one variant, at most."""
    neighbours: Positive = 8
    """Near seeds an operator may look at."""
    per_round: Positive = 8
    """Variants of one parent per round, at most."""
    per_parent: Positive = 200
    """Variants of one parent over the whole run, at most."""
    batch_parents: Positive = 32
    """Parents per part: what a killed run can lose."""
    worse: Annotated[
        tuple[Literal["given", "policy", "llm", "scored"], ...], Field(min_length=1)
    ] = ("given", "policy", "llm", "scored")
    """Sources of worse responses, in the order in which they fill the hack set; `scored` are those
    that weigh most in the seed's SEAM."""
    policy_samples: Annotated[int, Field(ge=0)] = 2
    """Responses sampled from the policy per parent."""
    policy_max_new_tokens: Positive = 64
    llm_worse: Annotated[int, Field(ge=0)] = 2
    """Worse responses an LLM generator writes per parent."""
    golden_rewrites: Annotated[int, Field(ge=0)] = 1
    """Rewrites of the golden response an LLM generator writes per parent."""


class VerifyConfig(Section):
    """What a candidate must satisfy before it is scored."""

    max_chars: Positive = 20_000
    length_ratio: Annotated[float, Field(gt=1)] = 3.0
    """A variant may be this many times longer or shorter than its parent (plus 200 characters)."""
    reference_overlap: Annotated[float, Field(gt=0, le=1)] = 0.5
    """ROUGE-L F1 with the golden response: below it a sampled response counts as worse (where no
    final number can be compared), from it on an LLM's rewrite of the golden response counts as
    the same."""
    min_similarity: Annotated[float, Field(ge=-1, le=1)] = 0.75
    """Cosine to the parent below which an LLM's rewrite of a prompt has drifted in meaning."""


class KeepConfig(Section):
    """The rule that decides what is kept."""

    rule: Literal["rescore"] = "rescore"
    """`rescore`: the variant's SEAM is below its parent's on the same hack set."""
    margin: Annotated[float, Field(ge=0)] = 1e-3
    """How far below, in standard deviations of the reward model's scores."""
    hack_set_size: Positive = 8
    """Responses a candidate is scored against; the parent is scored on the same ones."""
    same_rejected: Share = 0.02
    """Share of the budget (but at least 10) that may have one and the same rejected response; past
    it the hack set's next one is taken. A reward model would else learn that one text."""
    patience: Positive = 3
    """A parent that kept nothing in this many rounds gets no more variants."""


class Config(Section):
    """One run of seamaug: the whole YAML file."""

    seeds: SeedsConfig = SeedsConfig()
    policy: PolicyConfig = PolicyConfig()
    reward: RewardConfig = RewardConfig()
    embedder: EmbedderConfig = EmbedderConfig()
    generator: GeneratorConfig = GeneratorConfig()
    score: ScoreConfig = ScoreConfig()
    select: SelectConfig = SelectConfig()
    generate: GenerateConfig = GenerateConfig()
    verify: VerifyConfig = VerifyConfig()
    keep: KeepConfig = KeepConfig()
    budget: Budget = 10_000
    """Examples to keep."""
    seed: int = 0
    """Seed of everything that is drawn at random."""
    max_time: Duration | None = None
    """Seconds after which the run stops generating and writes what it has."""

    @model_validator(mode="after")
    def _independent_judges(self) -> "Config":
        # Where it is wrong, it would vote the error away: every SEAM would be near 0.
        tested = {self.reward.name, *self.reward.others} & set(self.score.on_policy.judges)
        if tested:
            raise ValueError(
                f"`score.on_policy.judges` names the reward model under test, {min(tested)}: give "
                "others"
            )
        return self

    @model_validator(mode="after")
    def _llm_estimators(self) -> "Config":
        if self.uses_writer_to_score and self.generator.name == EMBEDDED:
            raise ValueError(
                "the llm estimator and the on-policy estimator's `judge` need an LLM: give "
                "`generator.name` (--generator MODEL)"
            )
        return self

    @property
    def uses_writer_to_score(self) -> bool:
        """Whether scoring asks the generator."""
        names, judge = self.score.estimators, self.score.on_policy.verifier == "judge"
        return "llm" in names or ("on-policy" in names and judge)


def load_config(path: str | Path | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """The config of a YAML file (or a shipped recipe's name), with overrides by dotted key.

    Overrides whose value is None are left out, so that flags pass through as they are.
    Raises ConfigError naming the file, the key and the nearest known one.
    """
    data: dict[str, Any] = {}
    if path is not None:
        data = _read_yaml(_find(path))
    for key, value in (overrides or {}).items():
        if value is not None:
            _set(data, key.split("."), value, path)
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from None


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
    import yaml  # not at start: `--help` needs none of it

    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    # safe_load lets ValueError through for numbers and dates that Python cannot hold.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
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


def _explain(error: ValidationError, path: str | Path | None) -> str:
    """One line per problem; an unknown key comes with the nearest known key of its section."""
    where = f"{path}: " if path else ""
    lines = []
    for problem in error.errors():
        location = [str(part) for part in problem["loc"]]
        dotted = ".".join(location)
        if problem["type"] == "extra_forbidden":
            section = _section_at(location[:-1])
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
            got = "" if told else f" (got {problem['input']!r})"
            lines.append(f"{where}`{dotted}`: {message}{got}")
    return "\n".join(lines)


def _section_at(location: list[str]) -> type[Section]:
    section: type[Section] = Config
    for part in location:
        field = section.model_fields.get(part)
        annotation = field.annotation if field else None
        for kind in (annotation, *typing.get_args(annotation)):
            if isinstance(kind, type) and issubclass(kind, Section):
                section = kind
    return section
