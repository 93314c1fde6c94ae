"""Where the models of a run are: in this process, or on a Ray cluster as well."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from seamaug.config import Config
from seamaug.models.generation import Limits
from seamaug.resources import EMBEDDED
from seamaug.run.executor import Executor, Local
from seamaug.run.folder import RunFolder
from seamaug.run_models import Models, check_judges


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
    from seamaug.on_ray.cluster import RayCluster
    from seamaug.on_ray.executor import RayExecutor
    from seamaug.on_ray.loaders import loaders

    check_judges(config)
    writes = run is not None and config.generator.name != EMBEDDED
    with closing(RayCluster(config.ray)) as cluster:
        load = loaders(cluster, config, writes=writes)
        with closing(Models(config, run, limits, load)) as models:
            yield models, RayExecutor(cluster, partial(Models, config))
