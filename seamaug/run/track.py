"""Scalars of a run while it works, for TensorBoard or Weights & Biases."""

import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from seamaug.config import Config
from seamaug.errors import ConfigError
from seamaug.run.folder import RunFolder

PREFIX = "seam/"
"""What the names of logged scalars begin with."""
_RUN_ID = "wandb"


class Track(Protocol):
    """Takes scalars by name, at a step that does not go back."""

    def __call__(self, scalars: Mapping[str, float], step: int) -> None: ...


@contextmanager
def tracking(config: Config, run: RunFolder) -> Iterator[Track]:
    """What `config.track` names, for the length of the block; nothing where it names nothing.

    TensorBoard's event files go to `tensorboard` in the run folder. W&B goes by its own environment
    (WANDB_MODE, WANDB_PROJECT, ...); a run that goes on is the same run there.
    Raises ConfigError where the package is missing.
    """
    if config.track is None:
        yield lambda scalars, step: None
        return
    tracker = _tensorboard(run) if config.track == "tensorboard" else _wandb(config, run)
    with ExitStack() as stack:
        try:
            track = stack.enter_context(tracker)
        except ImportError:
            raise ConfigError(
                f"`track: {config.track}` needs a package that is not installed: pip install "
                f"'seamaug[{config.track}]'"
            ) from None
        yield track


@contextmanager
def _tensorboard(run: RunFolder) -> Iterator[Track]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(run.path / "tensorboard")) as writer:

        def track(scalars: Mapping[str, float], step: int) -> None:
            for name, value in scalars.items():
                writer.add_scalar(PREFIX + name, value, step)

        yield track


@contextmanager
def _wandb(config: Config, run: RunFolder) -> Iterator[Track]:
    import wandb

    run_id = run.recall(_RUN_ID) or secrets.token_hex(4)
    run.remember(_RUN_ID, run_id)
    settings: dict[str, Any] = {"id": run_id, "resume": "allow", "name": run.path.name}
    project = os.environ.get("WANDB_PROJECT", "seamaug")
    with wandb.init(
        project=project, dir=run.path, config=config.model_dump(mode="json"), **settings
    ) as logged:

        def track(scalars: Mapping[str, float], step: int) -> None:
            logged.log({PREFIX + name: value for name, value in scalars.items()}, step=step)

        yield track
