"""The scorer and its peers behind one call: prompt sets in, one number per response out.

Every engine starts from text and is timed with its tokenisation, since that is how each is used;
`same_ids` of an engine says whether what it makes of the text is what the scorer scores.
"""

import importlib.util
from collections.abc import Sequence
from typing import Any, Protocol

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    pipeline,
)
from workloads import PromptSet, token_sets

from seamaug.config import PolicyConfig, RewardConfig
from seamaug.models.loading import render
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel

HAS_HFLM = importlib.util.find_spec("lm_eval") is not None


class Engine(Protocol):
    """A way to score."""

    def __call__(self, sets: Sequence[PromptSet]) -> list[float]:
        """Log-probability, or reward, of every response in order."""
        ...


class OurPolicy:
    """`seamaug.models.policy.Policy`, with its defaults."""

    def __init__(self, folder: str, *, dtype: str, device: str = "cpu") -> None:
        self.policy = Policy(PolicyConfig(name=folder, dtype=dtype, device=device))  # type: ignore[arg-type]
        self.dtype = _dtype_name(self.policy.model)

    def __call__(self, sets: Sequence[PromptSet]) -> list[float]:
        """Sums of log-probabilities."""
        found = self.policy.logprobs(token_sets(self.policy, list(sets)))
        return [item.total for group in found for item in group]


class Harness:
    """lm-evaluation-harness: `HFLM.loglikelihood` on pairs of context and continuation.

    The context is the prompt through the chat template, the continuation the response with the
    text of the end token, so it scores what the scorer scores. It tokenises context and
    continuation as one text and splits after as many ids as the context alone has; where a
    tokenizer merges across that border the ids would differ, and `same_ids` is False: it is then
    given the scorer's ids through `_loglikelihood_tokens`, the method behind the public one.
    """

    def __init__(self, folder: str, tokens: Any, *, dtype: str, device: str = "cpu") -> None:
        from lm_eval.models.huggingface import HFLM

        self.lm = HFLM(pretrained=folder, dtype=dtype, device=device, batch_size=8)
        self.tokens = tokens
        self.dtype = _dtype_name(self.lm.model)
        self.same_ids = True

    @property
    def batch_size(self) -> int:
        """Requests per forward pass: HFLM sorts them by length, longest first."""
        return int(self.lm.batch_size)

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self.lm.batch_size_per_gpu = size

    def check_ids(self, sets: Sequence[PromptSet]) -> bool:
        """Whether the public path scores the scorer's ids; decides which path is taken."""
        wanted = [pair for _, *pair in self._id_requests(sets)]
        found = [list(self.lm._encode_pair(*pair)) for pair in self._texts(sets)]
        self.same_ids = wanted == found
        return self.same_ids

    def __call__(self, sets: Sequence[PromptSet]) -> list[float]:
        """Sums of log-probabilities."""
        if not self.same_ids:
            answers = self.lm._loglikelihood_tokens(self._id_requests(sets), disable_tqdm=True)
            return [total for total, _ in answers]
        from lm_eval.api.instance import Instance

        requests = [
            Instance(request_type="loglikelihood", doc={}, arguments=pair, idx=number)
            for number, pair in enumerate(self._texts(sets))
        ]
        return [total for total, _ in self.lm.loglikelihood(requests, disable_tqdm=True)]

    def _texts(self, sets: Sequence[PromptSet]) -> list[tuple[str, str]]:
        end = self.tokens.tokenizer.eos_token
        pairs = []
        for item in sets:
            context = render(self.tokens.tokenizer, item.prompt, generation_prompt=True)
            pairs += [(context, response + end) for response in item.responses]
        return pairs

    def _id_requests(
        self, sets: Sequence[PromptSet]
    ) -> list[tuple[tuple[str, str], list[int], list[int]]]:
        return [
            (("", ""), prompt, ids)
            for prompt, responses in token_sets(self.tokens, list(sets))
            for ids in responses
        ]


class PublishedPolicy:
    """The published SEAM procedure, written anew from its description.

    One prompt and response per batch, a log-softmax in float32 over all positions, and a Python
    loop that takes each token's value out. (Its cut of answers at 128 tokens is left out, and its
    text format, so that all engines score the same ids.)
    """

    def __init__(self, folder: str, tokens: Any) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokens = tokens
        self.dtype = "float32"

    @torch.no_grad()
    def __call__(self, sets: Sequence[PromptSet]) -> list[float]:
        """Sums of log-probabilities."""
        totals = []
        for prompt, responses in token_sets(self.tokens, list(sets)):
            for ids in responses:
                logits = self.model(torch.tensor([prompt + ids])).logits
                logprobs = torch.log_softmax(logits.float(), dim=-1)[0]
                total = 0.0
                for place, token in enumerate(ids, start=len(prompt) - 1):
                    total += logprobs[place, token].item()
                totals.append(total)
        return totals


class OurReward:
    """`seamaug.models.reward.RewardModel`, with its defaults."""

    def __init__(self, folder: str, *, dtype: str, device: str = "cpu") -> None:
        self.reward = RewardModel(RewardConfig(name=folder, dtype=dtype, device=device))  # type: ignore[arg-type]
        self.dtype = _dtype_name(self.reward.model)

    def __call__(self, sets: Sequence[PromptSet]) -> list[float]:
        """Raw scores."""
        rows = [self.reward.conversation_ids(item.prompt, item.responses) for item in sets]
        return [score for group in self.reward.rewards(rows) for score in group]


class PipelineReward:
    """transformers' text-classification pipeline, one conversation at a time: the published way."""

    def __init__(self, folder: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.pipe = pipeline(
            "text-classification",
            model=folder,
            tokenizer=self.tokenizer,
            function_to_apply="none",
            batch_size=1,
            dtype=torch.float32,
            device="cpu",
        )
        self.dtype = "float32"

    def __call__(self, sets: Sequence[PromptSet]) -> list[float]:
        """Raw scores."""
        return [found["score"] for found in self.pipe(conversations(self.tokenizer, sets))]


class PaddedReward:
    """Padded batches in input order: the loop that users write themselves."""

    def __init__(self, folder: str, batch_size: int) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(
            folder, dtype=torch.float32
        ).eval()
        self.batch_size = batch_size
        self.dtype = "float32"

    @torch.no_grad()
    def __call__(self, sets: Sequence[PromptSet]) -> list[float]:
        """Raw scores."""
        texts = conversations(self.tokenizer, sets)
        scores: list[float] = []
        for start in range(0, len(texts), self.batch_size):
            batch = self.tokenizer(
                texts[start : start + self.batch_size], padding=True, return_tensors="pt"
            )
            scores += self.model(**batch).logits.squeeze(-1).tolist()
        return scores


def conversations(tokenizer: Any, sets: Sequence[PromptSet]) -> list[str]:
    """Each prompt with each response through the chat template, as text."""
    return [
        render(
            tokenizer,
            [*item.prompt, {"role": "assistant", "content": response}],
            generation_prompt=False,
        )
        for item in sets
        for response in item.responses
    ]


def same_reward_ids(engine: OurReward, sets: Sequence[PromptSet]) -> bool:
    """Whether a tokenizer called on the text, as peers call it, gives the scorer's ids."""
    theirs = engine.reward.tokenizer(conversations(engine.reward.tokenizer, sets))["input_ids"]
    ours = [engine.reward.conversation_ids(item.prompt, item.responses) for item in sets]
    return bool(theirs == [row for group in ours for row in group])


def _dtype_name(model: Any) -> str:
    return str(next(model.parameters()).dtype).removeprefix("torch.")
