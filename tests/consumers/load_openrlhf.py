"""OpenRLHF's datasets, with the options that the export's scripts give its commands."""

import argparse
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from loaded import Loaded, command_of, decoder, tell
from openrlhf.datasets import PromptDataset, RewardDataset, SFTDataset
from openrlhf.datasets.utils import blending_datasets
from openrlhf.utils import get_tokenizer
from openrlhf.utils.config import hierarchize

MAX_LEN = 2048


def options_of(script: str, *models: str) -> Any:
    """The script's options, each of which the command's own source must know.

    The commands themselves import flash_attn, which needs a GPU.
    """
    command = command_of(script, *models)
    module = next(word for word in command if word.startswith("openrlhf.cli."))
    package = importlib.util.find_spec("openrlhf.cli")
    assert package is not None
    folder = Path(next(iter(package.submodule_search_locations or [])))
    source = (folder / f"{module.rpartition('.')[2]}.py").read_text(encoding="utf-8")
    found: dict[str, Any] = {}
    words = command[command.index(module) + 1 :]
    for word, following in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            assert f'"{word}"' in source, f"{module} has no option {word}"
            found[word[2:]] = True if following.startswith("--") else following
    return hierarchize(argparse.Namespace(**found))


def load(policy: str, reward: str) -> Iterator[Loaded]:
    tokenizer = get_tokenizer(policy, None, "right")
    text = decoder(tokenizer)

    def read(dataset: str, arguments: Any) -> tuple[Any, Any]:
        strategy = SimpleNamespace(args=arguments, print=print, is_rank_0=lambda: True)
        return blending_datasets(dataset, None, strategy), strategy

    def each(arguments: Any) -> Iterator[tuple[str, Any, Any]]:
        yield "train", *read(arguments.data.dataset, arguments)
        yield "validation", *read(arguments.eval.dataset, arguments)

    for side, data, strategy in each(options_of("sft.sh", policy)):
        sft = SFTDataset(data, tokenizer, MAX_LEN, strategy, num_processors=1)
        rows = [[text(sft[i][0][0])] for i in range(len(sft))]
        yield Loaded("sft", side, "conversation", "SFTDataset", rows)
    for script, is_dpo in (("reward.sh", False), ("dpo.sh", True)):
        for side, data, strategy in each(options_of(script, policy)):
            pairs = RewardDataset(
                data, tokenizer, MAX_LEN, strategy, is_dpo=is_dpo, num_processors=1
            )
            items = [pairs[i] for i in range(len(pairs))]
            margins = [[] if is_dpo else [str(float(item[4]))] for item in items]
            rows = [
                [text(item[0][0]), text(item[2][0]), *margin]
                for item, margin in zip(items, margins, strict=True)
            ]
            kind = "pair" if is_dpo else "pair with margin"
            yield Loaded("preference", side, kind, f"RewardDataset(is_dpo={is_dpo})", rows)
    arguments = options_of("rl.sh", policy, reward)
    for side in ("train", "validation"):
        data, strategy = read(arguments.data.prompt_dataset.replace("train", side), arguments)
        prompts = PromptDataset(data, tokenizer, strategy)
        rows = [[prompts[i][1], prompts[i][2]] for i in range(len(prompts))]
        yield Loaded("prompts", side, "prompt with label", "PromptDataset", rows)


if __name__ == "__main__":
    tell("openrlhf", load)
