"""What changes between start and resume: a model's weights, the config, a template, the seeds."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.faults.scene import STAGES, Scene, Tried, flip_a_bit, refusal, removed


def _add(line: str, path: Path, rng: random.Random) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line)


Changes = dict[str, tuple[str, Callable[[Path, random.Random], None], str]]
"""By fault: the file, what is done to it, and what the refusal must say."""

CHANGES: Changes = {
    "policy swapped": ("models/policy/model.safetensors", flip_a_bit, "models.policy.fingerprint"),
    "config changed": ("config.yaml", partial(_add, "seed: 7\n"), "config.seed: 0 -> 7"),
    "reward model swapped": (
        "models/reward/model.safetensors",
        flip_a_bit,
        "models.reward.fingerprint",
    ),
    "seeds changed": (
        "seeds.jsonl",
        partial(_add, '{"prompt": "Why?", "chosen": "Because.", "rejected": "No."}\n'),
        "seeds.rows: 24 -> 25",
    ),
    "embedder swapped": (
        "models/embedder/model.safetensors",
        flip_a_bit,
        "models.embedder.fingerprint",
    ),
}
WITH_LLM: Changes = {
    "template changed": (
        "operators/telegram.jinja",
        partial(_add, "Be brief.\n"),
        "templates.telegram",
    )
}


def changed(
    scene: Scene, rng: random.Random, count: int, changes: Changes = CHANGES
) -> Iterator[Tried]:
    """The run is refused, with what changed; once that is as it was, it goes on."""
    for number in range(count):
        fault, (name, change, told) = list(changes.items())[number % len(changes)]
        stage = rng.choice(STAGES[1:])
        with removed(scene.copy(f"changed{number}", before=stage)) as out:
            path = scene.folder / name
            content = path.read_bytes()
            change(path, rng)
            problem = refusal(scene.start(out), "other settings", told)
            path.write_bytes(content)
            yield Tried(fault, stage, problem or scene.resumed(out))
