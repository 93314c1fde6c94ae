"""Where the models of a run are: in this process, or on a Ray cluster as well."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from seamaug.config import Config
from seamaug.models.generation import Limits
from seamaug.run.executor import Executor, Local
from seamaug.run.folder import RunFolder
from seamaug.run_models import Models


@contextmanager
def models_of_run(
    config: Config, run: RunFolder | None = None, limits: Limits | None = None
) -> Iterator[tuple[Models, Executor]]:
    """The models that this process asks, and what maps models over rows.

    run, limits: as `Models` takes them.
    """
    if config.engine == "local":
        with closing(Models(config, run, limits)) as models:
            models.load()
            yield models, Local(models)
        return
    from seamaug.llm_on_ray import RayGenerator
    from seamaug.on_ray import RayExecutor
    from seamaug.ray_cluster import RayCluster

    with closing(RayCluster(config.ray)) as cluster:
        # A server is as near from here.
        load = None if config.generator.engine == "server" else partial(RayGenerator, cluster)
        with closing(Models(config, run, limits, load)) as models:
            yield models, RayExecutor(cluster, partial(Models, config))
