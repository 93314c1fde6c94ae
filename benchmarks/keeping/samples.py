"""What a policy says to prompts: drawn once, kept, and said again wherever it is asked."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seamaug.config import PolicyConfig
from seamaug.models.policy import Policy
from seamaug.records import Message, Seed, text_key

Said = dict[str, list[str]]
"""Responses by content hash of the prompt, which is the id of a seed."""


class RecordedPolicy(Policy):
    """A policy whose samples are on record, since drawing takes most of a policy's time here."""

    def __init__(self, config: PolicyConfig, said: Said) -> None:
        super().__init__(config)
        self._said = said

    def sample(self, prompts: Sequence[list[Message]], *, n: int, **_: Any) -> list[list[str]]:
        """The first `n` recorded responses to each prompt."""
        return [self._said[text_key(prompt)][:n] for prompt in prompts]


def record(folder: Path, seeds: Sequence[Seed], samples: int, new_tokens: int, path: Path) -> Said:
    """So many responses to each prompt at temperature 1; what `path` holds is reused."""
    if path.exists():
        found: Said = json.loads(path.read_text(encoding="utf-8"))
        return found
    drawn = Policy(PolicyConfig(name=str(folder), batch_tokens=1 << 15)).sample(
        [seed.prompt for seed in seeds], n=samples, seed=1, max_new_tokens=new_tokens
    )
    found = {seed.id: texts for seed, texts in zip(seeds, drawn, strict=True)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found), encoding="utf-8")
    return found
