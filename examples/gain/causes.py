"""Two questions to ask where arms do not differ: had RL converged, and is the worst fifth stable?

    python examples/gain/causes.py --scale laptop-mild --seeds 51 52 53    # after run.py
    python examples/gain/page.py --scale laptop-mild                      # shows its results too

Converged: the policies of some arms are trained by reinforcement learning for fewer and for more
steps than the protocol's, each time with a schedule of its own. Stable: SEAM of every prompt is
computed again, with other samples of the same policy, then with a policy and a reward model trained
on the same data in another order; what is told is which share of the worst prompts is the same (by
chance: `share`), and the rank correlation of SEAM over all prompts.
"""

from functools import partial

from arms import NONE, seam_of
from measure import measure_policy
from run import Seed, append, arguments, begin
from scipy.stats import spearmanr
from train import rloo
from world import Row, user

STABLE = ("other samples", "other training")


def converged(seed: Seed, arm: str, steps: int) -> Row:
    """Train the arm's policy for so many steps, and measure it."""
    models = seed.models_of(arm)
    out = seed.work / "causes" / f"rl-{arm}-{steps}"
    prompts = [{"prompt": user(row["prompt"])} for row in seed.world.seeds]
    settings = seed.training("rloo") | {"max_steps": steps}
    rloo(models.policy, models.reward, prompts, out, seed.seed, **settings)
    return measure_policy(out, models, seed.world, seed.scale, seed.seed)[0]


def stable(seed: Seed, what: str) -> Row:
    """SEAM of the prompts again, against what it was."""
    models, work, other = seed.models_of(NONE), seed.work / "causes" / what, seed.seed + 1000
    settings = seed.world.settings
    before = seam_of(seed.world, models, seed.work, settings)
    if what == "other training":
        models = seed.train(NONE, work, other)
    after = seam_of(seed.world, models, work, settings | {"seed": other})
    count = round(seed.scale["share"] * len(before))
    worst = [set((-values).argsort(kind="stable")[:count].tolist()) for values in (before, after)]
    return {
        "worst_shared": len(worst[0] & worst[1]) / count,
        "rank_correlation": float(spearmanr(before, after).statistic),
    }


def main() -> None:
    """Run what is asked for and has no row yet."""
    given = arguments(__doc__.splitlines()[0]).parse_args()
    scale, work, results = begin(given)
    path = results / f"{given.scale.stem}-causes.jsonl"
    for number in given.seeds:
        seed = Seed(scale, number, work)
        for what in STABLE:
            append(path, {"seed": number, "again": what}, partial(stable, seed, what))
        for arm in scale["causes"]["arms"]:
            for steps in scale["causes"]["rl_steps"]:
                key = {"seed": number, "arm": arm, "rl_steps": steps}
                append(path, key, partial(converged, seed, arm, steps))


if __name__ == "__main__":
    main()
