"""The flow: score -> select -> retrieve -> generate -> verify -> rescore -> keep -> write."""

import math
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from seamaug.blas import take_buffers
from seamaug.clock import clock
from seamaug.clusters import Clusters, cluster
from seamaug.config import Config
from seamaug.decontaminate import Decontamination, read_evaluation
from seamaug.drafts import Drafts
from seamaug.errors import LimitReached
from seamaug.finish import Finish, write_all
from seamaug.generate.variants import VariantMaker, chosen_operators
from seamaug.heap import give_back
from seamaug.identity import embedder_mark, expand_identity, models_of, score_identity
from seamaug.keep.keeper import Keeper
from seamaug.keep.rules import keep_rule
from seamaug.log import logger
from seamaug.models.chat_templates import template_warning
from seamaug.models.generation import COST_LIMIT, TIME_UP, TOKEN_LIMIT, Limits
from seamaug.models.sketch import HeadGradients
from seamaug.own_worse import OwnWorse
from seamaug.parents import ParentMaker, finished_parents, make_parents
from seamaug.policy_side import PolicySideMaker
from seamaug.probes import OutlookMaker, shown_weights
from seamaug.rescoring import Rescoring
from seamaug.resources import EMBEDDED
from seamaug.retrieve.cache import VectorCache
from seamaug.retrieve.embed import STAGE as EMBED
from seamaug.retrieve.embed import embed_seeds
from seamaug.retrieve.index import VectorIndex, open_index
from seamaug.rounds import Rounds
from seamaug.run.executor import Executor, Local
from seamaug.run.folder import RunFolder
from seamaug.run.mirror import opened_run
from seamaug.run.track import tracking
from seamaug.run_engine import models_of_run
from seamaug.run_models import Models
from seamaug.scoring.estimators import Parts, make_estimator
from seamaug.scoring.hack_set import Estimator
from seamaug.scoring.seam import RewardScale
from seamaug.scoring.seeds import MakeEstimator, SeedScores, score_seeds
from seamaug.seeds import Seeds
from seamaug.selection import select_parents
from seamaug.steering import check_allocation
from seamaug.storage import Place
from seamaug.target import Target
from seamaug.units import Spend
from seamaug.verify.contamination import EvaluationTexts
from seamaug.verify.screen import Screen
from seamaug.verify.worse import Reference
from seamaug.write.datasets import is_written
from seamaug.write.summary import Summary, read_summary

PAUSED = (TIME_UP, TOKEN_LIMIT, COST_LIMIT)
"""Outcomes from which the same command goes on."""


def run_expand(config: Config, seeds: Seeds, out: Place, *, quiet: bool = False) -> Summary:
    """Run the whole flow in the folder `out`, or resume it there; returns what run.json holds."""
    # A misspelt operator must not show after an hour of scoring.
    chosen_operators(config.generate, with_llm=config.generator.name != EMBEDDED)
    warn_of_stand_ins(config)
    marks = models_of(config)
    evaluation = read_evaluation(config.verify)
    take_buffers()
    with opened_run(out, expand_identity(config, seeds, marks, evaluation)) as run:
        finished = read_summary(run.path)
        if finished and finished["outcome"] not in PAUSED and is_written(run.path):
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
    budget = config.budget if isinstance(config.budget, Spend) else None
    limits = Limits(config.max_tokens, config.max_cost, deadline, budget)
    _warn_of_templates(config)
    with (
        tracking(config, run) as track,
        models_of_run(config, run, limits) as (models, executor),
    ):
        features = bool(shown_weights(models.scorer.rewards))
        rule = keep_rule(config.keep, features=features)
        check_allocation(config.generate, features=features)
        # Here, since what cannot be done must not show after an hour of scoring.
        gradients = HeadGradients(models.policy) if config.keep.policy_weight else None
        index, scores = _score(run, seeds, models, executor, config, marks, quiet=quiet)
        track(scores.means(config.score.weighting), 0)
        with clock.stage("select"):
            chosen = _select(config, seeds, evaluation, index, scores)
        drafts = Drafts(config, seeds, scores, index)
        maker = partial(_parent_maker, config, seeds, scores.main.name, scores.scale)
        # An LLM's limits and replies are this process's.
        makers = Local(models) if models.writer else executor
        watch = OutlookMaker(config, seeds, scores, index, models.policy, models.scorer)
        variants = VariantMaker(config.generate, models.writer, config.seed)
        screen = _screen(config, seeds, index, models, evaluation, variants)
        keeper = None
        try:
            with clock.stage("parents"):
                positions = chosen.positions
                parents = make_parents(run, drafts, positions, makers, maker, quiet=quiet)
            with clock.stage("look ahead"):
                outlook = watch.make(run, parents, quiet=quiet)
                keeper, policy_side = Keeper(rule, config, outlook), None
                if gradients and outlook:
                    side = PolicySideMaker(watch, gradients)
                    policy_side = side.make(run, parents, outlook, quiet=quiet)
            with clock.stage("candidates"):
                rescoring = Rescoring(
                    config, models.scorer, screen, scores.scale,
                    OwnWorse(config, models.policy, models.sample_findings),
                    features=bool(outlook), policy_side=policy_side, strength=models.pair_strength,
                )  # fmt: skip
                generation = models.writer.generation if models.writer else None
                target = Target(config, run, generation)
                rounds = Rounds(config, variants, screen, rescoring, keeper, track, target)
                labels = chosen.clusters.labels
                outcome = rounds.run(run, parents, labels, deadline=deadline, quiet=quiet)
        except LimitReached as reached:
            logger.warning(str(reached))
            parents, outcome = finished_parents(run), reached.outcome
        with clock.stage("write"):
            return write_all(
                run,
                Finish(
                    config=config,
                    seeds=seeds,
                    scores=scores,
                    parents=parents,
                    selected=len(chosen.positions),
                    models=marks,
                    outcome=outcome,
                    accounts=models.accounts,
                    decontamination=chosen.decontamination,
                    clusters=chosen.clusters,
                    foreseen=keeper.foreseen() if keeper else {},
                ),
            )


class _Selection(NamedTuple):
    """Which seeds get variants."""

    decontamination: Decontamination
    positions: list[int]
    clusters: Clusters


def _select(
    config: Config,
    seeds: Seeds,
    evaluation: EvaluationTexts | None,
    index: VectorIndex,
    scores: SeedScores,
) -> _Selection:
    decontamination = Decontamination(config.verify, evaluation, seeds)
    seam = scores.seam(config.score.weighting)
    seam[decontamination.contaminated] = math.nan  # variants would repeat the evaluation
    positions: list[int] = select_parents(seam, config.select).tolist()
    return _Selection(decontamination, positions, cluster(index.vectors, positions, config.seed))


def _parent_maker(
    config: Config, seeds: Seeds, scored_by: str, scale: RewardScale, models: Models
) -> ParentMaker:
    return ParentMaker(
        config,
        seeds,
        scored_by,
        scale,
        models.policy,
        models.scorer,
        models.writer,
        # Their judges load where they are first asked.
        lambda cases: models.samples_verifier(cases),
        lambda cases: models.written_verifier(cases),
    )


def _screen(
    config: Config,
    seeds: Seeds,
    index: VectorIndex,
    models: Models,
    evaluation: EvaluationTexts | None,
    variants: VariantMaker,
) -> Screen:
    return Screen(
        config.verify,
        seeds,
        index.vectors,
        models.embedder,
        evaluation,
        variants.checked,
        models.new_golden_check,
    )


def warn_of_stand_ins(
    config: Config, roles: Sequence[str] = ("policy", "reward", "embedder")
) -> None:
    """A toy model beside a real one, or over real data, is hardly ever meant."""
    toys = [role for role in roles if getattr(config, role).name == EMBEDDED]
    if toys and (len(toys) < len(roles) or config.seeds.paths != (EMBEDDED,)):
        logger.warning(
            f"no model is given for {', '.join(toys)}: the bundled stand-in is used, whose scores "
            f"mean little on your data; give {', '.join('--' + role for role in toys)}"
        )


def _warn_of_templates(config: Config) -> None:
    for reward in config.reward.members():
        if warning := template_warning(config.policy, reward):
            logger.warning(warning)


def run_score(config: Config, seeds: Seeds, work: Place, *, quiet: bool = False) -> SeedScores:
    """SEAM of every seed, resumable in the folder `work`."""
    warn_of_stand_ins(config)
    take_buffers()
    marks = models_of(config)
    with opened_run(work, score_identity(config, seeds, marks)) as run, run:
        _warn_of_templates(config)
        asked = run if config.uses_writer_to_score else None
        with models_of_run(config, asked) as (models, executor):
            return _score(run, seeds, models, executor, config, marks, quiet=quiet)[1]


def _score(
    run: RunFolder,
    seeds: Seeds,
    models: Models,
    executor: Executor,
    config: Config,
    marks: dict[str, Any],
    *,
    quiet: bool,
) -> tuple[VectorIndex, SeedScores]:
    with clock.stage("embed"):
        own, cache = config.retrieve, None
        if folder := config.embedder.cache:
            cache = VectorCache(Path(folder), embedder_mark(config.embedder, marks))
        vectors = embed_seeds(run, seeds, executor, own.dtype, cache, quiet=quiet)
        index = open_index(vectors, own, run.stages / EMBED)
        give_back()
    with clock.stage("score"):
        estimators: dict[str, MakeEstimator] = {
            name: partial(_estimator, name, config, seeds, index)
            for name in config.score.estimators
        }
        # The LLM that scoring asks is this process's: so are its limits and its replies.
        scorers = Local(models) if config.uses_writer_to_score else executor
        return index, score_seeds(run, seeds, estimators, scorers, config.score, quiet=quiet)


def _estimator(
    name: str, config: Config, seeds: Seeds, index: VectorIndex, models: Models
) -> Estimator:
    names = config.score.estimators
    parts = Parts(
        goldens=seeds.table["golden"],
        index=index,
        policy=models.policy,
        rewards=models.scorer.rewards,
        is_worse=Reference(config.score.same_answer).is_worse,
        samples_verifier=models.samples_verifier.findings if "on-policy" in names else None,
        written_verifier=models.written_verifier if "llm" in names else None,
        writer=models.writer,
    )
    return make_estimator(name, config, parts)
