"""Where the files that travel with the package lie: templates, recipes, the embedded default."""

from pathlib import Path

from seamaug.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent


def resource(*parts: str) -> Path:
    """Path of a shipped file or folder, such as ``resource("prompts", "paraphrase.jinja")``.

    A wheel carries ``prompts/`` and ``configs/`` inside the package; a checkout has them beside it.
    """
    inside = _PACKAGE.joinpath(*parts)
    return inside if inside.exists() else _PACKAGE.parent.joinpath(*parts)


EMBEDDED = "embedded"
"""The model name that stands for the bundled stand-in of a role."""


def stand_in(role: str) -> str:
    """Folder of a bundled model, for other libraries: `policy`, `reward` or `embedder`.

    It is what `seamaug` takes where no model is given: tiny, to show the flow and not a result.
    Raises ConfigError for another role.
    """
    if role not in ("policy", "reward", "embedder"):
        raise ConfigError(f"there is no stand-in for {role!r}: only for policy, reward, embedder")
    return str(resource(EMBEDDED, role))
