"""The bundled policy and seeds, with a reward model trained anew on the training split.

The bundled reward model was trained on most of the seeds, so none of them would be held out for it.
The policy is the bundled one as it is: it has seen the golden responses of most seeds, held out or
not, and a new one would take twenty minutes.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from keeping.samples import record
from keeping.training import train_new_reward
from keeping.world import Pair, Scale, World
from seamaug.config import RewardConfig, SeedsConfig, VerifyConfig
from seamaug.models.tokens import RewardTokens
from seamaug.records import Seed
from seamaug.resources import resource
from seamaug.seeds import Seeds
from seamaug.seeds.table import read_seeds
from seamaug.verify.worse import Reference

FULL = Scale(
    share=0.2,
    variants=8,
    samples=8,
    hack_set=5,
    new_tokens=48,
    reward_steps=60,
    keep=0.1,
    epochs=2,
    rate=3e-4,
    policy_rate=3e-4,
    batches=16,
)
LONGEST = 128
"""Tokens of a seed's conversations: longer ones cost most of the time."""
_HELD_OUT = 0.25
_FLIPPED = 0.2
"""Share of the reward model's training pairs with the wrong label."""
_LAYERS = 2


def make_world(seed: int, scale: Scale, work: Path, seeds: int | None = None) -> World:
    """Split, and train the reward model; `seeds`: so many of them only."""
    policy = Path(resource("embedded", "policy"))
    tokens = RewardTokens(RewardConfig())
    fitting = [s for s in _bundled() if _fits(s, tokens)][:seeds]
    said = record(policy, fitting, scale.samples, scale.new_tokens, work.parent / "samples.json")
    train, held_out = _split(fitting, random.Random(seed))
    pairs = _with_flips(train, random.Random(seed), _FLIPPED if scale.wrong_labels else 0.0)
    return World(
        name="embedded",
        seed=seed,
        scale=scale,
        work=work,
        train=_as_seeds(train),
        held_out=held_out,
        pairs=pairs,
        policy_folder=policy,
        reward_folder=train_new_reward(
            policy, pairs, _LAYERS, scale.reward_steps, seed, work / "reward"
        ),
        verifier=Reference(VerifyConfig().reference_overlap),
        said=said,
    )


def _bundled() -> list[Seed]:
    seeds = read_seeds(SeedsConfig())
    return list(seeds.at(range(len(seeds))))


def _fits(seed: Seed, tokens: RewardTokens) -> bool:
    rows = tokens.conversation_ids(seed.prompt, [seed.golden, *seed.worse])
    return bool(seed.worse) and max(map(len, rows)) <= LONGEST


def _split(seeds: Sequence[Seed], rng: random.Random) -> tuple[list[Seed], list[Seed]]:
    """Training and held-out seeds: of every source the same share."""
    by_source: dict[str, list[Seed]] = defaultdict(list)
    for seed in seeds:
        by_source[seed.source].append(seed)
    train, held_out = [], []
    for own in by_source.values():
        own = rng.sample(own, len(own))
        cut = round(_HELD_OUT * len(own))
        held_out += own[:cut]
        train += own[cut:]
    return train, held_out


def _with_flips(seeds: Sequence[Seed], rng: random.Random, share: float) -> list[Pair]:
    pairs = []
    for seed in seeds:
        sides = [seed.golden, seed.worse[0]]
        if rng.random() < share:
            sides.reverse()
        pairs.append(Pair(seed.prompt, *sides))
    return pairs


def _as_seeds(seeds: Sequence[Seed]) -> Seeds:
    rows = [
        {"prompt": s.prompt, "golden": s.golden, "worse": s.worse[0], "source": s.source}
        for s in seeds
    ]
    return read_seeds(SeedsConfig(), rows)
