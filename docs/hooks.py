"""Pages that are made from what the repository has, so that no list of it can be out of date."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import seamaug
from seamaug import config as settings
from seamaug.cli import main
from seamaug.config import Config, Section

ROOT = Path(__file__).parent.parent
PAGES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}
# A link to a file of the repository, which the site does not have.
_FILE_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)")
_SHARED = ("Section", "ModelConfig", "LanguageModelConfig")


def on_files(files: Files, config: Any) -> Files:
    """The README is the overview."""
    for page, source in PAGES.items():
        text = _FILE_LINK.sub(r"\1", (ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Fill in what a comment of the page names."""
    for name, make in MADE.items():
        comment = f"<!-- {name} -->"
        if comment in markdown:
            markdown = markdown.replace(comment, make())
    return markdown


def public_names() -> str:
    """The docstrings of all that the package exports, `expand` first, functions before classes."""
    names = sorted(seamaug.__all__, key=lambda name: (name != "expand", name[0].isupper(), name))
    described = [getattr(seamaug, name) for name in names if name not in ("__version__", "Config")]
    return "\n\n".join(f"::: {_home(each)}" for each in described)


def sections() -> str:
    """A table of the config's sections, and the settings of each."""
    rows = ["| section | |", "|---|---|", f"| (top level) | [`Config`][{_home(Config)}] |"]
    for name, field in Config.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            kind = field.annotation
            rows.append(f"| `{name}` | [`{kind.__name__}`][{_home(kind)}] |")
    options = "{inherited_members: true, show_bases: false, separate_signature: false}"
    described = [f"::: {_home(kind)}\n    options: {options}" for kind in _kinds()]
    return "\n".join(rows) + "\n\n" + "\n\n".join(described)


def commands() -> str:
    """What each command says of itself."""
    said = [f"```text\n{_help(main, 'seamaug')}\n```"]
    for name, command in sorted(main.commands.items()):
        said.append(f"## seamaug {name}\n\n```text\n{_help(command, f'seamaug {name}')}\n```")
    return "\n\n".join(said)


def _kinds() -> Iterator[type[Section]]:
    """The whole config first."""
    for name in sorted(settings.__all__, key=lambda name: (name != "Config", name)):
        kind = getattr(settings, name)
        if isinstance(kind, type) and issubclass(kind, Section) and name not in _SHARED:
            yield kind


def _home(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


def _help(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, max_content_width=92, terminal_width=92)
    return command.get_help(context)


MADE = {"public names": public_names, "sections": sections, "commands": commands}
