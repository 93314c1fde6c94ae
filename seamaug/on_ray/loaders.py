"""Which models of the process that runs the flow are on workers of its cluster."""

from collections.abc import Callable
from typing import TypeVar

from seamaug.config import Config, LanguageModelConfig
from seamaug.models.load import Loaders
from seamaug.on_ray.cluster import RayCluster
from seamaug.on_ray.generator import RayGenerator
from seamaug.on_ray.scorers import RayPolicy, RayReward, RayVoter
from seamaug.on_ray.workers import Workers

Own = TypeVar("Own", bound=LanguageModelConfig)
Engine = TypeVar("Engine")


def loaders(cluster: RayCluster, config: Config, *, writes: bool) -> Loaders:
    """All but servers, which are as near from here, and a policy whose hidden states are asked for.

    writes: whether an LLM may be asked.
    Raises ConfigError where the cluster has no room for their workers.
    """
    here, pools = Loaders(), []
    policy, reward, voter, generator = here.policy, here.reward, here.voter, here.generator
    if writes and config.generator.engine != "server":
        pools.append(cluster.pool("generate"))
        generator = _on(Workers(cluster, "generate", pools[0]), RayGenerator)
    policy_there = config.policy.engine != "server" and not config.keep.policy_weight
    if policy_there or config.reward.engine != "server":
        workers = Workers(cluster, "rescore", cluster.pool("rescore", pools))
        policy = _on(workers, RayPolicy) if policy_there else policy
        if config.reward.engine != "server":
            reward, voter = _on(workers, RayReward), _on(workers, RayVoter)
    return Loaders(policy, reward, voter, generator)


def _on(workers: Workers, make: Callable[[Workers, Own], Engine]) -> Callable[[Own], Engine]:
    return lambda own: make(workers, own)
