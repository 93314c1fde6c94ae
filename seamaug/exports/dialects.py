"""The dialects by name."""

import difflib
from collections.abc import Callable, Iterable

from seamaug.errors import ConfigError
from seamaug.exports import axolotl, llamafactory, openrlhf, trl, verl
from seamaug.exports.form import Form

DIALECTS: dict[str, Callable[[], tuple[Form, ...]]] = {
    "trl": trl.forms,
    "openrlhf": openrlhf.forms,
    "verl": verl.forms,
    "llamafactory": llamafactory.forms,
    "axolotl": axolotl.forms,
}


def dialect_names(asked: str | Iterable[str]) -> list[str]:
    """The names in "trl,openrlhf", or in several such texts, each once; raises ConfigError."""
    texts = [asked] if isinstance(asked, str) else asked
    names = [name.strip() for text in texts for name in text.split(",")]
    for name in names:
        if name not in DIALECTS:
            near = difflib.get_close_matches(name.lower(), DIALECTS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(DIALECTS)}"
            raise ConfigError(f"there is no export format {name!r}; {hint}")
    return list(dict.fromkeys(names))
