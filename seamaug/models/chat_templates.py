"""Whether a policy and a reward model write a conversation the same way."""

from seamaug.config import LanguageModelConfig
from seamaug.models.loading import load_tokenizer, render
from seamaug.records import Message

_TURNS: list[Message] = [
    {"role": "user", "content": "Is it so?"},
    {"role": "assistant", "content": "It is."},
]


def template_warning(policy: LanguageModelConfig, reward: LanguageModelConfig) -> str:
    """What follows where they do not; empty where they do."""
    ours, theirs = (
        render(load_tokenizer(config, role), _TURNS, generation_prompt=False)
        for config, role in ((policy, "policy"), (reward, "reward"))
    )
    if ours == theirs:
        return ""
    return (
        f"policy {policy.name} and reward model {reward.name} have different chat templates: here "
        "each reads its own, but a trainer that hands the policy's tokens to the reward model "
        "scores other texts, and these figures then do not hold; set `reward.chat_template` to see "
        "what it would find"
    )
