"""Errors that a user can act on: each message names what is wrong, where, and how to fix it."""


class SeamaugError(Exception):
    """Base of all errors that end a command with a message instead of a traceback."""

    exit_code = 1


class InputError(SeamaugError):
    """The seeds cannot be used as they are (names file, row, field and fix)."""


class ConfigError(SeamaugError):
    """A setting is unknown, of the wrong type, or out of range."""


class ModelError(SeamaugError):
    """A model cannot be loaded or is not of the kind that its role needs."""


class RunFolderError(SeamaugError):
    """The run folder belongs to another run, cannot be written, or ran out of space."""


class StorageError(SeamaugError):
    """A place beyond this disk cannot be opened, read or written."""


class HubError(SeamaugError):
    """The hub cannot be reached, or does not let this user write there."""


class LimitReached(SeamaugError):  # noqa: N818 - a state, not a mistake
    """The tokens or the money that an LLM may take are spent; `outcome` says which, in short."""

    exit_code = 3

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(message)
        self.outcome = outcome


class BudgetSpent(LimitReached):
    """The budget is spent before there was anything to write."""

    exit_code = 1  # the same command does not go on
