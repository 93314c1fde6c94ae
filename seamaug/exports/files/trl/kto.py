"""Train a policy on desirable and undesirable responses by KTO: python kto.py --model FOLDER

Options of trl.KTOConfig are taken as well, such as --output_dir, --max_steps, --use_cpu.
"""

from dataclasses import dataclass
from pathlib import Path

from datasets import load_dataset
from trl import KTOConfig, KTOTrainer, TrlParser


@dataclass
class Arguments:
    model: str


arguments, config = TrlParser((Arguments, KTOConfig)).parse_args_and_config()
data = load_dataset(str(Path(__file__).parent / "kto"))
trainer = KTOTrainer(
    arguments.model,
    args=config,
    train_dataset=data["train"],
    eval_dataset=data.get("validation"),
)
trainer.train()
trainer.save_model()
