"""The package's logger: silent in a library, on standard error in the CLI."""

import logging
import sys

from seamaug.printable import printable, without_userinfo

logger = logging.getLogger("seamaug")
logger.addHandler(logging.NullHandler())


def log_to_terminal() -> None:
    """Send the package's messages to standard error; only a terminal gets them wrapped."""
    handler: logging.Handler = logging.StreamHandler()
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.logging import RichHandler

        handler = RichHandler(
            console=Console(stderr=True), show_path=False, show_level=False, show_time=False
        )
    handler.addFilter(_make_printable)
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _make_printable(record: logging.LogRecord) -> bool:
    """Column and file names come from users' files, URLs may hold passwords."""
    record.msg, record.args = without_userinfo(printable(record.getMessage())), ()
    return True
