"""The LLM that writes, through transformers."""

from collections.abc import Iterator, Sequence

from seamaug.config import GeneratorConfig
from seamaug.models.engines import FREELY, Leave, Reply, Request
from seamaug.models.policy import CausalLM
from seamaug.records import text_key

_TOGETHER = 64
"""Requests that draw from one stream of random numbers, at most."""


def alike(requests: Sequence[Request]) -> list[list[int]]:
    """Positions of requests with the same settings, as many as are answered together."""
    kinds: dict[tuple[int, float], list[int]] = {}
    for position, request in enumerate(requests):
        kinds.setdefault(_settings(request), []).append(position)
    return [
        own[start : start + _TOGETHER]
        for own in kinds.values()
        for start in range(0, len(own), _TOGETHER)
    ]


def _settings(request: Request) -> tuple[int, float]:
    return request.max_new_tokens, request.temperature


class TransformersGenerator:
    """An instruction-tuned causal model; the same requests in the same order get the same replies.

    A reply depends on what is in its batch, so one alone cannot be had again.
    """

    structured = False
    paid = False

    def __init__(self, config: GeneratorConfig) -> None:
        self._top_p = config.top_p
        self.mark = {"model": config.name, "top_p": config.top_p}
        self._lm = CausalLM(config, "generator")
        self.max_length = self._lm.max_length

    def stream(
        self, requests: Sequence[Request], leave: Leave = FREELY
    ) -> Iterator[tuple[int, Reply]]:
        """Each request's position and reply, some with the same settings together."""
        for positions in alike(requests):
            if not leave.begin([requests[i] for i in positions]):
                return
            yield from self._together(requests, positions)

    def _together(
        self, requests: Sequence[Request], positions: list[int]
    ) -> Iterator[tuple[int, Reply]]:
        new, temperature = _settings(requests[positions[0]])
        fits, refused = self._lm.fitting([requests[i].messages for i in positions], new)
        for order, reason in refused.items():
            yield positions[order], Reply(error=reason)
        drawn = self._lm.draw(
            list(fits.values()),
            n=1,
            # They draw from one stream.
            seed=int(text_key([requests[positions[order]].seed for order in fits])[:8], 16),
            max_new_tokens=new,
            temperature=temperature,
            top_p=self._top_p,
        )
        for (order, prompt), (ids,) in zip(fits.items(), drawn, strict=True):
            cut = len(ids) >= new and ids[-1] not in self._lm.ends
            (text,) = self._lm.decode([ids])
            yield positions[order], Reply(text, "", cut, len(prompt), len(ids))
