"""The flow: score -> select -> retrieve -> generate -> verify -> rescore -> keep -> write."""

import math
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import Any

from seamaug.clock import clock
from seamaug.config import Config
from seamaug.decontaminate import Decontamination, read_evaluation
from seamaug.errors import LimitReached
from seamaug.generate.llm.operators import load_operators
from seamaug.generate.llm.writer import LLMWriter
from seamaug.generate.variants import VariantMaker, chosen_operators
from seamaug.identity import expand_identity, models_of, score_identity, versions
from seamaug.keep.rules import keep_rule
from seamaug.log import logger
from seamaug.models.embedder import Embedder
from seamaug.models.generation import COST_LIMIT, TOKEN_LIMIT, Generation, Limits
from seamaug.models.journal import Journal
from seamaug.models.load import load_generator, load_policy, load_reward
from seamaug.parents import ParentMaker, finished_parents
from seamaug.records import FAILED, KEPT, REJECTED, Parent
from seamaug.resources import EMBEDDED
from seamaug.retrieve.embed import STAGE as EMBED
from seamaug.retrieve.embed import embed_seeds
from seamaug.retrieve.index import VectorIndex, open_index, require_engine
from seamaug.rounds import STAGE, TIME_UP, Rounds, funnel
from seamaug.run.folder import RunFolder
from seamaug.scoring.estimators import Parts, make_estimators
from seamaug.scoring.hack_set import Verifier
from seamaug.scoring.scorer import Scorer
from seamaug.scoring.seeds import SeedScores, score_seeds
from seamaug.seeds import Seeds
from seamaug.selection import select_parents
from seamaug.verify.contamination import EvaluationTexts
from seamaug.verify.golden import NewGoldenCheck
from seamaug.verify.screen import Screen
from seamaug.verify.worse import Reference, make_verifier
from seamaug.write.card import kept_statistics, write_card
from seamaug.write.datasets import is_written, write_datasets
from seamaug.write.summary import Summary, read_summary, write_summary

PAUSED = (TIME_UP, TOKEN_LIMIT, COST_LIMIT)
"""Outcomes from which the same command goes on."""


class Models:
    """The models of a run, loaded once; the LLM that writes only where it has a journal."""

    def __init__(self, config: Config, journal: Path | None = None) -> None:
        require_engine(config.retrieve)  # its absence must not show after the models are loaded
        with clock.stage("load models"), clock.kind("models"):
            self.embedder = Embedder(config.embedder)
            self.policy = load_policy(config.policy)
            self.scorer = Scorer(
                self.policy, [load_reward(member) for member in config.reward.members()]
            )
            self.writer = load_writer(config, journal) if journal else None
            self._config = config

    @property
    def accounts(self) -> dict[str, dict[str, Any]]:
        """What the LLM's work came to, by operator."""
        return self.writer.generation.accounts if self.writer else {}

    def close(self) -> None:
        """Let the journal go."""
        if self.writer:
            self.writer.generation.close()

    @cached_property
    def verifier(self) -> Verifier:
        """Of samples and written responses; its judges are loaded where it is first asked for."""
        with clock.stage("load models"), clock.kind("models"):
            return make_verifier(
                self._config.verify.worse,
                self._config.verify.reference_overlap,
                lambda name: load_reward(self._config.reward.like(name)),
                self.writer.prefers if self.writer else None,
            )


def load_writer(config: Config, journal: Path) -> LLMWriter | None:
    """The LLM that writes variants; None for the embedded operators alone."""
    if config.generator.name == EMBEDDED:
        return None
    limits = Limits(config.max_tokens, config.max_cost)
    engine = load_generator(config.generator)
    generation = Generation(engine, config.generator, Journal(journal), limits)
    return LLMWriter(generation, load_operators(config.generate.operators_from))


def run_expand(config: Config, seeds: Seeds, out: Path, *, quiet: bool = False) -> Summary:
    """Run the whole flow in the folder `out`, or resume it there; returns what run.json holds."""
    # A misspelt operator must not show after an hour of scoring.
    chosen_operators(config.generate, with_llm=config.generator.name != EMBEDDED)
    _warn_of_stand_ins(config)
    marks = models_of(config)
    evaluation = read_evaluation(config.verify)
    run = RunFolder(out, expand_identity(config, seeds, marks, evaluation))
    finished = read_summary(out)
    if finished and finished["outcome"] not in PAUSED and is_written(out):
        logger.info(f"{out} is finished: {finished['outcome']}; nothing to do")
        return finished
    with run:
        return _flow(run, config, seeds, marks, evaluation, quiet=quiet)


def _flow(
    run: RunFolder,
    config: Config,
    seeds: Seeds,
    marks: dict[str, Any],
    evaluation: EvaluationTexts | None,
    *,
    quiet: bool,
) -> Summary:
    deadline = time.monotonic() + (config.max_time or math.inf)
    with closing(Models(config, run.replies)) as models:
        index, scores = _score(run, seeds, models, config, quiet=quiet)
        with clock.stage("select"):
            decontamination = Decontamination(config.verify, evaluation, seeds)
            seam = scores.seam(config.score.weighting)
            seam[list(decontamination.overlaps)] = math.nan  # variants would repeat the evaluation
            selected = select_parents(seam, config.select)
        maker = ParentMaker(
            config,
            seeds,
            scores,
            index,
            models.policy,
            models.scorer,
            models.writer,
            models.verifier,
        )
        variants = VariantMaker(config.generate, models.writer, config.seed)
        rounds = Rounds(
            config=config,
            maker=variants,
            screen=Screen(
                config.verify,
                seeds,
                index.vectors,
                models.embedder,
                evaluation,
                variants.checked,
                _new_golden_check(config, models.writer),
            ),
            scorer=models.scorer,
            rule=keep_rule(config.keep),
            scale=scores.scale,
        )
        try:
            with clock.stage("parents"):
                parents = maker.make_all(run, [int(p) for p in selected], quiet=quiet)
            with clock.stage("candidates"):
                outcome = rounds.run(run, parents, deadline=deadline, quiet=quiet)
        except LimitReached as reached:
            logger.warning(str(reached))
            parents, outcome = finished_parents(run), reached.outcome
        with clock.stage("write"):
            return _write(
                run,
                config,
                seeds,
                scores,
                parents,
                marks,
                outcome,
                models.accounts,
                decontamination,
            )


def _warn_of_stand_ins(config: Config) -> None:
    """A toy model beside a real one, or over real data, is hardly ever meant."""
    roles = ("policy", "reward", "embedder")
    toys = [role for role in roles if getattr(config, role).name == EMBEDDED]
    if toys and (len(toys) < len(roles) or config.seeds.paths != (EMBEDDED,)):
        logger.warning(
            f"no model is given for {', '.join(toys)}: the bundled stand-in is used, whose scores "
            f"mean little on your data; give {', '.join('--' + role for role in toys)}"
        )


def run_score(config: Config, seeds: Seeds, work: Path, *, quiet: bool = False) -> SeedScores:
    """SEAM of every seed, resumable in the folder `work`."""
    _warn_of_stand_ins(config)
    with RunFolder(work, score_identity(config, seeds, models_of(config))) as run:
        journal = run.replies if config.uses_writer_to_score else None
        with closing(Models(config, journal)) as models:
            return _score(run, seeds, models, config, quiet=quiet)[1]


def _score(
    run: RunFolder, seeds: Seeds, models: Models, config: Config, *, quiet: bool
) -> tuple[VectorIndex, SeedScores]:
    with clock.stage("embed"):
        own = config.retrieve
        vectors = embed_seeds(run, seeds, models.embedder, own.dtype, quiet=quiet)
        index = open_index(vectors, own, run.stages / EMBED)
    with clock.stage("score"):
        estimators = make_estimators(config, _estimator_parts(seeds, index, models, config))
        return index, score_seeds(run, seeds, estimators, models.scorer, config.score, quiet=quiet)


def _estimator_parts(seeds: Seeds, index: VectorIndex, models: Models, config: Config) -> Parts:
    return Parts(
        goldens=seeds.table["golden"],
        index=index,
        policy=models.policy,
        rewards=models.scorer.rewards,
        meant_worse=Reference(config.score.same_answer),
        samples_verifier=models.verifier if "on-policy" in config.score.estimators else None,
        writer=models.writer,
    )


def _new_golden_check(config: Config, writer: LLMWriter | None) -> NewGoldenCheck | None:
    if writer is None:
        return None
    return NewGoldenCheck(writer.prefers, config.verify.reference_overlap)


def _write(
    run: RunFolder,
    config: Config,
    seeds: Seeds,
    scores: SeedScores,
    parents: list[Parent],
    marks: dict[str, Any],
    outcome: str,
    accounts: dict[str, dict[str, Any]],
    decontamination: Decontamination,
) -> Summary:
    (run.path / "run.json").unlink(missing_ok=True)  # it would vouch for files half replaced
    write_datasets(run.path, run.parts(STAGE))
    decontamination.write_report(run.path, run.parts(STAGE))
    summary: Summary = {
        "outcome": outcome,
        "budget": config.budget,
        "weighting": config.score.weighting,
        "counts": _counts(run, seeds, scores, parents, len(decontamination.overlaps)),
        "decontamination": decontamination.summary(),
        "kept": kept_statistics(run.parts(STAGE)),
        "generation": accounts,
        "reward_scores": {
            "means": list(scores.scale.means),
            "stds": list(scores.scale.stds),
        },
        "models": marks,
        "versions": versions(),
        "config": config.model_dump(mode="json"),
    }
    write_card(run.path, summary, _licences(run, seeds, parents))
    summary["times"] = clock.report()
    write_summary(run.path, summary)
    return summary


def _counts(
    run: RunFolder,
    seeds: Seeds,
    scores: SeedScores,
    parents: list[Parent],
    contaminated: int,
) -> dict[str, Any]:
    """Every row and candidate, once: the sums are checked before they are written."""
    verdicts = funnel(run.parts(STAGE))
    totals = {verdict: sum(reasons.values()) for verdict, reasons in verdicts.items()}
    rows = sum(table.num_rows for table in run.parts(STAGE))
    assert verdicts.keys() <= {KEPT, REJECTED, FAILED}, "a candidate has no verdict"
    return {
        "rows": seeds.rows_read,
        "merged": seeds.rows_read - len(seeds),
        "seeds": {
            "total": len(seeds),
            "scored": len(scores) - len(scores.errors),
            "failed": len(scores.errors),
            "failed_because": _by_reason(scores.errors.values()),
            "contaminated": contaminated,
            "selected": len(parents),
            "set_aside": _by_reason(
                parent.error or "no discrepancy on its hack set"
                for parent in parents
                if not parent.is_usable
            ),
        },
        "candidates": {
            "total": rows,
            "kept": totals.get(KEPT, 0),
            "rejected": verdicts.get("rejected", {}),
            "failed": verdicts.get("failed", {}),
        },
    }


def _by_reason(errors: Iterable[str]) -> dict[str, int]:
    """Counts by what stands before the colon: behind it are the numbers of one row."""
    return dict(sorted(Counter(error.split(":")[0] for error in errors).items()))


def _licences(run: RunFolder, seeds: Seeds, parents: list[Parent]) -> dict[str, int]:
    """Kept examples by source and licence of the parent seed."""
    names = {}
    for seed in seeds.at([parent.position for parent in parents]):
        names[seed.id] = (
            f"{seed.source or 'source not stated'}, {seed.licence or 'licence not stated'}"
        )
    counts: dict[str, int] = {}
    for table in run.parts(STAGE):
        for row in table.select(["parent", "verdict"]).to_pylist():
            if row["verdict"] == KEPT:
                counts[names[row["parent"]]] = counts.get(names[row["parent"]], 0) + 1
    return counts
