"""The pages, of a run and of a diagnosis: one file each that asks nothing of a network.

Charts whose numbers are few are SVG out of the template, readable without scripts; plots of
thousands of dots are canvases that a little JavaScript of our own draws. (Vega would bring about a
megabyte of code, and needs a policy that lets the page evaluate strings.)

Texts of seeds and models reach the page in two ways: through Jinja, which escapes them, and as
JSON in a script element that no browser runs, which our scripts show with `textContent`.
"""

import base64
import hashlib
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from seamaug.places import refuse_another_file
from seamaug.printable import printable
from seamaug.report import charts
from seamaug.report.diagnosis import shown
from seamaug.report.sample import embedded
from seamaug.storage import Place
from seamaug.units import human_count, human_seconds

_FOLDER = Path(__file__).parent / "page"
_SCRIPTS = ("data.js", "plot.js", "responses.js", "prompts.js", "examples.js")


def refuse_another_page(place: Place) -> None:
    """Raise ConfigError where a page would replace anything but a page."""
    refuse_another_file(place, b"<!DOCTYPE html>", "--out", "page")


def render(template: str, data: dict[str, Any] | None = None, **figures: Any) -> str:
    """The whole page; `data` is for its scripts, if it has any, `figures` for its template."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalized,
    )
    environment.globals["frame"] = charts
    environment.filters |= {
        "n": "{:,}".format,
        "count": human_count,
        "seconds": human_seconds,
        "interval": shown,
    }
    style = _asset("page.css")
    script = "\n".join(_asset(name) for name in _SCRIPTS)
    runs = "" if data is None else f"script-src {_source(script)}; "
    return environment.get_template(template).render(
        figures,
        # They are this package's own files, and the JSON has no sign that could end its element.
        style=Markup(style),
        script=Markup(script),
        data=Markup(embedded(data or {})),
        csp=(
            f"default-src 'none'; style-src {_source(style)}; {runs}"
            "base-uri 'none'; form-action 'none'"
        ),
    )


def _finalized(value: Any) -> Any:
    """Text from a run without characters that steer or hide; markup as it is."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else printable(value)


def _asset(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    """The one inline text that a content security policy lets through."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
