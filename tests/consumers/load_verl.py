"""verl's datasets, from its own Hydra configs with the overrides of the export's scripts."""

from collections.abc import Iterator
from typing import Any

from hydra import compose, initialize_config_module
from loaded import Loaded, command_of, decoder, tell
from verl.utils import hf_tokenizer
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset
from verl.utils.dataset.rl_dataset import get_dataset_class


def config_of(name: str, script: str, *models: str) -> Any:
    """The trainer's config with the script's overrides; Hydra refuses a key that it lacks."""
    command = command_of(script, *models)
    overrides = [word for word in command if "=" in word and not word.startswith("--")]
    return compose(name, overrides=overrides)


def load(policy: str, reward: str) -> Iterator[Loaded]:
    tokenizer = hf_tokenizer(policy)
    text = decoder(tokenizer)
    with initialize_config_module("verl.trainer.config", version_base=None):
        sft = config_of("sft_trainer_engine", "sft.sh", policy)
        rl = config_of("ppo_trainer", "grpo.sh", policy, reward)
    for side, path in (("train", sft.data.train_files), ("validation", sft.data.val_files)):
        data = MultiTurnSFTDataset(path, tokenizer, sft.data)
        items = [data[i] for i in range(len(data))]
        rows = [[text(_unpadded(item))] for item in items]
        yield Loaded("sft", side, "conversation", "MultiTurnSFTDataset", rows)
    assert rl.reward.reward_model.enable, "verl has no reward function for this data_source"
    for side, path in (("train", rl.data.train_files), ("validation", rl.data.val_files)):
        data = get_dataset_class(rl.data)(path, tokenizer, rl.data)
        rows = [
            [
                tokenizer.apply_chat_template(
                    item["raw_prompt"], add_generation_prompt=True, tokenize=False
                ),
                item["reward_model"]["ground_truth"],
            ]
            for item in (data[i] for i in range(len(data)))
        ]
        yield Loaded("prompts", side, "prompt with label", "RLHFDataset", rows)


def _unpadded(item: Any) -> Any:
    mask = item.get("attention_mask")
    return item["input_ids"] if mask is None else item["input_ids"][mask.bool()]


if __name__ == "__main__":
    tell("verl", load)
