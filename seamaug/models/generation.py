"""Replies to requests, in the order asked."""

from collections.abc import Sequence

from seamaug.config import GeneratorConfig
from seamaug.models.engines import Reply, Request
from seamaug.models.generator import Generator


class Generation:
    """The generator as what writes sees it: every request has a reply, in order."""

    def __init__(self, generator: Generator, config: GeneratorConfig) -> None:
        self.structured = False
        self._generator = generator
        self._config = config

    def write(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply to each request; one that fails is no one else's."""
        kinds: dict[tuple[int, float], list[int]] = {}
        for position, request in enumerate(requests):
            kinds.setdefault((request.max_new_tokens, request.temperature), []).append(position)
        replies = [Reply(error="no reply") for _ in requests]
        for (new, temperature), positions in kinds.items():
            texts = self._generator.write(
                [requests[i].messages for i in positions],
                seed=requests[positions[0]].seed,
                answers=new // self._config.max_new_tokens,
                temperature=temperature,
            )
            for i, text in zip(positions, texts, strict=True):
                if text:
                    replies[i] = Reply(text)
        return replies
