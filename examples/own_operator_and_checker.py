"""Bring your own operator, which an LLM runs, and your own checker of responses.

    seamaug operators --from examples/own_operators     # is the operator well-formed?
    python examples/own_operator_and_checker.py prefs.jsonl --config llm.yaml --budget 1000

The operator `telegram` is a template and three lines of YAML in own_operators/. The checker is
`right_sums` below, named as module:function: a script's own folder is on Python's path. Without
--config (your models and LLM; the README has one) bundled stand-ins show the checker alone.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

from seamaug import expand

HERE = Path(__file__).parent
SUM = re.compile(r"(\d+) ?([-+*]) ?(\d+) ?= ?(\d+)(?![\d.])")


def right_sums(prompt: list[dict], response: str, golden: str) -> float | None:
    """Share of the sums in a response that come out right; None, cannot tell, without any."""
    does = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}
    sums = [does[sign](int(a), int(b)) == int(c) for a, sign, b, c in SUM.findall(response)]
    return sum(sums) / len(sums) if sums else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="?", default=str(HERE / "prefs.jsonl"))
    parser.add_argument("--config", help="YAML with policy, reward and generator")
    parser.add_argument("--budget", default=30, help="new examples, such as 500 or 10k")
    parser.add_argument("--out", default="runs/own")
    given = parser.parse_args()

    settings = {
        "generate.policy_samples": 4,  # worse responses that the checker is to judge
        "verify.worse.by": ["function", "number", "overlap"],  # the first that can tell decides
        "verify.worse.function": "own_operator_and_checker:right_sums",
    }
    if given.config:
        settings["generate.operators_from"] = str(HERE / "own_operators")
    result = expand(
        given.seeds, config=given.config, budget=given.budget, out=given.out, settings=settings,
        quiet=False,
    )  # fmt: skip
    rows = result.provenance.to_list()
    made = Counter(row["verdict"] for row in rows if row["operator"] == "telegram")
    print(f"telegram: {dict(made) or 'not run, for it needs an LLM'}")
    kept = Counter(row["verifier"] for row in rows if row["verdict"] == "kept")
    for verifier, count in kept.most_common():
        print(f"{count:5} kept pairs vouched for by {verifier}")


if __name__ == "__main__":
    main()
