"""Which engine runs a role's model, by configuration."""

from collections.abc import Callable
from dataclasses import dataclass

from seamaug.config import GeneratorConfig, PolicyConfig, RewardConfig
from seamaug.models.engines import GeneratorEngine, PolicyEngine, RewardEngine


def load_policy(config: PolicyConfig) -> PolicyEngine:
    """The policy on the configured engine, ready to score; only that engine is imported.

    Raises ModelError naming the model and the fix.
    """
    if config.engine == "vllm":
        from seamaug.models.vllm import VLLMPolicy

        return VLLMPolicy(config)
    if config.engine == "server":
        from seamaug.models.server import ServerPolicy

        return ServerPolicy(config)
    from seamaug.models.policy import Policy

    return Policy(config)


def load_reward(config: RewardConfig) -> RewardEngine:
    """The reward model on the configured engine, ready to score; else as `load_policy`."""
    if config.engine == "vllm":
        from seamaug.models.vllm import VLLMReward

        return VLLMReward(config)
    if config.engine == "server":
        from seamaug.models.server import ServerReward

        return ServerReward(config)
    from seamaug.models.reward import RewardModel

    return RewardModel(config)


def load_voter(config: RewardConfig) -> RewardEngine:
    """A reward model that votes: as `load_reward`, and an ensemble that `strength` trained."""
    from seamaug.models.loading import load_model_config
    from seamaug.models.tokens import votes_of

    if config.engine == "transformers" and votes_of(load_model_config(config, "reward")) > 1:
        from seamaug.models.reward import RewardHeads

        return RewardHeads(config)
    return load_reward(config)


def load_generator(config: GeneratorConfig) -> GeneratorEngine:
    """The LLM that writes on the configured engine; else as `load_policy`."""
    if config.engine == "vllm":
        from seamaug.models.vllm import VLLMGenerator

        return VLLMGenerator(config)
    if config.engine == "server":
        from seamaug.models.chat import ServerGenerator

        return ServerGenerator(config)
    from seamaug.models.generator import TransformersGenerator

    return TransformersGenerator(config)


@dataclass(frozen=True)
class Loaders:
    """What makes an engine of a role's config: here, in this process."""

    policy: Callable[[PolicyConfig], PolicyEngine] = load_policy
    reward: Callable[[RewardConfig], RewardEngine] = load_reward
    voter: Callable[[RewardConfig], RewardEngine] = load_voter
    generator: Callable[[GeneratorConfig], GeneratorEngine] = load_generator
