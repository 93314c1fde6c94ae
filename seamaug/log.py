"""The package's logger: silent in a library, on standard error in the CLI."""

import logging
import sys
from functools import cache
from typing import TYPE_CHECKING

from seamaug.printable import printable, without_userinfo

if TYPE_CHECKING:
    from rich.console import Console

logger = logging.getLogger("seamaug")
logger.addHandler(logging.NullHandler())


@cache
def terminal() -> "Console":
    """Standard error as rich writes to it: one for all, so that lines go above a moving bar."""
    from rich.console import Console

    return Console(stderr=True)


def log_to_terminal() -> None:
    """Send the package's messages to standard error; only a terminal gets them wrapped."""
    handler: logging.Handler = logging.StreamHandler()
    if sys.stderr.isatty():
        from rich.logging import RichHandler

        handler = RichHandler(
            console=terminal(), show_path=False, show_level=False, show_time=False
        )
    handler.addFilter(_make_printable)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _make_printable(record: logging.LogRecord) -> bool:
    """Column and file names come from users' files, URLs may hold passwords."""
    record.msg, record.args = without_userinfo(printable(record.getMessage())), ()
    return True
