"""Sections of the models: which one, and what runs it."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from seamaug.config.base import Duration, Positive, Section
from seamaug.resources import EMBEDDED

Price = Annotated[float, Field(ge=0)]
ReadBy = tuple[tuple[str, ...], tuple[str, ...], str]
_SERVER_ALONE: ReadBy = (
    ("server",),
    ("url", "served_name", "api_key_env"),
    "set `engine: server`",
)
_DEVICE: ReadBy = (
    ("transformers",),
    ("device",),
    "choose the device where vLLM starts (CUDA_VISIBLE_DEVICES)",
)


class ModelConfig(Section):
    """A model by name: `embedded`, a folder, or a hub id."""

    name: str = EMBEDDED
    revision: str | None = None
    """Branch, tag or commit of a hub id."""
    trust_remote_code: bool = False
    """Run Python code that the model's repository brings. Off: such a model is refused."""
    allow_pickle: bool = False
    """Read weights that are not safetensors, through torch's restricted unpickler. Off: a model
    that has no others is refused."""
    device: str = "auto"
    """`auto` takes a GPU where there is one."""


class LanguageModelConfig(ModelConfig):
    """What policy, reward model and generator share: the engine that runs them, and its limits."""

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
    """Longest sequence in tokens; default is what the model's config, or its server, allows."""
    engine: Literal["transformers", "vllm", "server"] = "transformers"
    """`vllm`: vLLM in this process; `server`: a server at `url`."""
    url: str | None = None
    """Where the server is, such as http://127.0.0.1:8000/v1. For policy and reward model it is
    vLLM's, and their tokenizers are read here, by `name`; a generator's needs only OpenAI's chat
    API."""
    served_name: str | None = None
    """The model's name at the server; default is `name`."""
    api_key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    """Environment variable that holds the server's key, which itself is never stored."""
    engine_options: dict[str, Any] = Field(default_factory=dict)
    """Arguments of vllm.LLM, such as tensor_parallel_size, quantization, gpu_memory_utilization
    (here 0.4 by default: models may share a GPU). For a generator's server: fields that its
    requests have beside the usual ones (chat_template_kwargs), or lack (`seed: null`)."""

    read_by: ClassVar[tuple[ReadBy, ...]] = (
        _SERVER_ALONE,
        (("vllm",), ("engine_options",), "set `engine: vllm`"),
        _DEVICE,
        (("transformers", "vllm"), ("dtype",), "start the server with --dtype"),
    )
    """Engines, the settings that only they read, and what to do instead."""

    @model_validator(mode="after")
    def _engine_reads_its_settings(self) -> Self:
        if self.engine == "server" and self.url is None:
            raise ValueError("`engine: server` needs `url`, such as http://127.0.0.1:8000/v1")
        for engines, names, fix in self.read_by:
            fields = type(self).model_fields
            default = {name: fields[name].get_default(call_default_factory=True) for name in names}
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
        if "hf_token" in self.engine_options:
            raise ValueError(
                "`engine_options.hf_token` would be stored with the run: remove it and set HF_TOKEN"
            )
        if own := sorted(_SET_FROM_CONFIG & self.engine_options.keys()):
            raise ValueError(
                f"`engine_options.{own[0]}` follows from the other settings; remove it"
            )
        return self


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
    "messages",
    "response_format",
    "stream",
    "n",
}
"""Arguments of vllm.LLM, and fields of a request, that are not options."""


class PolicyConfig(LanguageModelConfig):
    """The policy model (PM): a causal language model."""

    count_eos: bool = True
    """Count the end-of-sequence token as part of a response."""

    def like(self, name: str) -> "PolicyConfig":
        """Another policy with the same settings."""
        return self.model_copy(update={"name": name, "served_name": None})


class RewardConfig(LanguageModelConfig):
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
    prompt_name: str | None = None
    """Which of the model's own prompts to embed with. Default: the one it has for queries, if any.
    Seeds are compared with each other, so both sides are embedded alike, and both are questions."""
    prompt: str | None = None
    """Text to embed with instead of the model's own prompt; "" for none."""
    cache: str | None = None
    """Folder of this machine (with `engine: ray`, of each worker's) that keeps the vectors of seeds
    for further runs, found by their texts (in batches of 4,096), the model's weights and settings.
    Remove it to free its room."""

    @field_validator("cache")
    @classmethod
    def _a_folder(cls, value: str | None) -> str | None:
        if value is not None and "://" in value:
            raise ValueError("it is a folder of this machine, not an address")
        return value

    @model_validator(mode="after")
    def _one_prompt(self) -> "EmbedderConfig":
        if self.prompt is not None and self.prompt_name is not None:
            raise ValueError("give `prompt` or `prompt_name`, not both")
        return self


class GeneratorConfig(LanguageModelConfig):
    """The LLM that writes variants; `embedded` uses the rule-based operators alone.

    On a server, `name` is what the server calls it: no file of it is needed here.
    """

    max_new_tokens: Positive = 256
    """For each answer that a reply is to hold."""
    temperature: Annotated[float, Field(gt=0)] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    structured: bool | None = None
    """Hold replies to a JSON schema where one is given; default is to do so where the engine
    can, which a server is asked at the start."""
    in_flight: Positive = 64
    """Requests at a time to a server, at most: fewer for as long as it is overloaded."""
    timeout: Duration = 600.0
    """Seconds that a server may take for a reply."""
    attempts: Positive = 6
    """Times that one request is sent to a server that fails or gives no answer in time."""
    patience: Duration = 1800.0
    """Seconds that one request may take with all attempts and pauses, but for the wait for its
    turn; a server that says it is busy (429, 503), or is gone in mid-run and may be starting anew,
    is asked again for as long."""
    price_in: Price | None = None
    """USD per million tokens of a prompt."""
    price_out: Price | None = None
    """USD per million tokens of a reply."""

    read_by: ClassVar[tuple[ReadBy, ...]] = (
        (
            ("server",),
            (*_SERVER_ALONE[1], "in_flight", "timeout", "attempts", "patience"),
            _SERVER_ALONE[2],
        ),
        (("vllm", "server"), ("engine_options", "structured"), "set `engine: vllm` or `server`"),
        _DEVICE,
        (
            ("transformers", "vllm"),
            ("dtype", "batch_tokens", "chat_template", "revision", "trust_remote_code"),
            "give it to the server",
        ),
    )

    @model_validator(mode="after")
    def _has_a_name(self) -> Self:
        if self.name == EMBEDDED and self.engine != "transformers":
            raise ValueError(f"`engine: {self.engine}` needs `name`, the model that it runs")
        return self

    @model_validator(mode="after")
    def _both_prices(self) -> Self:
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("give both `price_in` and `price_out`, or neither")
        return self
