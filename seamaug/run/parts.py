"""A stage's rows in groups, each a part that is stored once it is finished."""

from collections.abc import Callable, Iterator, Sequence, Sized
from functools import partial
from typing import TypeVar

import pyarrow as pa

from seamaug.run.folder import RunFolder
from seamaug.run.progress import Progress

Group = TypeVar("Group", bound=Sized)


def make_parts(
    run: RunFolder,
    stage: str,
    groups: Sequence[Group],
    make: Callable[[Sequence[Group]], Iterator[pa.Table]],
    bar: Progress,
) -> None:
    """Store the table of each group that has no sound part yet.

    make: from the groups that are missing to their tables, in order, each when it is asked for.
    """
    missing = [n for n in range(len(groups)) if not run.has_sound_part(stage, n)]
    bar.advance(sum(map(len, groups)) - sum(len(groups[n]) for n in missing), resumed=True)
    tables = make([groups[n] for n in missing])
    for number in missing:
        run.part(stage, number, partial(next, tables))
        bar.advance(len(groups[number]))
