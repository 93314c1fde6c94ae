"""The package's logger: silent in a library, rich in the CLI."""

import logging

logger = logging.getLogger("seamaug")
logger.addHandler(logging.NullHandler())


def log_to_terminal(level: int = logging.INFO) -> None:
    """Send the package's messages to standard error, as the CLI does."""
    from rich.console import Console
    from rich.logging import RichHandler

    handler = RichHandler(
        console=Console(stderr=True),
        show_path=False,
        show_level=False,
        show_time=False,
        markup=False,
    )
    logger.handlers = [handler]
    logger.setLevel(level)
