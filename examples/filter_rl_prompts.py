"""Filter RL prompts: leave out those on which policy and reward model disagree most, then RLOO.

    python examples/filter_rl_prompts.py prefs.jsonl --policy my-sft --reward my-rm --drop 20%

Without --steps only the file is written. Without models the bundled stand-ins are used.
"""

import argparse
from pathlib import Path

import torch
from datasets import Dataset
from trl import RLOOConfig, RLOOTrainer

from seamaug import score, select, stand_in

ROWS = str(Path(__file__).with_name("prefs.jsonl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="?", default=ROWS, help="prompt and golden response by row")
    parser.add_argument("--policy", default=stand_in("policy"))
    parser.add_argument("--reward", default=stand_in("reward"))
    parser.add_argument("--drop", default="20%", help="share of the prompts that goes")
    parser.add_argument("--steps", type=int, default=0, help="of RLOO on what is left")
    parser.add_argument("--out", type=Path, default=Path("runs/filtered"))
    given = parser.parse_args()

    models = {"policy": given.policy, "reward": given.reward}
    scores = score(given.seeds, **models, work=given.out / "work", quiet=False)
    scored = [row for row in scores if not row["error"]]
    for row in sorted(scored, key=lambda row: -row["seam"])[:3]:
        print(f"SEAM {row['seam']:.3f}: {row['prompt'][-1]['content']}")
        print(f"  preferred to the golden response: {row['contrast_worst_response']}")
    kept = select(given.seeds, scores=scores, drop_worst=given.drop)
    kept.to_json(given.out / "prompts.jsonl")
    print(f"{len(kept)} rows of {len(scores)} prompts are left, in {given.out / 'prompts.jsonl'}")

    if given.steps:
        gpu = torch.cuda.is_available()
        arguments = RLOOConfig(
            str(given.out / "policy"), max_steps=given.steps, logging_steps=1,
            max_completion_length=64, use_cpu=not gpu, bf16=gpu, report_to=[],
        )  # fmt: skip
        turns = [[{"role": "user", "content": prompt}] for prompt in kept["prompt"]]
        prompts = Dataset.from_dict({"prompt": turns})
        trainer = RLOOTrainer(given.policy, given.reward, arguments, train_dataset=prompts)
        trainer.train()
        trainer.save_model()
        rewards = [log["reward"] for log in trainer.state.log_history if "reward" in log]
        print(f"reward {rewards[0]:.3f} at first, {rewards[-1]:.3f} at last")


if __name__ == "__main__":
    main()
