"""What all sections of the config share: units, and unknown keys as errors."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from seamaug.errors import ConfigError
from seamaug.units import Spend, parse_budget, parse_duration, parse_share, parse_tokens


def _typed(parse: Any) -> BeforeValidator:
    """Lets YAML and flags write `10k`, `20%`, `2h`; pydantic reports the parser's message."""

    def convert(value: Any) -> Any:
        try:
            return value if value is None else parse(value)
        except ConfigError as error:
            raise ValueError(str(error)) from None

    return BeforeValidator(convert)


def listed(value: Any) -> Any:
    """One path may stand for a list of one."""
    return [value] if isinstance(value, str) else value


def plain(budget: int | Spend) -> int | str:
    """A budget for JSON, as it may be written in a config."""
    return str(budget) if isinstance(budget, Spend) else budget


Budget = Annotated[int | Spend, _typed(parse_budget), PlainSerializer(plain)]
Tokens = Annotated[int, _typed(parse_tokens)]
Share = Annotated[float, _typed(parse_share)]
Duration = Annotated[float, _typed(parse_duration)]
Positive = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Base of all sections: frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)
