"""Pages that are made from what the repository has: README, changelog, and the commands' help."""

import re
from pathlib import Path
from typing import Any

import click
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from seamaug.cli import main

ROOT = Path(__file__).parent.parent
PAGES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md"}
HELP = "<!-- help of every command -->"
# A link to a file of the repository, which the site does not have.
_FILE_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)")


def on_files(files: Files, config: Any) -> Files:
    """The README is the overview, so that no fact stands in two places."""
    for page, source in PAGES.items():
        text = _FILE_LINK.sub(r"\1", (ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Put the commands' help where the reference wants it."""
    return markdown.replace(HELP, _help()) if HELP in markdown else markdown


def _help() -> str:
    sections = [f"```text\n{_said(main, 'seamaug')}\n```"]
    for name, command in sorted(main.commands.items()):
        sections.append(f"## seamaug {name}\n\n```text\n{_said(command, f'seamaug {name}')}\n```")
    return "\n\n".join(sections)


def _said(command: click.Command, name: str) -> str:
    context = click.Context(command, info_name=name, max_content_width=92, terminal_width=92)
    return command.get_help(context)
