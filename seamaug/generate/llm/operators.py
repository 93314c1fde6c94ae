"""What an LLM operator is, and the registry of them: shipped ones and a user's own.

An operator is a template, NAME.jinja, and an entry of that name in the operators.yaml beside it.
prompts/README.md says how to add one.
"""

import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
from pydantic import ValidationError, model_validator

from seamaug.config import Section
from seamaug.errors import ConfigError
from seamaug.generate.llm.fences import VARIABLES
from seamaug.generate.llm.replies import Form
from seamaug.generate.operators import OPERATORS
from seamaug.generate.templates import Template
from seamaug.records import text_key
from seamaug.resources import resource
from seamaug.yaml_file import read_yaml

Kind = Literal["paraphrase", "perturbation", "blend", "golden", "worse"]
Kept = Literal["meaning", "numbers", "answer"]

_FILE = "operators.yaml"
_RESERVED = ("all", "judge")
"""What other things than operators are called, in the config and in accounts."""
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SAMPLE: dict[str, Any] = dict.fromkeys(VARIABLES, "x") | {"neighbours": ["x"], "aspects": ["x"]}
_BARE = _SAMPLE | {"neighbours": [], "misjudged": ""}


class _Entry(Section):
    """What operators.yaml says of one operator."""

    kind: Kind
    """`paraphrase`, `perturbation` and `blend` (with a similar request) write a prompt, `golden`
    and `worse` a response."""
    preserves: tuple[Kept, ...] = ()
    """`meaning`: the new text may not drift from the old one; `numbers`: it must hold all of its
    numbers; `answer`: the golden response stays right. Without `answer` the LLM writes a new golden
    response as well, which must be verified."""
    does: str = ""
    """For `seamaug operators`."""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> "_Entry":
        if self.kind == "paraphrase" and "answer" not in self.preserves:
            raise ValueError(
                "a paraphrase preserves the answer: add `answer` to `preserves`, or set `kind: "
                "perturbation`"
            )
        if self.kind == "golden" and len({*self.preserves}) < 3:
            raise ValueError(
                "a rewrite of the golden response is checked for all: set `preserves: [meaning, "
                "numbers, answer]`"
            )
        if self.kind == "worse" and self.preserves:
            raise ValueError("nothing that a worse answer preserves is checked: remove `preserves`")
        return self


@dataclass(frozen=True)
class LLMOperator:
    """A template, what it makes, and what that must preserve."""

    name: str
    kind: Kind
    preserves: tuple[Kept, ...]
    does: str
    template: Template

    @property
    def rewrites_prompt(self) -> bool:
        """Whether it makes variants; the others write responses."""
        return self.kind in ("paraphrase", "perturbation", "blend")

    @property
    def changes_answer(self) -> bool:
        """Whether the parent's golden response answers the new prompt no more."""
        return self.rewrites_prompt and "answer" not in self.preserves

    @property
    def hash(self) -> str:
        """Content hash of all that decides what comes of it."""
        return text_key([self.template.hash, self.kind, sorted(self.preserves)])

    @property
    def origin(self) -> str:
        """What provenance says of a response that it wrote."""
        return f"{self.name}@{self.template.hash}"

    def form(self, answers: int = 1) -> Form:
        """What a reply must hold. A worse answer says first what is wrong with it; several have
        the numbers of their aspects."""
        if self.changes_answer:
            return Form(("request", "response"))
        if self.rewrites_prompt:
            return Form(("request",))
        numbers = tuple(range(1, answers + 1)) if answers > 1 else ()
        return Form(("mistake", "response") if self.kind == "worse" else ("response",), numbers)


def load_operators(folder: str | None = None) -> dict[str, LLMOperator]:
    """The shipped operators, then those of a user's folder, by name.

    Raises ConfigError naming the file, the operator's key and the fix.
    """
    operators = _read(resource("prompts"))
    if folder is None:
        return operators
    own = Path(folder)
    added = _read(own)
    if known := sorted(added.keys() & {*operators, *OPERATORS, *_RESERVED}):
        raise ConfigError(f"{own / _FILE}: the name `{known[0]}` is taken; rename yours")
    if unlisted := sorted({path.stem for path in own.glob("*.jinja")} - added.keys()):
        raise ConfigError(
            f"{own / _FILE} does not name `{unlisted[0]}`, whose template lies beside it; add it, "
            "or remove the template"
        )
    return operators | added


def _read(folder: Path) -> dict[str, LLMOperator]:
    path = folder / _FILE
    try:
        data = read_yaml(path)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read: {error.strerror}; a folder of operators has one"
        ) from None
    if not isinstance(data, dict) or not data:
        raise ConfigError(f"{path} must hold `name:` sections, one per operator")
    return {str(name): _operator(path, str(name), entry) for name, entry in data.items()}


def _operator(path: Path, name: str, entry: Any) -> LLMOperator:
    if not _NAME.fullmatch(name):
        raise ConfigError(
            f"{path}: `{name}` is no name for an operator: write small letters, digits and _"
        )
    try:
        found = _Entry.model_validate(entry)
    except ValidationError as error:
        raise ConfigError("\n".join(_explained(path, name, error))) from None
    file = path.with_name(f"{name}.jinja")
    if not file.is_file():
        raise ConfigError(f"{path}: `{name}` needs its template, {file}, which does not exist")
    template = Template.read(file)
    _check(template, file, found.kind)
    return LLMOperator(name, found.kind, found.preserves, found.does, template)


def _explained(path: Path, name: str, error: ValidationError) -> list[str]:
    lines = []
    for problem in error.errors():
        location = ".".join([name, *(str(part) for part in problem["loc"])])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = f"unknown key; known: {', '.join(_Entry.model_fields)}"
        lines.append(f"{path}: `{location}`: {message}")
    return lines


def _check(template: Template, file: Path, kind: Kind) -> None:
    """A template that fails, or shows what there is not, must not show after hours of work."""
    for name in sorted(template.variables - set(VARIABLES)):
        near = difflib.get_close_matches(name, VARIABLES, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"known: {', '.join(VARIABLES)}"
        raise ConfigError(f"template {file}: unknown variable `{name}`; {hint}")
    needed = {
        "prompt",
        *(("golden",) if kind in ("golden", "worse") else ()),
        *(("neighbours",) if kind == "blend" else ()),
    }
    for name in sorted(needed - template.variables):
        raise ConfigError(
            f"template {file} does not show `{name}`: write {{{{ {name} }}}} where it belongs"
        )
    try:
        for values in (_SAMPLE, _SAMPLE if kind == "blend" else _BARE):
            template.render(**values)
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError) as error:
        raise ConfigError(f"template {file} cannot be filled in: {error}") from None
