"""How far do a better policy and a better reward model carry? Their saturation, seed by seed.

    python examples/gain/grid.py --seeds 11 12 13            # the laptop's scale
    python examples/gain/page.py                            # shows its results too

Policies come from SFT on a part of the demonstrations, reward models from a part of the
preferences; every policy is trained by reinforcement learning on every reward model. The mismatch
rate is the share of pairs of a policy's responses which the reward model puts in the wrong order.
"""

import random
from collections.abc import Sequence
from functools import partial
from itertools import product

from arms import Models
from measure import measure_models, measure_policy
from run import Seed, append, arguments, begin
from train import reward, rloo, sft
from world import Row, user


def part(rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """A share of the rows at random; a greater share has those of a smaller one."""
    order = random.Random(f"part {seed}").sample(range(len(rows)), len(rows))
    return [rows[i] for i in sorted(order[: round(share * len(rows))])]


def trained(seed: Seed, policy_share: float, reward_share: float) -> Models:
    """Policy and reward model from these shares, as they were left or made now."""
    policy = seed.work / "grid" / f"policy-{policy_share}"
    judge = seed.work / "grid" / f"reward-{reward_share}"
    world = seed.world
    for folder, train, start, rows, share, settings in (
        (policy, sft, world.policy_start, world.sft, policy_share, "sft"),
        (judge, reward, world.reward_start, world.pairs, reward_share, "reward"),
    ):
        if not (folder / "done").exists():
            own = part(rows, share, seed.seed)
            train(start, own, folder, seed.seed, **seed.training(settings))
            (folder / "done").touch()
    return Models(policy, judge)


def cell(seed: Seed, policy_share: float, reward_share: float) -> Row:
    """Train one policy on one reward model, and measure both before and the policy after."""
    models = trained(seed, policy_share, reward_share)
    out = seed.work / "grid" / f"rl-{policy_share}-{reward_share}"
    prompts = [{"prompt": user(row["prompt"])} for row in seed.world.seeds]
    rloo(models.policy, models.reward, prompts, out, seed.seed, **seed.training("rloo"))
    figures = measure_models(models, seed.world, seed.scale, seed.seed)
    before, _ = measure_policy(models.policy, models, seed.world, seed.scale, seed.seed)
    after, _ = measure_policy(out, models, seed.world, seed.scale, seed.seed)
    accuracy = figures["on_policy_accuracy"]  # None where no two samples differ in gold
    return {
        "gold_sft": before["gold"],
        "gold": after["gold"],
        "mismatch": None if accuracy is None else 1 - accuracy,
        "off_policy_accuracy": figures["off_policy_accuracy"],
        "seam": figures["seam"],
    }


def main() -> None:
    """Run what is asked for and has no row yet."""
    given = arguments(__doc__.splitlines()[0]).parse_args()
    scale, work, results = begin(given)
    for number in given.seeds:
        seed = Seed(scale, number, work)
        for policy, judge in product(scale["grid"]["policy"], scale["grid"]["reward"]):
            key = {"seed": number, "policy_share": policy, "reward_share": judge}
            append(
                results / f"{given.scale.stem}-grid.jsonl", key, partial(cell, seed, policy, judge)
            )


if __name__ == "__main__":
    main()
