"""Choose the reward model that teaches your policy most: several of them, ranked, and why.

    python examples/choose_reward_model.py prefs.jsonl --policy my-sft --reward rm-a --reward rm-b

Without arguments the bundled models are looked at, and runs/reward-model beside them, if
train_reward_model.py has made it.
"""

import argparse
import json
from pathlib import Path

from seamaug import diagnose

ROWS = str(Path(__file__).with_name("prefs.jsonl"))
SHOWN = ("teacher_score", "reward_variance", "flat_prompts", "on_policy_accuracy", "hack_rate")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="?", default=ROWS, help="prompt, chosen, rejected by row")
    parser.add_argument("--policy", default="embedded")
    parser.add_argument("--reward", action="append", help="repeat it: each is ranked")
    parser.add_argument("--judge", help="checker, llm, module:function, or another reward model")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--samples", type=int, default=8, help="responses to each prompt")
    parser.add_argument("--out", type=Path, default=Path("diagnosis.json"))
    given = parser.parse_args()

    trained = [str(path) for path in Path("runs").glob("reward-model")]
    found = diagnose(
        given.seeds,
        policy=given.policy,
        reward=given.reward or ["embedded", *trained],
        judge=given.judge,
        prompts=given.prompts,
        samples=given.samples,
        quiet=False,  # shows progress on a terminal
    )
    for place, cell in enumerate(found.ranked(given.policy), 1):
        print(f"{place}. {cell.reward}")
        for name in SHOWN:
            figure = cell.figures[name]
            if figure.value is None:
                print(f"   {name:20} not known: {figure.missing}")
            else:
                print(f"   {name:20} {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]")
    for advice in found.advice:
        print(f"\n{advice.reward}: {advice.finding}\n-> {advice.do}")

    given.out.write_text(json.dumps(found.to_dict(), indent=2), encoding="utf-8")
    print(f"\nall figures: {given.out}")


if __name__ == "__main__":
    main()
