"""LLM prompts from Jinja templates, in a sandbox."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
from jinja2 import StrictUndefined, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from seamaug.errors import ConfigError
from seamaug.records import text_key
from seamaug.resources import resource

_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True)
class Template:
    """One purpose for an LLM; seeds enter as values, so nothing in them is evaluated."""

    name: str
    text: str

    @classmethod
    def load(cls, name: str) -> "Template":
        """The shipped template of this name."""
        return cls.read(resource("prompts", f"{name}.jinja"))

    @classmethod
    def read(cls, path: Path) -> "Template":
        """The template in this file; raises ConfigError if it cannot be read or is no template."""
        try:
            template = cls(path.stem, path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"template {path} cannot be read: {error}") from None
        try:
            template._compiled  # noqa: B018 - a syntax error must show now
        except jinja2.TemplateSyntaxError as error:
            raise ConfigError(f"template {path}, line {error.lineno}: {error.message}") from None
        return template

    @cached_property
    def hash(self) -> str:
        """Content hash, for provenance and for the run's identity."""
        return text_key(self.text)

    @cached_property
    def variables(self) -> set[str]:
        """Names of the values that it shows."""
        return meta.find_undeclared_variables(_ENVIRONMENT.parse(self.text))

    @cached_property
    def _compiled(self) -> jinja2.Template:
        return _ENVIRONMENT.from_string(self.text)

    def render(self, **values: Any) -> str:
        """The text with these values in it."""
        return self._compiled.render(**values).strip()
