"""Train a policy on the pairs by DPO: python dpo.py --model FOLDER

Options of trl.DPOConfig are taken as well, such as --output_dir, --max_steps, --use_cpu.
"""

from dataclasses import dataclass
from pathlib import Path

from datasets import load_dataset
from trl import DPOConfig, DPOTrainer, TrlParser


@dataclass
class Arguments:
    model: str


arguments, config = TrlParser((Arguments, DPOConfig)).parse_args_and_config()
data = load_dataset(str(Path(__file__).parent / "dpo"))
trainer = DPOTrainer(
    arguments.model,
    args=config,
    train_dataset=data["train"],
    eval_dataset=data.get("validation"),
)
trainer.train()
trainer.save_model()
