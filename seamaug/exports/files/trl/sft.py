"""Fine-tune a language model on the chosen responses: python sft.py --model FOLDER

Options of trl.SFTConfig are taken as well, such as --output_dir, --max_steps, --use_cpu.
"""

from dataclasses import dataclass
from pathlib import Path

from datasets import load_dataset
from trl import SFTConfig, SFTTrainer, TrlParser


@dataclass
class Arguments:
    model: str


arguments, config = TrlParser((Arguments, SFTConfig)).parse_args_and_config()
data = load_dataset(str(Path(__file__).parent / "sft"))
trainer = SFTTrainer(
    arguments.model,
    args=config,
    train_dataset=data["train"],
    eval_dataset=data.get("validation"),
)
trainer.train()
trainer.save_model()
