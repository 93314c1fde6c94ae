"""Expand your own preference file: new pairs where your policy and reward model disagree.

    python examples/expand_preferences.py prefs.jsonl --policy my-sft --reward my-rm --budget 1000

Without arguments the bundled stand-ins and the rows beside this script show the flow.
"""

import argparse
from pathlib import Path

from seamaug import expand

ROWS = str(Path(__file__).with_name("prefs.jsonl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="?", default=ROWS, help="prompt, chosen, rejected by row")
    parser.add_argument("--policy", help="causal language model: a folder or hub id")
    parser.add_argument("--reward", help="classifier with one label")
    parser.add_argument("--embedder", help="sentence-transformers model")
    parser.add_argument("--budget", default=50, help="new examples, such as 500 or 10k")
    parser.add_argument("--out", default="runs/mine", help="run folder; the same call resumes it")
    given = parser.parse_args()

    result = expand(
        given.seeds,
        policy=given.policy,
        reward=given.reward,
        embedder=given.embedder,
        budget=given.budget,
        out=given.out,
        quiet=False,  # shows progress on a terminal
    )
    counts = result.summary["counts"]["candidates"]
    print(f"{result.summary['outcome']}: {counts['kept']} of {counts['total']} candidates kept")
    for reason, count in counts["rejected"].items():
        print(f"  {count:5} rejected: {reason}")

    kept = [row for row in result.provenance if row["verdict"] == "kept"]
    for row in sorted(kept, key=lambda row: -row["seam_before"])[:3]:
        print(f"\nprompt, by {row['operator']}: {row['prompt'][-1]['content']}")
        print(f"chosen:   {row['chosen']}\nrejected: {row['rejected']}")
        print(f"SEAM {row['seam_before']:.3f} of the seed, {row['seam_after']:.3f} of this")
    print(f"\nload_dataset({given.out!r}, 'preference')   seamaug report {given.out}")


if __name__ == "__main__":
    main()
