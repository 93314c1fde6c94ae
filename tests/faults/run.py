"""What disks, signals and people do to runs, done to small ones: `make faults` prints a table."""

import argparse
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults import changes, damage, disks, limits, servers, stops
from tests.faults.scene import Scene, Tried

FAULTS = {
    "kills": (stops.kills, 100),
    "signals": (stops.signals, 18),
    "full disk": (disks.full, 16),
    "read-only disk": (disks.read_only, 4),
    "vanishing folder": (disks.vanishing, 6),
    "two processes": (disks.two_processes, 6),
    "stored files": (damage.stored, 8),
    "written files": (damage.written, 6),
    "identity": (damage.identity, 6),
    "clock": (limits.clocks, 2),
    "memory": (limits.memory, 12),
    "changes": (changes.changed, 6),
}
"""How each group of faults is done, and how often in the long form."""
WITH_SERVER = {
    "server": (servers.restarts, 4),
    "http": (servers.http, 10),
    "replies": (servers.replies, 6),
    "templates": (servers.templates, 2),
}


def tried(folder: Path, rng: random.Random, share: float, only: list[str]) -> Iterator[Tried]:
    """All faults, `share` times as often as the long form has them."""
    wanted = [name for name in FAULTS if not only or name in only]
    if wanted:
        scene = Scene(folder / "scene")
        for name in wanted:
            do, count = FAULTS[name]
            yield from do(scene, rng, max(1, round(share * count)))
    wanted = [name for name in WITH_SERVER if not only or name in only]
    if wanted:
        with servers.scene_with_server(folder / "with-server") as (scene, server):
            for name in wanted:
                ask, count = WITH_SERVER[name]
                yield from ask(scene, server, rng, max(1, round(share * count)))


def table(found: list[Tried]) -> str:
    """Faults by kind and place: tried and survived."""
    done = [one for one in found if not one.skipped]
    rows = Counter((one.fault, one.where) for one in done)
    good = Counter((one.fault, one.where) for one in done if not one.problem)
    lines = [f"{'fault':<22}{'where':<28}{'tried':>6}{'survived':>10}"]
    for (fault, where), count in rows.items():
        lines.append(f"{fault:<22}{where:<28}{count:>6}{good[fault, where]:>10}")
    lines.append(f"{'all':<50}{len(done):>6}{good.total():>10}")
    lines += [f"NOT TRIED: {one.fault}: {one.skipped}" for one in found if one.skipped]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the long form's counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], choices=[*FAULTS, *WITH_SERVER])
    own = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # as many threads as there are tests of one thread
    found = []
    with tempfile.TemporaryDirectory(prefix="seamaug-faults-") as folder:
        for one in tried(Path(folder), random.Random(own.seed), own.share, own.only):
            found.append(one)
            what = "NOT SURVIVED: " + one.problem if one.problem else one.skipped or "survived"
            print(f"{len(found)}. {one.fault}, {one.where}: {what}", flush=True)
    print("\n" + table(found))
    sys.exit(any(one.problem for one in found))


if __name__ == "__main__":
    main()
