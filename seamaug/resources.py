"""Where the files that travel with the package lie: templates, recipes, the embedded default."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def resource(*parts: str) -> Path:
    """Path of a shipped file or folder, such as ``resource("prompts", "paraphrase.jinja")``.

    A wheel carries ``prompts/`` and ``configs/`` inside the package; a checkout has them beside it.
    """
    inside = _PACKAGE.joinpath(*parts)
    return inside if inside.exists() else _PACKAGE.parent.joinpath(*parts)


EMBEDDED = "embedded"
"""The model name that stands for the bundled stand-in of a role."""
