"""YAML files, read within bounds: a few bytes of aliases can stand for more than memory holds."""

from pathlib import Path
from typing import Any

from seamaug.errors import ConfigError

_MOST = 10_000_000
_NODE = 100
"""What a value counts beside its characters."""


def read_yaml(path: Path) -> Any:
    """What the file holds; raises ConfigError where that is no YAML, or too much of it, OSError
    where the file cannot be read."""
    import yaml  # not at start: `--help` needs none of it

    try:
        loader = yaml.SafeLoader(path.read_text(encoding="utf-8"))
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > _MOST:
            raise ConfigError(
                f"{path}: its aliases stand for more than {_MOST // _NODE:,} values, or for one "
                "that holds itself; write out what is meant"
            )
        return loader.construct_document(node)
    # The library lets ValueError through for numbers and dates that Python cannot hold.
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None


def _size(node: Any, known: dict[int, int]) -> int:
    """Characters of a node with its aliases spelt out."""
    if id(node) not in known:
        known[id(node)] = _MOST + 1  # what holds itself has no end
        parts = node.value if isinstance(node.value, list) else []
        inner = [part for item in parts for part in (item if isinstance(item, tuple) else (item,))]
        own = 0 if inner else len(node.value)
        known[id(node)] = _NODE + own + sum(_size(part, known) for part in inner)
    return known[id(node)]
