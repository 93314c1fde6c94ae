"""Train your reward model on a run, with TRL alone, and measure it on pairs it has not seen.

    python examples/train_reward_model.py runs/mine --reward my-rm --test held_out.jsonl

Without a run the rows beside this script are expanded first, as expand_preferences.py does. The
bundled reward model has seen none of the held-out pairs either.
"""

import argparse
from pathlib import Path

import torch
from datasets import Dataset, load_dataset
from trl import RewardConfig, RewardTrainer

from seamaug import expand, stand_in

ROWS = Path(__file__).with_name("prefs.jsonl")


def conversations(row: dict) -> dict:
    asked = {"role": "user", "content": row["prompt"]}
    answers = {side: {"role": "assistant", "content": row[side]} for side in ("chosen", "rejected")}
    return {side: [asked, answer] for side, answer in answers.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", nargs="?", help="folder that `expand` wrote")
    parser.add_argument("--reward", default=stand_in("reward"))
    parser.add_argument("--test", default=str(ROWS.with_name("held_out.jsonl")))
    parser.add_argument("--out", default="runs/reward-model")
    parser.add_argument("--rate", type=float, default=1e-5, help="learning rate")
    given = parser.parse_args()

    run = given.run or expand(str(ROWS), budget=50, out="runs/mine", quiet=False).path
    pairs = load_dataset(str(run), "preference", split="train")
    rows = Dataset.from_json(given.test)
    test = rows.map(conversations, remove_columns=rows.column_names)
    gpu = torch.cuda.is_available()
    arguments = RewardConfig(
        given.out, num_train_epochs=1, learning_rate=given.rate, use_cpu=not gpu, bf16=gpu,
        report_to=[], per_device_eval_batch_size=1,  # TRL averages over batches, not over pairs
    )  # fmt: skip
    trainer = RewardTrainer(given.reward, arguments, train_dataset=pairs, eval_dataset=test)
    before = trainer.evaluate()["eval_accuracy"]
    trainer.train()
    after = trainer.evaluate()["eval_accuracy"]
    trainer.save_model()

    error = 1.96 * (before * (1 - before) / len(test)) ** 0.5
    print(f"accuracy on {len(test)} held-out pairs: {before:.3f} before, {after:.3f} after")
    print(f"(95 % of either: ±{error:.3f}) training on {len(pairs)} new pairs; in {given.out}")


if __name__ == "__main__":
    main()
