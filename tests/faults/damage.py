"""Files that a disk or a copy damaged: found, named, and made anew."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.faults.scene import STAGES, Scene, Tried, flip_a_bit, refusal, removed, truncate

Damage = Callable[[Path, random.Random], None]

_KINDS: dict[str, Damage] = {"bit flipped": flip_a_bit, "truncated": truncate}


def stored(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """A file of each stage is damaged, all at once; the run has to go through them all again."""
    for number in range(count):
        kind, spoil = list(_KINDS.items())[number % len(_KINDS)]
        with removed(scene.copy(f"damaged{number}")) as out:
            (out / "run.json").unlink()
            spoilt = {stage: _one_of(out / "stages" / stage, rng) for stage in STAGES}
            for path in spoilt.values():
                spoil(path, rng)
            problem = scene.resumed(out)
            said = (scene.folder / f"{scene.number:04d}.log").read_text(encoding="utf-8")
            for stage, path in spoilt.items():
                yield Tried(kind, stage, problem or _not_made_anew(scene, out, path, said))


def _one_of(folder: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(folder.glob("*.parquet")) or [folder / "vectors.npy"])


def _not_made_anew(scene: Scene, out: Path, path: Path, said: str) -> str:
    if f"{path} is damaged" not in said:
        return f"{path.name} is not named in: {said[-1500:]}"
    whole = scene.whole / path.relative_to(out)
    return "" if path.read_bytes() == whole.read_bytes() else f"{path.name} is another one"


def written(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """What a finished run wrote for its user is damaged: the same command writes it again."""
    names = ("provenance.parquet", "sft/train.parquet", "preference/train.parquet")
    for number in range(count):
        kind, spoil = list(_KINDS.items())[number % len(_KINDS)]
        name = names[number % len(names)]
        with removed(scene.copy(f"spoilt{number}")) as out:
            spoil(out / name, rng)
            problem = scene.resumed(out)
            said = (scene.folder / f"{scene.number:04d}.log").read_text(encoding="utf-8")
            if not problem and f"{out / name} is missing or damaged" not in said:
                problem = f"{name} is not named in: {said[-1500:]}"
            yield Tried(kind, name, problem)


def identity(scene: Scene, rng: random.Random, count: int) -> Iterator[Tried]:
    """What says which run a folder holds is damaged or gone: nothing is mixed, the run refuses."""
    kinds: dict[str, Damage] = {**_KINDS, "file gone": lambda path, rng: path.unlink()}
    for number in range(count):
        kind, spoil = list(kinds.items())[number % len(kinds)]
        with removed(scene.copy(f"identity{number}", before="near")) as out:
            record = out / "stages" / "identity.json"
            content = record.read_bytes()
            spoil(record, rng)
            problem = refusal(scene.start(out), str(out))
            record.write_bytes(content)
            yield Tried(kind, "identity.json", problem or scene.resumed(out))
