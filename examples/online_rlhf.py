"""Online RLHF in offline cycles: the policy learns from the reward model, then that from new rows.

    python examples/online_rlhf.py prefs.jsonl --policy my-sft --reward my-rm --out runs/online

Each cycle trains the policy by RLOO, lets `SeamCallback` expand the seeds where it and the reward
model now disagree, trains the reward model on the new pairs, and goes on with the new prompts.
Without arguments the bundled stand-ins and the rows beside this script show the flow.
"""

import argparse
from pathlib import Path

import torch
from datasets import Dataset
from trl import RewardConfig, RewardTrainer, RLOOConfig, RLOOTrainer

from seamaug import SeamCallback, stand_in

ROWS = str(Path(__file__).with_name("prefs.jsonl"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="?", default=ROWS, help="JSONL: prompt, chosen, rejected")
    parser.add_argument("--policy", default=stand_in("policy"))
    parser.add_argument("--reward", default=stand_in("reward"))
    parser.add_argument("--out", type=Path, default=Path("runs/online"))
    parser.add_argument("--cycles", type=int, default=2)
    parser.add_argument("--budget", default=50, help="new examples in each cycle, such as 1k")
    parser.add_argument("--steps", type=int, default=10, help="of each training")
    given = parser.parse_args()

    policy, reward, gpu = given.policy, given.reward, torch.cuda.is_available()
    common = {"max_steps": given.steps, "use_cpu": not gpu, "bf16": gpu, "report_to": []}
    asked = Dataset.from_json(given.seeds)["prompt"]
    prompts = Dataset.from_dict({"prompt": [[{"role": "user", "content": one}] for one in asked]})
    for cycle in range(given.cycles):
        out = given.out / f"cycle-{cycle}"
        arguments = RLOOConfig(str(out / "policy"), max_completion_length=64, **common)
        online = RLOOTrainer(policy, reward, arguments, train_dataset=prompts)
        seam = SeamCallback(online, given.seeds, reward=reward, budget=given.budget)
        online.add_callback(seam)
        online.train()
        online.save_model()

        new = seam.results[-1]
        arguments = RewardConfig(str(out / "reward"), **common)
        offline = RewardTrainer(reward, arguments, train_dataset=new.preference)
        offline.train()
        offline.save_model()
        policy, reward, prompts = str(out / "policy"), str(out / "reward"), new.prompts
        figures = {k: v for log in online.state.log_history for k, v in log.items() if "seam" in k}
        print(f"cycle {cycle}: {figures}")


if __name__ == "__main__":
    main()
