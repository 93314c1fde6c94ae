"""Train a policy on the prompts by RLOO: python rloo.py --model FOLDER --reward REWARD_MODEL

Options of trl.RLOOConfig are taken as well, such as --output_dir, --max_steps, --use_cpu.
"""

from dataclasses import dataclass
from pathlib import Path

from datasets import load_dataset
from trl import RLOOConfig, RLOOTrainer, TrlParser


@dataclass
class Arguments:
    model: str
    reward: str


arguments, config = TrlParser((Arguments, RLOOConfig)).parse_args_and_config()
data = load_dataset(str(Path(__file__).parent / "prompts"))
trainer = RLOOTrainer(
    arguments.model,
    reward_funcs=arguments.reward,
    args=config,
    train_dataset=data["train"],
    eval_dataset=data.get("validation"),
)
trainer.train()
trainer.save_model()
