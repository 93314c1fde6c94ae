"""The end of a run: datasets, report of contamination, card and summary.

This is where verbs meet (score, verify, write), so it stands beside the pipeline.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from seamaug.clock import clock
from seamaug.clusters import Clusters
from seamaug.config import Config
from seamaug.config.base import plain
from seamaug.decontaminate import Decontamination
from seamaug.identity import versions
from seamaug.records import FAILED, KEPT, REJECTED, Parent
from seamaug.rounds import STAGE, funnel
from seamaug.run.folder import RunFolder
from seamaug.scoring.seeds import SeedScores
from seamaug.seeds import Seeds
from seamaug.spending import spending
from seamaug.write.card import kept_statistics, write_card
from seamaug.write.datasets import write_datasets
from seamaug.write.summary import Summary, write_summary

_SOURCES = 50


@dataclass(frozen=True)
class Finish:
    """What the datasets of a run, its card and its summary are made from."""

    config: Config
    seeds: Seeds
    scores: SeedScores
    parents: list[Parent]
    selected: int
    """Seeds: more than there are parents where a limit was reached among these."""
    models: dict[str, Any]
    """What run.json says of the models."""
    outcome: str
    accounts: dict[str, dict[str, Any]]
    """What the LLM's work came to, by operator."""
    decontamination: Decontamination
    foreseen: dict[str, Any]
    """What training on the kept examples is predicted to do."""
    clusters: Clusters


def write_all(run: RunFolder, finish: Finish) -> Summary:
    """Write what a user gets; run.json comes last and vouches for the rest."""
    (run.path / "run.json").unlink(missing_ok=True)  # it would vouch for files half replaced
    write_datasets(run.path, run.parts(STAGE))
    finish.decontamination.write_report(run.path, run.parts(STAGE))
    summary: Summary = {
        "outcome": finish.outcome,
        "budget": plain(finish.config.budget),
        "weighting": finish.config.score.weighting,
        "counts": _counts(run, finish),
        "discrepancy": finish.scores.means(finish.config.score.weighting),
        "decontamination": finish.decontamination.summary(),
        "kept": kept_statistics(run.parts(STAGE)),
        "spending": spending(run.parts(STAGE), finish.parents, finish.clusters, finish.seeds),
        "foreseen": finish.foreseen,
        "generation": finish.accounts,
        "reward_scores": {
            "means": list(finish.scores.scale.means),
            "stds": list(finish.scores.scale.stds),
        },
        "models": finish.models,
        "licences": _licences(run, finish),
        "versions": versions(),
        "config": finish.config.model_dump(mode="json"),
    }
    write_card(run.path, summary)
    summary["times"] = clock.report()
    write_summary(run.path, summary)
    return summary


def _counts(run: RunFolder, finish: Finish) -> dict[str, Any]:
    """Every row and candidate, once: the sums are checked before they are written."""
    seeds, scores = finish.seeds, finish.scores
    verdicts = funnel(run.parts(STAGE))
    totals = {verdict: sum(reasons.values()) for verdict, reasons in verdicts.items()}
    rows = sum(table.num_rows for table in run.parts(STAGE))
    assert verdicts.keys() <= {KEPT, REJECTED, FAILED}, "a candidate has no verdict"
    return {
        "rows": seeds.rows_read,
        "unusable": seeds.unusable,
        "merged": seeds.merged,
        "seeds": {
            "total": len(seeds),
            "scored": len(scores) - len(scores.errors),
            "failed": len(scores.errors),
            "failed_because": _by_reason(scores.errors.values()),
            "contaminated": len(finish.decontamination.contaminated),
            "selected": finish.selected,
            "set_aside": _by_reason(_set_aside(finish)),
        },
        "candidates": {
            "total": rows,
            "kept": totals.get(KEPT, 0),
            "rejected": verdicts.get("rejected", {}),
            "failed": verdicts.get("failed", {}),
        },
    }


def _set_aside(finish: Finish) -> Iterator[str]:
    """Why selected seeds get no variants."""
    for parent in finish.parents:
        if not parent.is_usable:
            yield parent.error or "no discrepancy on its hack set"
    yield from ["not reached"] * (finish.selected - len(finish.parents))


def _by_reason(errors: Iterable[str]) -> dict[str, int]:
    """Counts by what stands before the colon: behind it are the numbers of one row."""
    return dict(sorted(Counter(error.split(":")[0] for error in errors).items()))


def _licences(run: RunFolder, finish: Finish) -> list[dict[str, Any]]:
    """Seeds, and kept examples of theirs, by source and licence as the seeds' rows state them.

    All seeds, since a golden response may be the rejected one of another seed's variant. Sources
    beyond the first few are one line for each licence: a source may be a URL of every row's own.
    """
    keys = ["source", "licence"]
    # As in read_part, no threads of Arrow's.
    groups = finish.seeds.table.select(keys).group_by(keys, use_threads=False)
    stated = groups.aggregate([([], "count_all")])
    seeds = Counter(
        {(row["source"], row["licence"]): row["count_all"] for row in stated.to_pylist()}
    )
    found = finish.seeds.at([parent.position for parent in finish.parents])
    origins = {seed.id: (seed.source, seed.licence) for seed in found}
    kept: Counter[tuple[str, str]] = Counter()
    for table in run.parts(STAGE):
        rows = table.filter(pc.equal(table["verdict"], KEPT))
        kept.update(origins[parent] for parent in rows["parent"].to_pylist())
    order = sorted(seeds, key=lambda origin: (-kept[origin], -seeds[origin], origin))
    lines: dict[tuple[str, str], dict[str, Any]] = {}
    for place, (source, licence) in enumerate(order):
        shown = source if place < _SOURCES else "other sources"
        line = {"source": shown, "licence": licence, "seeds": 0, "kept": 0}
        line = lines.setdefault((shown, licence), line)
        line["seeds"] += seeds[source, licence]
        line["kept"] += kept[source, licence]
    return list(lines.values())
