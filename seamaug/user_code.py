"""Code of the user's own, named in the config as `package.module:name`."""

import hashlib
import inspect
import pkgutil
import sys
from collections.abc import Callable
from typing import Any

from seamaug.errors import ConfigError


def load_function(path: str, setting: str) -> Callable[..., Any]:
    """The function or class that the path names, for a setting of the config.

    Raises ConfigError that says what is amiss.
    """
    try:
        found = pkgutil.resolve_name(path)
    except Exception as error:  # importing runs the user's module, which may raise anything
        raise ConfigError(
            f"`{setting}`: {path} cannot be imported ({type(error).__name__}: "
            f"{error}); its folder must be on PYTHONPATH, or the package installed"
        ) from None
    if not callable(found):
        raise ConfigError(f"`{setting}`: {path} is not callable")
    return found  # type: ignore[no-any-return]


def function_mark(path: str, setting: str) -> str:
    """Content hash of the module that is named, and of the one that defines the function.

    Another version of either is another run.
    """
    function = load_function(path, setting)
    named, defining = sys.modules[path.partition(":")[0]], inspect.getmodule(function)
    try:
        source = inspect.getsource(named)
        if defining not in (None, named):
            source += inspect.getsource(defining)
    except (OSError, TypeError):  # compiled code has none
        return "no source"
    return hashlib.blake2b(source.encode("utf-8"), digest_size=16).hexdigest()
