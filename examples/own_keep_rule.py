"""Keep by a rule of your own: here, what the reward model is surest to get wrong.

    python examples/own_keep_rule.py prefs.jsonl --policy my-sft --reward my-rm --budget 1000

A rule is a class with three attributes and a method. Of each part the candidates that are worth
most are kept, as long as they are worth more than `least`. Without models, bundled stand-ins.
"""

import argparse
from pathlib import Path

from seamaug import expand

HERE = Path(__file__).parent


class Misjudged:
    """The higher the reward of the rejected response above the chosen one, the more it is worth."""

    name = "misjudged"
    least = 0.0  # more than this is enough
    reason = "judged rightly"  # of a rejection otherwise

    def __init__(self, config):
        """`config`: the run's settings under `keep`."""

    def worth(self, case):
        """`case`: the candidate with its scores, its parent, and which response is the rejected."""
        (rewards,) = case.scores.rewards  # of one reward model; the chosen response is the first
        return rewards[1 + case.rejected] - rewards[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="?", default=str(HERE / "prefs.jsonl"))
    parser.add_argument("--policy", help="your policy: a folder or hub id")
    parser.add_argument("--reward", help="your reward model")
    parser.add_argument("--budget", default=30, help="new examples, such as 500 or 10k")
    parser.add_argument("--out", default="runs/own-rule")
    given = parser.parse_args()

    models = {name: own for name in ("policy", "reward") if (own := getattr(given, name))}
    result = expand(
        given.seeds, budget=given.budget, out=given.out, quiet=False, **models,
        settings={"keep.rule": "own_keep_rule:Misjudged"},
    )  # fmt: skip
    for row in result.provenance.to_list()[:20]:
        print(f"{row['verdict']:9} {row['worth'] or 0:+7.3f} {row['reason']}")


if __name__ == "__main__":
    main()
