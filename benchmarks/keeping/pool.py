"""Candidates by the parts of `expand`, all that pass verification, with their scores."""

import math
import pickle
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from types import SimpleNamespace

from keeping.world import Pool, Scored, World
from seamaug.drafts import Drafts
from seamaug.generate.operators import at_random
from seamaug.generate.variants import VariantMaker
from seamaug.models.embedder import Embedder
from seamaug.parents import ParentMaker, make_parents
from seamaug.records import Candidate, Parent, SetScores
from seamaug.retrieve.embed import embed_seeds
from seamaug.retrieve.index import VectorIndex
from seamaug.run.executor import Local
from seamaug.run.folder import RunFolder
from seamaug.run_models import Models
from seamaug.scoring.estimators import Parts, make_estimator
from seamaug.scoring.scorer import ResponseSet
from seamaug.scoring.seam import discrepancy, worst_responses
from seamaug.scoring.seeds import SeedScores, score_seeds
from seamaug.selection import select_parents
from seamaug.verify.screen import Screen
from seamaug.verify.worse import Reference


def make_pool(world: World) -> Pool:
    """Score, select, retrieve, generate, verify, rescore; what an earlier run left is reused."""
    left = world.work / "pool.pickle"
    if left.exists():
        stored: Pool = pickle.loads(left.read_bytes())
        return stored
    config = world.config
    with open_run(world) as run:
        index, scores = prepared(world, run)
        selected = [int(p) for p in select_parents(scores.seam("prob"), config.select)]
        maker = ParentMaker(
            config,
            world.train,
            scores.main.name,
            scores.scale,
            world.policy,
            world.scorer,
            None,
            samples_verifier=world.verifier,
            written_verifier=world.verifier,
        )
        drafts = Drafts(config, world.train, scores, index)
        made = make_parents(run, drafts, selected, Local(None), lambda _: maker, quiet=True)
        parents = [parent for parent in made if parent.is_usable]
    variants = VariantMaker(config.generate, None, world.seed)
    embedder = Embedder(config.embedder)
    screen = Screen(
        config.verify, world.train, index.vectors, embedder, None, variants.checked, None
    )
    counts = [world.scale.variants] * len(parents)
    candidates = variants.make(parents, 0, counts, screen.is_new, _at_random)
    by_id = {parent.id: parent for parent in parents}
    screen.judge(candidates, by_id)
    passed = [candidate for candidate in candidates if not candidate.verdict]
    pool = Pool(_rescored(world, passed, by_id, scores), parents, scores.scale)
    left.write_bytes(pickle.dumps(pool))
    return pool


def open_run(world: World) -> RunFolder:
    """The run folder of the world's part in the package."""
    probes = world.scale.probes
    identity = {"setting": world.name, "seed": world.seed, "probes": probes}
    return RunFolder(world.work / f"run-{probes}", identity)


def prepared(world: World, run: RunFolder) -> tuple[VectorIndex, SeedScores]:
    """Index and scores of the training seeds."""
    index = VectorIndex(embed_seeds(run, world.train, Local(Models(world.config)), quiet=True))
    return index, _score(world, run, index)


def _score(world: World, run: RunFolder, index: VectorIndex) -> SeedScores:
    config = world.config
    parts = Parts(
        goldens=world.train.table["golden"],
        index=index,
        policy=world.policy,
        rewards=world.scorer.rewards,
        is_worse=Reference(config.score.same_answer).is_worse,
        samples_verifier=world.verifier,
        written_verifier=None,
        writer=None,
    )
    estimators = {
        name: lambda _, name=name: make_estimator(name, config, parts)
        for name in config.score.estimators
    }
    return score_seeds(
        run,
        world.train,
        estimators,
        Local(SimpleNamespace(scorer=world.scorer)),
        config.score,
        quiet=True,
    )


def _at_random(parent: Parent, names: Sequence[str], rng: random.Random) -> Iterable[str]:
    return at_random(names, rng)


def _rescored(
    world: World,
    candidates: Sequence[Candidate],
    parents: dict[str, Parent],
    scores: SeedScores,
) -> list[Scored]:
    results = world.scorer.score(
        [ResponseSet(c.prompt, c.chosen, parents[c.parent].worse) for c in candidates],
        features=True,
    )
    whole = [
        (candidate, parents[candidate.parent], own)
        for candidate, own in zip(candidates, results, strict=True)
        if len(own.kept) == len(parents[candidate.parent].worse)
    ]
    most = max(10, math.ceil(world.config.keep.same_rejected * len(whole)))
    uses: Counter[str] = Counter()
    rows = []
    for candidate, parent, own in whole:
        rows.append(_row(candidate, parent, own, scores, uses, most))
        uses[candidate.rejected] += 1
    return rows


def _row(
    candidate: Candidate,
    parent: Parent,
    own: SetScores,
    scores: SeedScores,
    uses: Counter[str],
    most: int,
) -> Scored:
    """Its rejected response is the worst one that is not used up, as in rounds.py."""
    ranked = [int(i) for i in worst_responses(own, scores.scale)]
    rejected = next((i for i in ranked if uses[parent.worse[i]] < most), ranked[0])
    candidate.rejected = parent.worse[rejected]
    before = parent.seam_beside(candidate.chosen)
    after = discrepancy(own, scores.scale).seam_prob
    return Scored(candidate, parent, own, rejected, before, after)
