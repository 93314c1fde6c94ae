"""Policy, reward model and generator on vLLM, in this process."""

import importlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from seamaug.clock import clock
from seamaug.config import GeneratorConfig, LanguageModelConfig, PolicyConfig, RewardConfig
from seamaug.errors import ModelError
from seamaug.models.engines import FREELY, Leave, Reply, Request
from seamaug.models.heartbeat import heartbeat
from seamaug.models.loading import LOADING_ERRORS, dtype_of, locate
from seamaug.models.sequences import Draw, SequencePolicy, SequenceReward, response_total
from seamaug.models.tokens import PromptTokens

_GPU_SHARE = 0.4
"""Of a GPU's memory for each model; vLLM's own 0.92 would leave a second one nothing, and the
log-probabilities of a prompt take memory that vLLM does not count."""


class VLLMPolicy(SequencePolicy):
    """The policy on vLLM: log P(response | prompt) from the engine's prompt log-probabilities."""

    def __init__(self, config: PolicyConfig) -> None:
        super().__init__(config)
        options: dict[str, Any] = {"runner": "generate", "logprobs_mode": "raw_logprobs"}
        if config.max_length is not None:
            # One token more than is scored, since vLLM always generates one.
            options["max_model_len"] = min(config.max_length + 1, _longest(self.model_config))
        self._llm = _start(config, "policy", options)
        self.max_length = min(self.max_length, self._llm.model_config.max_model_len - 1)

    def _totals(self, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        from vllm import SamplingParams

        # 0: of each token itself alone, and of none beside it.
        asked = SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False)
        prompts = [{"prompt_token_ids": prompt + response} for prompt, response in rows]
        with _working("policy", self._llm):
            outputs = self._llm.generate(prompts, asked, use_tqdm=False)
        return [
            response_total(
                prompt,
                response,
                [
                    position and {token: item.logprob for token, item in position.items()}
                    for position in output.prompt_logprobs
                ],
                engine="vLLM",
            )
            for (prompt, response), output in zip(rows, outputs, strict=True)
        ]

    def _samples(self, draws: Sequence[Draw]) -> list[list[str]]:
        from vllm import SamplingParams

        asked = [
            SamplingParams(
                n=draw.n,
                seed=draw.seed,
                max_tokens=draw.max_new_tokens,
                temperature=draw.temperature,
                top_p=draw.top_p,
                detokenize=False,
            )
            for draw in draws
        ]
        prompts = [{"prompt_token_ids": draw.ids} for draw in draws]
        with _working("policy", self._llm):
            outputs = self._llm.generate(prompts, asked, use_tqdm=False)
        return [self.decode([list(item.token_ids) for item in o.outputs]) for o in outputs]


class VLLMReward(SequenceReward):
    """The reward model on vLLM: the classifier's logit, without the sigmoid that is its default."""

    def __init__(self, config: RewardConfig) -> None:
        super().__init__(config)
        options: dict[str, Any] = {"runner": "pooling", "convert": "classify"}
        if config.max_length is not None:
            options["max_model_len"] = min(config.max_length, _longest(self.model_config))
        self._llm = _start(config, "reward", options)
        self.max_length = min(self.max_length, self._llm.model_config.max_model_len)

    def _scores(self, rows: Sequence[list[int]]) -> list[float]:
        from vllm import PoolingParams

        raw = PoolingParams(use_activation=False)
        prompts = [{"prompt_token_ids": row} for row in rows]
        with _working("reward", self._llm):
            outputs = self._llm.classify(prompts, pooling_params=raw, use_tqdm=False)
        return [float(output.outputs.probs[0]) for output in outputs]


class VLLMGenerator(PromptTokens):
    """The LLM that writes on vLLM: each request with its own seed, held to its JSON schema."""

    paid = False

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__(config, "generator")
        self.structured = config.structured is not False
        self.mark = {"model": config.name, "top_p": config.top_p}
        self._top_p = config.top_p
        options: dict[str, Any] = {"runner": "generate"}
        if config.max_length is not None:
            options["max_model_len"] = min(config.max_length, _longest(self.model_config))
        self._llm = _start(config, "generator", options)
        self.max_length: int = min(self.max_length, self._llm.model_config.max_model_len)

    def stream(
        self, requests: Sequence[Request], leave: Leave = FREELY
    ) -> Iterator[tuple[int, Reply]]:
        """Each request's position and reply; vLLM takes all requests together."""
        if not leave.begin(requests):
            return
        asked: list[tuple[int, list[int]]] = []
        for i, request in enumerate(requests):
            fits, refused = self.fitting([request.messages], request.max_new_tokens)
            if refused:
                yield i, Reply(error=refused[0])
            else:
                asked.append((i, fits[0]))
        if not asked:
            return
        with clock.kind("generation"), _working("generator", self._llm):
            outputs = self._llm.generate(
                [{"prompt_token_ids": ids} for _, ids in asked],
                [self._params(requests[i]) for i, _ in asked],
                use_tqdm=False,
            )
        for (i, ids), output in zip(asked, outputs, strict=True):
            (item,) = output.outputs
            new = list(item.token_ids)
            (text,) = self.decode([new])
            yield i, Reply(text, "", item.finish_reason == "length", len(ids), len(new))

    def _params(self, request: Request) -> Any:
        from vllm import SamplingParams
        from vllm.sampling_params import StructuredOutputsParams

        held = self.structured and request.schema is not None
        return SamplingParams(
            seed=request.seed,
            max_tokens=request.max_new_tokens,
            temperature=request.temperature,
            top_p=self._top_p,
            detokenize=held,  # vLLM's own text is not used, but the grammar's end is found in it
            structured_outputs=StructuredOutputsParams(json=request.schema) if held else None,
        )


@contextmanager
def _working(role: str, llm: Any) -> Iterator[None]:
    """Says that it works, and what to do where the engine's process dies under it."""
    from vllm.v1.engine.exceptions import EngineDeadError

    def left() -> str:
        return f"{llm.llm_engine.get_num_unfinished_requests():,} requests are unfinished"

    try:
        with heartbeat(role, left):
            yield
    except EngineDeadError:
        raise ModelError(
            f"the {role} engine died, the log above says why; if it ran out of memory, set "
            f"`{role}.batch_tokens` or gpu_memory_utilization in `{role}.engine_options` lower "
            "and run the same command again: it resumes"
        ) from None


def _longest(model_config: Any) -> int:
    limit = getattr(model_config.get_text_config(), "max_position_embeddings", None)
    return int(limit or 1 << 30)


def _start(config: LanguageModelConfig, role: str, options: dict[str, Any]) -> Any:
    """vllm.LLM with a role's model; raises ModelError where vLLM is missing or does not start."""
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")  # its start is told in 100 lines
    try:
        vllm = importlib.import_module("vllm")
    except ImportError as error:
        raise ModelError(
            f"`{role}.engine: vllm` needs vLLM ({error}): pip install 'seamaug[vllm]'"
        ) from None
    defaults = {
        "load_format": "auto" if config.allow_pickle else "safetensors",
        "gpu_memory_utilization": _GPU_SHARE,
        # Longer rows are read in parts, and with them their tokens x vocabulary log-probabilities.
        "max_num_batched_tokens": config.batch_tokens,
    }
    try:
        return vllm.LLM(
            model=locate(config, role),
            revision=config.revision,
            tokenizer_revision=config.revision,
            trust_remote_code=config.trust_remote_code,
            dtype=str(dtype_of(config)).removeprefix("torch."),
            **{**defaults, **options, **config.engine_options},
        )
    except (*LOADING_ERRORS, TypeError) as error:
        raise ModelError(
            f"{role} model {config.name!r} does not start on vLLM: {error}; the log above says "
            f"more, and `{role}.engine_options` and `{role}.max_length` are passed on to it"
        ) from None
