"""seamaug: RLHF data augmentation guided by SEAM, the policy-reward discrepancy.

>>> from seamaug import expand
>>> result = expand("preferences.jsonl", policy="my-sft", reward="my-rm", budget="10k")
>>> result.preference  # a datasets.Dataset that TRL's RewardTrainer reads
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seamaug.api import ExpandResult, expand, score, select
    from seamaug.callback import SeamCallback
    from seamaug.config import Config, load_config
    from seamaug.diagnosis.run import diagnose
    from seamaug.exporting import export
    from seamaug.publishing import push_to_hub
    from seamaug.resources import stand_in
    from seamaug.train import train_rm
    from seamaug.voting import strength

__version__ = version("seamaug")
__all__ = [
    "Config",
    "ExpandResult",
    "SeamCallback",
    "__version__",
    "diagnose",
    "expand",
    "export",
    "load_config",
    "push_to_hub",
    "score",
    "select",
    "stand_in",
    "strength",
    "train_rm",
]
_ELSEWHERE = {
    "Config": "seamaug.config",
    "SeamCallback": "seamaug.callback",
    "diagnose": "seamaug.diagnosis.run",
    "export": "seamaug.exporting",
    "load_config": "seamaug.config",
    "push_to_hub": "seamaug.publishing",
    "stand_in": "seamaug.resources",
    "strength": "seamaug.voting",
    "train_rm": "seamaug.train",
}
"""Modules of the names that are not the api's."""


def __getattr__(name: str) -> Any:
    # The library imports torch; `import seamaug` and `seamaug --help` must not wait for it.
    if name in __all__:
        return getattr(import_module(_ELSEWHERE.get(name, "seamaug.api")), name)
    raise AttributeError(f"module 'seamaug' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
