"""`export`: a finished run, alone or with the original data, in the dialects of trainers.

This is where verbs meet (write, exports), so it stands beside the library's other functions.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seamaug.arguments import paths_of
from seamaug.config import load_config
from seamaug.errors import ConfigError, InputError, RunFolderError
from seamaug.exports.dialects import DIALECTS, dialect_names
from seamaug.exports.example import (
    AUGMENTED,
    ORIGINAL,
    Example,
    original_examples,
)
from seamaug.exports.guide import write_guide
from seamaug.exports.merge import counts_at, mix, parse_ratio, sample
from seamaug.exports.runs import FinishedRun, Kept
from seamaug.exports.split import TRAIN, VALIDATION, side_of
from seamaug.exports.writer import write_forms
from seamaug.log import logger
from seamaug.places import below, written_folder
from seamaug.run.mirror import folder_of, run_here
from seamaug.seeds import SeedSource
from seamaug.seeds.columns import Layouts
from seamaug.storage import Place, remote
from seamaug.units import parse_share
from seamaug.write.datasets import PROVENANCE, dataset_file
from seamaug.write.summary import stored_summary

EXPORTS = "exports"
"""Folder of a run that holds its exports."""
Stream = Callable[[], Iterator[Example]]


@dataclass(frozen=True)
class Export:
    """What was written for one consumer."""

    name: str
    """`trl`, `openrlhf`, `verl`, `llamafactory` or `axolotl`."""
    path: Place
    """The folder: files by form, scripts or configs, README.md, provenance.parquet."""
    rows: dict[str, dict[str, int]]
    """Rows by source (`original`, `augmented`) of each file, such as `preference/train.parquet`."""
    left_out: dict[str, dict[str, int]]
    """Examples by reason that a form cannot carry."""
    remarks: dict[str, dict[str, int]]
    """Examples by what the consumer does to them."""


def export(
    run: Place | Sequence[Place],
    *,
    to: str | Sequence[str],
    out: Place | None = None,
    validation: float | str | None = None,
    merge_with: SeedSource = None,
    ratio: str | None = None,
    margin: bool = False,
    settings: dict[str, Any] | None = None,
) -> list[Export]:
    """Write a finished run's examples in the dialects of trainers, each in a folder `out`/NAME.

    run: folder of a run that `expand` finished, a path or an address such as "s3://bucket/run"; or
        several. Of kept prompts that are near duplicates of another run's (by the first run's
        `verify.duplicates`) the one stands that reduced SEAM most.
    to: one or several of `trl`, `openrlhf`, `verl`, `llamafactory`, `axolotl`, as a list or "a,b".
    out: a path or an address; None is `exports` in the run folder, and must be given for several.
    validation: share of the parents, such as "5%", whose examples become validation files. All
        examples of one parent, and its own row in `merge_with`, stand on one side.
    merge_with: the original data, as `expand` takes seeds, to write with the augmented: evenly
        mixed, and row by row, so rows that share a prompt stay apart. Of several runs, kept prompts
        that are near duplicates of a row, and whose parents are not, are left out.
    ratio: original to augmented examples, such as "4:1": what is in excess is sampled at random.
        None takes all of both.
    margin: write a column `margin`, the preference strength mu, where the consumer reads one
        (reward models of TRL and OpenRLHF). A run has it where judges voted
        (`verify.worse.judges`), rows of `merge_with` in a column of that name, as `strength`
        writes it; ConfigError unless every preference has one.
    settings: how `merge_with` is read, by dotted config key such as
        ``{"seeds.columns": {"prompt": "q", "golden": "a"}}``.

    Raises a SeamaugError subclass whose message says what is wrong and how to fix it.
    """
    names = dialect_names(to)
    runs = _distinct([run] if isinstance(run, (str, Path)) else run)
    target = out if out is not None else _own_folder(runs)
    for name in names:
        for own in runs:
            _check_free(below(target, name), own)
        if margin and not any(form.takes_margin for form in DIALECTS[name]()):
            raise ConfigError(f"{name} reads no margin: export it without --margin")
    share = 0.0 if validation is None else parse_share(validation)
    with ExitStack() as stack:
        finished = [_finished(own, stack) for own in runs]
        examples = _mixture(finished, merge_with, settings or {}, ratio, margin)
        if margin:
            _check_margins(examples)
        _check_sides(examples, share)
        return _write(names, target, examples, share, margin)


def _distinct(runs: Sequence[Place]) -> Sequence[Place]:
    if not runs:
        raise ConfigError("name at least one run folder to export")
    repeated = [place for place, count in Counter(map(str, runs)).items() if count > 1]
    if repeated:
        raise ConfigError(f"{repeated[0]} is named twice: name each run once")
    return runs


def _own_folder(runs: Sequence[Place]) -> Place:
    if len(runs) > 1:
        raise ConfigError("several runs are exported together: say where to, by --out")
    return below(runs[0], EXPORTS)


def _finished(run: Place, stack: ExitStack) -> FinishedRun:
    folder = stack.enter_context(run_here(run, f"{PROVENANCE}.parquet"))
    if not _kept(folder):
        raise RunFolderError(f"{folder} kept no example, so there is nothing to export")
    return FinishedRun(str(run), _provenance(folder), stored_summary(folder))


def export_run(run: Place, names: Sequence[str]) -> list[Export]:
    """What `expand` exports at its end, in place of what an earlier call did; all rows to train on.

    Nothing, where nothing was kept.
    """
    folder = folder_of(run)
    if names and not _kept(folder):
        logger.warning(f"nothing was kept, so nothing is exported for {', '.join(names)}")
        return []
    kept = Kept([FinishedRun(str(run), _provenance(folder), stored_summary(folder))])
    return _write(names, below(run, EXPORTS), kept, 0.0, False)


def _write(
    names: Sequence[str], target: Place, examples: Stream, validation: float, margin: bool
) -> list[Export]:
    exports = []
    for name in names:
        forms = DIALECTS[name]()
        with written_folder(below(target, name)) as temporary:
            counts = write_forms(temporary, forms, examples(), validation=validation, margin=margin)
            write_guide(temporary, name, forms, counts, margin=margin)
        rows, left_out, remarks = (
            {key: dict(sorted(found.items())) for key, found in told.items()}
            for told in (counts.rows, counts.left_out, counts.remarks)
        )
        exports.append(Export(name, below(target, name), rows, left_out, remarks))
    return exports


def _mixture(
    runs: Sequence[FinishedRun],
    merge_with: SeedSource,
    settings: dict[str, Any],
    ratio: str | None,
    margin: bool,
) -> Stream:
    """The kept examples, and the original ones among them where they are asked for."""
    if merge_with is not None:
        return _merged(merge_with, settings, ratio, runs, margin)
    if ratio is not None or settings:
        raise ConfigError("a ratio and columns are of the original data: give --merge-with")
    return Kept(runs)


def _merged(
    source: SeedSource,
    settings: dict[str, Any],
    ratio: str | None,
    runs: Sequence[FinishedRun],
    margin: bool,
) -> Stream:
    parts = parse_ratio(ratio) if ratio is not None else None
    paths = paths_of(source)
    rows = None if paths else list(source)
    config = load_config(None, {**settings, "seeds.paths": paths or ["rows"]}).seeds
    layouts = Layouts(dict(config.columns))  # one for all readings, since it logs what is new

    def original() -> Iterator[Example]:
        return original_examples(config, rows, layouts, margin=margin)

    originals = sum(1 for _ in original())
    if not originals:
        raise InputError(f"{', '.join(config.paths)} holds no rows to merge with")
    kept = Kept(runs, original)
    augmented = sum(1 for _ in kept())
    if not augmented:
        raise InputError(
            "all that the runs kept nearly repeats original rows, so there is nothing to merge: "
            "does --merge-with name the runs' seeds, read by the same columns?"
        )
    take_original, take_augmented = counts_at(parts, originals, augmented)

    def mixture() -> Iterator[Example]:
        return mix(
            (sample(original(), originals, take_original), take_original),
            (sample(kept(), augmented, take_augmented), take_augmented),
        )

    return mixture


def _provenance(run: Path) -> Path:
    return dataset_file(run, PROVENANCE)


def _kept(run: Path) -> int:
    kept: int = stored_summary(run)["counts"]["candidates"]["kept"]
    return kept


def _check_free(place: Place, run: Place) -> None:
    """Raise ConfigError where the export would mix with what is there already."""
    if (there := remote(place)) is not None:
        if there.names():
            raise ConfigError(f"{place} is not empty: choose another --out, or remove it")
        return
    folder, run = Path(place), Path(run)
    inside = folder.resolve().is_relative_to(run.resolve())
    if inside and folder.parent.resolve() != (run / EXPORTS).resolve():
        raise ConfigError(
            f"--out {folder.parent} lies in the run folder, which holds what `expand` writes: "
            f"choose {run / EXPORTS} or a folder elsewhere"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} exists and is not empty: choose another --out, or remove it")


def _check_margins(examples: Stream) -> None:
    """Raise ConfigError where a preference has no margin."""
    lacking = Counter(e.source for e in examples() if e.rejected and e.margin is None)
    fixes = {
        AUGMENTED: "judges give every pair of a run one (`expand --judge MODEL`)",
        ORIGINAL: "`seamaug strength --margin` writes it for original pairs",
    }
    if lacking:
        source, count = min(lacking.items())
        raise ConfigError(
            f"{count:,} {source} examples have no margin, and trainers take one on every row or on "
            f"none: leave out --margin, or see to it: {fixes[source]}"
        )


def _check_sides(examples: Stream, validation: float) -> None:
    """Raise ConfigError where a share of few parents is none, or all of them."""
    if not validation:
        return
    found = {side_of(example.parent, validation) for example in examples()}
    if found != {TRAIN, VALIDATION}:
        raise ConfigError(
            f"with {validation:.0%} to validate on, all examples are on the {found.pop()} side, "
            "since those of one parent stay together: choose a share nearer to 50%"
        )
