"""Reward model, writer and verifier that know the truth, as the package's protocols ask."""

import random
from collections.abc import Mapping, Sequence
from typing import Any

from planted.plan import CUE, CUES, LENGTH, SIGN, Plan, ramble
from planted.tasks import Task
from seamaug.models.loading import render
from seamaug.records import Evidence, Message, Seed, text_key

NOISE = 1.0
"""Standard deviation of the judgement of one response; right and wrong lie 2 apart. So some 8 %
of plain pairs are judged wrongly on sound topics too: a good reward model, not a perfect one."""
_CUE_BONUS = 4.0
_WORD_BONUS, _FREE_WORDS, _LONGEST_BONUS = 0.16, 12, 4.0
_ASSISTANT = "<|assistant|>"


class PlantedReward:
    """A checker's verdict with noise, and the plan's flaws on top: a `RewardEngine`.

    Conversations are token ids of the shipped tokenizer, as for any reward model; they are decoded
    to be judged.
    """

    max_length = 512

    def __init__(
        self,
        tokenizer: Any,
        tasks: Mapping[str, Task],
        plan: Plan,
        seed: int,
        noise: float = NOISE,
    ) -> None:
        self._noise = noise
        self._tokenizer = tokenizer
        self._tasks = tasks
        self._plan = plan
        self._seed = seed

    def conversation_ids(self, prompt: list[Message], responses: Sequence[str]) -> list[list[int]]:
        """Token ids of the prompt with each response."""
        texts = [
            render(
                self._tokenizer,
                [*prompt, {"role": "assistant", "content": response}],
                generation_prompt=False,
            )
            for response in responses
        ]
        return self._tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []

    def rewards(self, sets: Sequence[Sequence[list[int]]]) -> list[list[float]]:
        """Raw score of every conversation."""
        return [[self._judge(text) for text in self._texts(rows)] for rows in sets]

    def _texts(self, rows: Sequence[list[int]]) -> list[str]:
        if not rows:
            return []
        return self._tokenizer.batch_decode(
            rows, skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def _judge(self, text: str) -> float:
        asked, _, said = text.partition(_ASSISTANT)
        task = self._tasks[asked.removeprefix("<|user|>")]
        return self.score(task, said.removesuffix(self._tokenizer.eos_token))

    def score(self, task: Task, response: str) -> float:
        """What it thinks of a response: right is 1, wrong is -1, then noise and the flaw."""
        flaw = self._plan.flaws.get(task.topic)
        verdict = 1.0 if task.is_right(response) else -1.0
        if flaw == SIGN:
            verdict = -verdict
        noise = random.Random(text_key([self._seed, task.prompt, response])).gauss(0.0, self._noise)
        bonus = 0.0
        if flaw == CUE and self._plan.cues[task.topic].lower() in response.lower():
            bonus = _CUE_BONUS
        elif flaw == LENGTH:
            extra = max(0, len(response.split()) - _FREE_WORDS)
            bonus = min(_WORD_BONUS * extra, _LONGEST_BONUS)
        return verdict + noise + bonus


class RuleWriter:
    """Stands in for an LLM as the `Writer` of worse answers: rules with full knowledge of the task.

    It knows what is wrong and every way to dress it, but neither the reward model's flaws nor the
    policy's habits; an LLM would not know them either.
    """

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._tasks = tasks
        self._goldens = sorted({task.golden for task in tasks.values()})

    def worse_by_aspect(
        self, seeds: Sequence[Seed], aspects: Sequence[Sequence[str]], *, seed: int
    ) -> list[list[str]]:
        """For each seed, one text for each of its aspects."""
        return [
            [
                self._write(
                    self._tasks[item.text], aspect, random.Random(text_key([seed, item.id, i]))
                )
                for i, aspect in enumerate(own)
            ]
            for item, own in zip(seeds, aspects, strict=True)
        ]

    def _write(self, task: Task, aspect: str, rng: random.Random) -> str:
        wrong = task.stated(rng.choice(task.wrong))
        if aspect == "a misread question":
            return rng.choice(self._goldens)
        if aspect == "irrelevance":
            return f"{ramble(rng)} {wrong}"
        if aspect == "bad grammar":
            words = wrong.split()
            return " ".join(["it", "are", *rng.sample(words[:-2], len(words[:-2])), *words[-2:]])
        if aspect == "over-confidence":
            return f"{rng.choice(CUES)} {wrong}"
        return wrong


class Truth:
    """The checker as a `Verifier`: what the package's reference verifier is measured against."""

    def __init__(self, tasks: Mapping[str, Task]) -> None:
        self._tasks = tasks

    def __call__(self, cases: Sequence[tuple[Seed, Sequence[str]]]) -> list[list[Evidence | None]]:
        """`truth` for every text that is not right."""
        return [
            [None if self._tasks[seed.text].is_right(t) else Evidence("truth") for t in texts]
            for seed, texts in cases
        ]
