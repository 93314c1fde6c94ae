"""The package's look-ahead rule over a pool, with and without the policy's side."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from keeping.pool import open_run, prepared
from keeping.world import Pool, Scored, World
from seamaug.config import Config
from seamaug.keep.keeper import Keeper, pair_of
from seamaug.keep.outlook import Outlook
from seamaug.keep.rules import Case, Lookahead
from seamaug.models.sketch import HeadGradients
from seamaug.policy_side import PolicySideMaker
from seamaug.probes import OutlookMaker
from seamaug.records import KEPT

_made: dict[Path, Outlook] = {}


def _outlook(pool: Pool, world: World) -> Outlook:
    """What is foreseen with the world's reward model, from probes among the training prompts."""
    if world.work in _made:
        return _made[world.work]
    with open_run(world) as run:
        index, scores = prepared(world, run)
        maker = OutlookMaker(world.config, world.train, scores, index, world.policy, world.scorer)
        made = maker.make(run, pool.parents, quiet=True)
    assert made is not None, "the reward model shows its features"
    _made[world.work] = made
    return made


def _policy_falls(pool: Pool, world: World) -> list[float]:
    """What training the policy on each row adds to that, at weight 1."""
    outlook = _outlook(pool, world)
    keep = world.config.keep.model_copy(update={"policy_weight": 1.0})
    config = world.config.model_copy(update={"keep": keep})
    with open_run(world) as run:
        index, scores = prepared(world, run)
        watch = OutlookMaker(config, world.train, scores, index, world.policy, world.scorer)
        maker = PolicySideMaker(watch, HeadGradients(world.policy))
        side = maker.make(run, pool.parents, outlook, quiet=True)
    return [fall for row in pool.rows for fall in side.falls([row.candidate])]


class _AsManyAsAsked(Lookahead):
    """The benchmark compares equal numbers of rows, whatever they are worth."""

    least = float("-inf")

    def __init__(self) -> None:
        pass


class _NoLimits:
    def problem(self, case: Case) -> str:
        return ""

    def take(self, case: Case) -> None:
        pass


def lookahead(pool: Pool, n: int, world: World) -> Sequence[int]:
    """Positions of the n rows that the rule keeps."""
    return _kept([_case(row) for row in pool.rows], n, _outlook(pool, world))


def guarded(pool: Pool, n: int, world: World) -> Sequence[int]:
    """The same with the package's guard of the reward variance, which may leave fewer than n."""
    tolerance = world.config.keep.variance_tolerance
    cases = [_case(row) for row in pool.rows]
    return _kept(cases, n, _outlook(pool, world), tolerance)


def with_policy(pool: Pool, n: int, world: World) -> Sequence[int]:
    """The same where `keep.policy_weight` is 1."""
    falls = _policy_falls(pool, world)
    cases = [
        replace(_case(row), policy_side=fall) for row, fall in zip(pool.rows, falls, strict=True)
    ]
    return _kept(cases, n, _outlook(pool, world))


def _kept(
    cases: Sequence[Case], n: int, outlook: Outlook, tolerance: float | None = None
) -> Sequence[int]:
    config = Config.model_validate({"keep": {"share": 1.0, "variance_tolerance": tolerance}})
    Keeper(_AsManyAsAsked(), config, outlook).judge(cases, n, _NoLimits())
    kept = [i for i, case in enumerate(cases) if case.candidate.verdict == KEPT]
    for case in cases:  # other arms choose from the same rows
        case.candidate.verdict = case.candidate.reason = ""
    return kept


def predict(rows: Sequence[Scored], pool: Pool, world: World) -> tuple[float, float]:
    """Predicted fall of SEAM on the probes, and around the rows' parents, by training on all."""
    before, after = _outlook(pool, world), _outlook(pool, world).copy()
    for row in rows:
        after.take(pair_of(_case(row)))
    parents = {row.parent.id for row in rows}
    near = sum(before.seam_near(parent) - after.seam_near(parent) for parent in parents)
    return before.seen().seam - after.seen().seam, near / len(parents)


def _case(row: Scored) -> Case:
    return Case(row.candidate, row.parent, row.scores, row.rejected)
