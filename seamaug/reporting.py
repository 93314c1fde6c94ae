"""The report of a run: gathers what its folder holds, and writes one page.

The scorer's formulas and the run's clusters meet here, so it stands beside the pipeline.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from seamaug.diagnosis.result import Diagnosis
from seamaug.errors import RunFolderError
from seamaug.places import below, written
from seamaug.report import figures, payload
from seamaug.report.candidates import Candidates, read_candidates
from seamaug.report.diagnosis_page import read_diagnosis, section
from seamaug.report.funnel import funnel_steps
from seamaug.report.html import refuse_another_page, render
from seamaug.report.prompts import (
    Parents,
    PromptMap,
    parent_clusters,
    prompt_map,
    read_parents,
)
from seamaug.report.responses import ScoredResponses
from seamaug.report.sample import clipped
from seamaug.run.mirror import run_here
from seamaug.scored_responses import read_scored_responses
from seamaug.storage import Place
from seamaug.write.summary import Summary, stored_summary, use_of_budget

REPORT = "report.html"
_NAME_CHARS = 200
_NEEDED = {"budget", "weighting", "counts", "kept", "spending", "foreseen", "generation",
           "reward_scores", "models", "versions", "config", "times"}  # fmt: skip
_READ = ("provenance.parquet", "stages/parents/*", "stages/score-*", "stages/embed/vectors.npy")
"""Files of a run that its report reads beside run.json."""


def report(
    run: Place,
    out: Place | None = None,
    *,
    diagnosis: Diagnosis | str | Path | None = None,
) -> Place:
    """Write the report of a finished run, one HTML file below 10 MB; returns where it lies.

    run: its folder, a path or an address such as "s3://bucket/run".
    out: the file, likewise; None is `report.html` in the run folder. An earlier report is replaced.
    diagnosis: what `diagnose` found of the run's models, or a file of the JSON that the command
        `diagnose --json` prints: it becomes a section of the page.

    Of a large run the page shows samples, and says so; its other figures are over everything. What
    was removed from the folder's stages is left out, and the page says that too. Raises
    RunFolderError where the folder holds no finished run, or one of another version, and InputError
    where the file holds no diagnosis.
    """
    target = out if out is not None else below(run, REPORT)
    refuse_another_page(target)
    found = diagnosis
    if isinstance(found, (str, Path)):
        found = read_diagnosis(found)
    with run_here(run, *_READ) as folder:
        summary = stored_summary(folder)
        if missing := sorted(_NEEDED - summary.keys()):
            raise RunFolderError(
                f"{folder / 'run.json'} lacks {', '.join(missing)}: another version of seamaug "
                "wrote it; report it with that version, or make the run anew"
            )
        page = _page(folder, summary, found)
    with written(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def _page(run: Path, summary: Summary, diagnosis: Diagnosis | None) -> str:
    seed = summary["config"]["seed"]
    parents = read_parents(run)
    shown = [parents.ids[place] for place in parents.some(payload.PROMPTS)]
    candidates = read_candidates(run, shown, payload.EXAMPLES)
    responses = read_scored_responses(run, summary)
    clusters = parent_clusters(run, parents, seed)
    labels = figures.labels_of(clusters, parents.ids, parents.positions)
    texts = parents.texts({*shown, *(row["parent"] for row in candidates.sample)})
    prompts = payload.prompt_table(texts, texts, labels, candidates, len(parents.ids))
    plane = _plane(run, seed, parents, prompts, responses)
    tables = _tables(parents, prompts, candidates, responses, plane, texts)
    names = _cluster_names(parents, clusters.centres if clusters else [])
    clustered = figures.cluster_rows(candidates, labels, names)
    return render(
        "page.html.jinja",
        {name: table.data() for name, table in tables.items()},
        run=summary,
        use_of_budget=use_of_budget(summary)[0],
        name=run.resolve().name,
        config=json.dumps(summary["config"], indent=2, ensure_ascii=False),
        steps=funnel_steps(summary["counts"]),
        tables=tables,
        explained=plane.explained if plane else 0.0,
        seam=figures.seam_chart(candidates, summary["weighting"]),
        unit=figures.seam_unit(summary["weighting"]),
        clusters=clustered,
        cluster_reading=figures.cluster_reading(clustered, len(labels), len(parents.ids))
        if clustered
        else "",
        foreseen=figures.foreseen_charts(summary),
        length=figures.length_chart(responses, candidates) if responses else None,
        responses=responses,
        teacher=section(diagnosis, summary["models"]) if diagnosis else None,
    )  # fmt: skip


def _plane(
    run: Path,
    seed: int,
    parents: Parents,
    prompts: payload.Table,
    responses: ScoredResponses | None,
) -> PromptMap | None:
    """The map of the seeds: of the prompts shown, and of others at random."""
    if responses is None:
        return None
    selected = sorted(_rows_by_position(parents, prompts))
    others = np.setdiff1d(np.arange(len(responses.seams)), selected)
    room = max(0, payload.SEEDS - len(selected))
    if len(others) > room:
        others = np.random.default_rng(seed).choice(others, room, replace=False)
    return prompt_map(run, np.sort(np.concatenate([np.array(selected, np.int64), others])))


def _rows_by_position(parents: Parents, prompts: payload.Table) -> dict[int, int]:
    """Row of the prompt table by position of the seed."""
    rows = {row[0]: number for number, row in enumerate(prompts.rows)}
    places = zip(parents.ids, parents.positions.tolist(), strict=True)
    return {position: rows[name] for name, position in places if name in rows}


def _tables(
    parents: Parents,
    prompts: payload.Table,
    candidates: Candidates,
    responses: ScoredResponses | None,
    plane: PromptMap | None,
    texts: dict[str, dict[str, Any]],
) -> dict[str, payload.Table]:
    rows = _rows_by_position(parents, prompts)
    scored = responses or ScoredResponses()
    return {
        "prompts": prompts,
        "seeds": payload.seed_table(plane, scored.seams, rows, len(scored.seams)),
        "responses": payload.response_table(scored, rows),
        "examples": payload.example_table(
            candidates, {row[0]: number for number, row in enumerate(prompts.rows)}, texts
        ),
    }


def _cluster_names(parents: Parents, centres: list[int]) -> list[str]:
    """The prompt in the middle of each cluster."""
    ids = dict(zip(parents.positions.tolist(), parents.ids, strict=True))
    texts = parents.texts({ids[centre] for centre in centres})
    return [clipped(texts[ids[centre]]["prompt"][-1]["content"], _NAME_CHARS) for centre in centres]
