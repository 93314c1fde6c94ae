"""Which models of the process that runs the flow are on workers of its cluster."""

from collections.abc import Callable
from functools import partial
from typing import Any

from seamaug.config import Config
from seamaug.models.load import Loaders
from seamaug.on_ray.cluster import RayCluster
from seamaug.on_ray.generator import RayGenerator
from seamaug.on_ray.scorers import RayPolicy, RayReward, RayVoter
from seamaug.on_ray.workers import Workers


def loaders(cluster: RayCluster, config: Config, *, writes: bool) -> Loaders:
    """All but servers, which are as near from here, and a policy whose hidden states are asked for.

    writes: whether an LLM may be asked.
    Raises ConfigError where the cluster has no room for their workers.
    """
    writes = writes and config.generator.engine != "server"
    beside = [cluster.pool("generate")] if writes else []
    here, scorers = Loaders(), Workers(cluster, "rescore", cluster.pool("rescore", beside))

    def there(make: Callable[[Workers, Any], Any], load: Callable[[Any], Any]) -> Any:
        return lambda own: load(own) if own.engine == "server" else make(scorers, own)

    return Loaders(
        # Of the policy's side of the look-ahead.
        here.policy if config.keep.policy_weight else there(RayPolicy, here.policy),
        there(RayReward, here.reward),
        there(RayVoter, here.voter),
        partial(RayGenerator, Workers(cluster, "generate", *beside)) if writes else here.generator,
    )
