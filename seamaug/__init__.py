"""seamaug: RLHF data augmentation guided by SEAM, the policy-reward discrepancy.

>>> from seamaug import expand
>>> result = expand("preferences.jsonl", policy="my-sft", reward="my-rm", budget="10k")
>>> result.preference  # a datasets.Dataset that TRL's RewardTrainer reads
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seamaug.api import ExpandResult, expand, score, select
    from seamaug.exporting import export
    from seamaug.publishing import push_to_hub

__version__ = version("seamaug")
__all__ = ["ExpandResult", "__version__", "expand", "export", "push_to_hub", "score", "select"]


def __getattr__(name: str) -> Any:
    # The library imports torch; `import seamaug` and `seamaug --help` must not wait for it.
    if name == "export":
        from seamaug.exporting import export

        return export
    if name == "push_to_hub":
        from seamaug.publishing import push_to_hub

        return push_to_hub
    if name in __all__:
        from seamaug import api

        return getattr(api, name)
    raise AttributeError(f"module 'seamaug' has no attribute {name!r}")
