"""Train a reward model on the pairs: python reward.py --model FOLDER

Options of trl.RewardConfig are taken as well, such as --output_dir, --max_steps, --use_cpu.
"""

from dataclasses import dataclass
from pathlib import Path

from datasets import load_dataset
from trl import RewardConfig, RewardTrainer, TrlParser


@dataclass
class Arguments:
    model: str


arguments, config = TrlParser((Arguments, RewardConfig)).parse_args_and_config()
data = load_dataset(str(Path(__file__).parent / "preference"))
trainer = RewardTrainer(
    arguments.model,
    args=config,
    train_dataset=data["train"],
    eval_dataset=data.get("validation"),
)
trainer.train()
trainer.save_model()
