"""The door: parses, calls the library, prints. No logic of its own."""

import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from seamaug import __version__
from seamaug.cli.diagnose import diagnose
from seamaug.cli.doctor import doctor
from seamaug.cli.export import export
from seamaug.cli.operators import operators
from seamaug.cli.report import report
from seamaug.cli.run import expand, show
from seamaug.cli.scores import score, select
from seamaug.cli.strength import strength
from seamaug.cli.train import train_rm
from seamaug.errors import SeamaugError
from seamaug.printable import printable, without_userinfo

EPILOG = """\b
Exit codes: 0 done; 1 an error, said in one message; 2 a wrong command line;
3 done, or paused by --max-time, --max-tokens or --max-cost, with the budget not filled;
130 interrupted, 143 terminated: what was finished is kept, and the same command resumes."""


class _Terminated(KeyboardInterrupt):
    """SIGTERM: as clean a stop as Ctrl-C, with an exit code of its own."""


def _is_out_of_memory(error: Exception) -> bool:
    """torch has no type for it where it does not run on a GPU, some libraries not even the word."""
    said = str(error).lower()
    signs = (
        "out of memory",
        "allocate memory",
        "could not create a primitive",
        "launch worker thread",
        "start new thread",
    )
    return isinstance(error, MemoryError) or any(sign in said for sign in signs)


@contextmanager
def _sigterm_stops() -> Iterator[None]:
    """For the length of the block; only a process's first thread can be told of signals."""

    def stop(*_: object) -> None:
        raise _Terminated

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Door(click.Group):
    """Turns known errors into one message; anything else is a bug and keeps its traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _sigterm_stops():
                return super().invoke(ctx)
        except SeamaugError as error:
            said = traceback.format_exc() if ctx.params.get("debug") else f"error: {error}"
            click.echo(without_userinfo(printable(said)), err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt as stopped:
            what, code = (
                ("terminated", 143) if isinstance(stopped, _Terminated) else ("interrupted", 130)
            )
            click.echo(f"\n{what}: what was finished is kept; the same command resumes", err=True)
            sys.exit(code)
        except Exception as error:
            if ctx.params.get("debug") or not _is_out_of_memory(error):
                raise
            said = (str(error) or "no more is said").splitlines()[0]
            click.echo(
                printable(f"error: memory ran out ({said}). What was ")
                + "finished is kept; make room, or set `policy.batch_tokens` and "
                "`reward.batch_tokens` lower, and run the same command again",
                err=True,
            )
            sys.exit(1)


@click.group(cls=_Door, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="seamaug")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no messages, only the result.")
def main(debug: bool, quiet: bool) -> None:
    """Make RLHF training data at the prompts on which a policy model (PM) and a reward model (RM)
    disagree.

    SEAM is that disagreement: how likely the policy is to say responses that the reward model
    wrongly puts above the golden one. Higher is worse. (The paper, arXiv 2406.07971, shows its
    negation.)

    \b
    seamaug expand --budget 10k --out runs/demo      the whole flow, with what is bundled
    seamaug expand prefs.jsonl --policy my-sft --reward my-rm --out runs/mine
    seamaug show runs/demo                           what a run did
    seamaug report runs/demo                         the same and more, as a page to look at
    seamaug export runs/mine --to trl                the run in a trainer's dialect
    """
    if not quiet:
        from seamaug.log import log_to_terminal

        log_to_terminal()


_COMMANDS = (
    expand,
    score,
    select,
    show,
    report,
    diagnose,
    export,
    strength,
    train_rm,
    operators,
    doctor,
)
for _command in _COMMANDS:
    main.add_command(_command)
