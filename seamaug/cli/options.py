"""Options that several commands share."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from seamaug.errors import ConfigError


class _PlaceType(click.ParamType[str | Path]):
    """A path, or an address such as s3://bucket/run, which stays text."""

    name = "path"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> str | Path:
        return value if "://" in str(value) else Path(value)


PLACE = _PlaceType()


def quiet() -> bool:
    """Whether the command line says --quiet."""
    return bool(click.get_current_context().find_root().params["quiet"])


def parsed(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A click callback that reports a unit parser's message as a wrong command line."""

    def convert(ctx: click.Context, parameter: click.Parameter, value: Any) -> Any:
        from seamaug import units

        try:
            return None if value is None else getattr(units, name)(value)
        except ConfigError as error:
            raise click.BadParameter(str(error), ctx, parameter) from None

    return convert


def formats(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> list[str]:
    """A click callback for trainers' names, each text with one or, between commas, several."""
    if not value:
        return []
    from seamaug.exports.dialects import dialect_names

    try:
        return dialect_names(value)
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, parameter) from None


def _columns(ctx: click.Context, parameter: click.Parameter, value: tuple[str, ...]) -> Any:
    fields = ("prompt", "golden", "worse")
    pairs = [item.partition("=") for item in value]
    for field, equals, name in pairs:
        if field not in fields or not equals or not name:
            raise click.BadParameter(
                f"write FIELD=NAME, with FIELD one of {', '.join(fields)}", ctx, parameter
            )
    return {field: name for field, _, name in pairs} or None


SEED_OPTIONS = [
    click.option(
        "--column",
        "columns",
        multiple=True,
        metavar="FIELD=NAME",
        callback=_columns,
        help="Your name for `prompt`, `golden` or `worse`; common layouts are recognised.",
    ),
    click.option("--split", help="Split of a dataset id.  [default: train]"),
    click.option("--subset", help="Configuration name of a dataset id."),
    click.option(
        "--bad-rows",
        metavar="FILE",
        help="Go on without the rows that cannot be used, and list each in FILE (JSON lines) with "
        "its place, field and fix. Without it such a row ends the command.",
    ),
]
MODEL_OPTIONS = [
    click.option("--policy", metavar="MODEL", help="Policy model: a folder or hub id."),
    click.option(
        "--reward",
        multiple=True,
        metavar="MODEL",
        help="Reward model with one label; repeat it for an ensemble, whose scores are averaged.",
    ),
    click.option("--embedder", metavar="MODEL", help="A sentence-transformers model."),
    click.option(
        "--allow-pickle",
        is_flag=True,
        default=None,
        help="Read weights that are not safetensors, by torch's restricted unpickler.",
    ),
    click.option(
        "--config",
        type=click.Path(),
        metavar="FILE",
        help="YAML settings, or a shipped recipe's name (small, paper). Flags go before it.",
    ),
]

SCORE_OPTIONS = [
    click.option("--generator", metavar="MODEL", help="An LLM that writes as well."),
    click.option(
        "--estimator",
        multiple=True,
        type=click.Choice(["contrast", "llm", "adversarial", "on-policy"]),
        help="How worse responses are found; repeat it for several, the first one decides.  "
        "[default: contrast]",
    ),
    click.option(
        "--weighting",
        type=click.Choice(["prob", "paper"]),
        help="What weighs a misjudged response: its probability, or the published form.  "
        "[default: prob]",
    ),
    click.option(
        "--samples",
        type=click.IntRange(min=1),
        help="Worse responses per prompt and estimator.  [default: 30]",
    ),
    click.option(
        "--engine",
        type=click.Choice(["local", "ray"]),
        help="Where models are mapped over rows: in this process, or by a Ray cluster's workers.  "
        "[default: local]",
    ),
]
LIMIT_OPTIONS = [
    click.option(
        "--max-tokens",
        callback=parsed("parse_tokens"),
        metavar="N",
        help="Stop when the generator has read and written so many tokens: 500k, 2M; the same "
        "command goes on.",
    ),
    click.option(
        "--max-cost",
        type=click.FloatRange(min=0, min_open=True),
        metavar="USD",
        help="Stop when they cost so much, by generator.price_in and price_out in the config.",
    ),
]


JSON_OPTION = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one JSON object, and nothing else."
)


def print_json(found: dict[str, Any]) -> None:
    """One object on standard output: messages and progress go to standard error."""
    click.echo(json.dumps(found, indent=2, default=str))  # paths as text


def options(*several: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A decorator that gives a command several options, in this order."""

    def decorate(command: Any) -> Any:
        for option in reversed(several):
            command = option(command)
        return command

    return decorate


def arguments(flags: dict[str, Any]) -> dict[str, Any]:
    """The library's arguments out of a command's flags: SEED_OPTIONS become config keys.

    An option that can be repeated and was not given is None, so that the config decides.
    """
    settings = reading(flags, "seeds")
    return {
        **{name: None if value == () else value for name, value in flags.items()},
        "settings": settings,
    }


def reading(flags: dict[str, Any], section: str) -> dict[str, Any]:
    """Keys of a section of the config, out of a command's SEED_OPTIONS, which `flags` loses."""
    names = ("columns", "split", "subset", "bad_rows")
    found = {f"{section}.{name}": flags.pop(name) for name in names}
    return {name: value for name, value in found.items() if value is not None and value != ()}
