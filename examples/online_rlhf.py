"""Online RLHF in offline cycles: the policy learns from the reward model, then that from new rows.

    python examples/online_rlhf.py prefs.jsonl my-sft my-rm runs/online

Each cycle trains the policy by RLOO, lets `SeamCallback` expand the seeds where it and the reward
model now disagree, trains the reward model on the new pairs, and goes on with the new prompts.
"""

import argparse
from pathlib import Path

import torch
from datasets import Dataset
from trl import RewardConfig, RewardTrainer, RLOOConfig, RLOOTrainer

from seamaug import SeamCallback


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", help="JSONL with prompt, chosen and rejected")
    parser.add_argument("policy")
    parser.add_argument("reward")
    parser.add_argument("out", type=Path)
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--budget", default="1k", help="new examples in each cycle")
    parser.add_argument("--steps", type=int, default=100, help="of each training")
    given = parser.parse_args()

    policy, reward = given.policy, given.reward
    common = {"max_steps": given.steps, "use_cpu": not torch.cuda.is_available()}
    rows = Dataset.from_json(given.seeds).select_columns("prompt")
    prompts = rows.map(lambda row: {"prompt": [{"role": "user", "content": row["prompt"]}]})
    for cycle in range(given.cycles):
        out = given.out / f"cycle-{cycle}"
        online = RLOOTrainer(
            policy,
            reward_funcs=reward,
            args=RLOOConfig(str(out / "rloo"), max_completion_length=64, **common),
            train_dataset=prompts,
        )
        seam = SeamCallback(online, given.seeds, reward=reward, budget=given.budget)
        online.add_callback(seam)
        online.train()
        policy = str(out / "policy")
        online.save_model(policy)

        new = seam.results[-1]
        arguments = RewardConfig(str(out / "pairs"), **common)
        offline = RewardTrainer(reward, arguments, train_dataset=new.preference)
        offline.train()
        reward = str(out / "reward")
        offline.save_model(reward)
        prompts = new.prompts
        figures = {k: v for log in online.state.log_history for k, v in log.items() if "seam" in k}
        print(f"cycle {cycle}: {figures}")


if __name__ == "__main__":
    main()
