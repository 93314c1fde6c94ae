"""What a consumer reads out of an export: told by a loader that runs in its environment.

A loader is a script beside this one, run with the export's folder, a policy's and a reward model's
folder, and the file to write: LOADER EXPORT POLICY REWARD OUT. It must not import seamaug, which
its environment lacks.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple


class Loaded(NamedTuple):
    """One file as the consumer sees it."""

    form: str
    side: str
    kind: str
    """What a row's texts are: see expected.py."""
    through: str
    """The consumer's code that read it."""
    rows: list[list[str]]
    """Each row's texts as a model would get them."""
    steps: int = 0
    """Of training that were run on it."""


Load = Callable[[str, str], Iterator[Loaded]]


def tell(package: str, load: Load, complaints: list[str] | None = None) -> None:
    """Run a loader in the export's folder and write what it found."""
    export, policy, reward, out = sys.argv[1:5]
    os.chdir(export)
    files = [one._asdict() for one in load(policy, reward)]
    told = {"version": version(package), "files": files, "complaints": complaints or []}
    Path(out).write_text(json.dumps(told), encoding="utf-8")


def command_of(script: str, *models: str) -> list[str]:
    """The arguments that a shell script hands to its program: the script runs, the program not."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("deepspeed", "python3", "torchrun"):
            program = Path(folder, name)
            program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
            program.chmod(0o755)
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", script, *models],
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
    return done.stdout.splitlines()


def decoder(tokenizer: Any) -> Callable[[Any], str]:
    """Token ids to text, with control tokens and nothing tidied up."""
    return lambda ids: tokenizer.decode(ids, clean_up_tokenization_spaces=False)
