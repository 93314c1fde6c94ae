"""One planted world through the package, with run folder and estimators as `score` uses them."""

import random
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from planted.models import PlantedReward, RuleWriter, Truth
from planted.plan import GROUPS, Plan, make_plan
from planted.policy import Size, load_tokenizer, train_policy
from planted.tasks import Task, make_tasks
from seamaug.config import Config, SeedsConfig, load_config
from seamaug.models.policy import Policy
from seamaug.records import Seed
from seamaug.retrieve.embed import embed_seeds
from seamaug.retrieve.index import VectorIndex
from seamaug.run.executor import Local
from seamaug.run.folder import RunFolder
from seamaug.run_models import Models
from seamaug.scoring.estimators import Parts, make_estimator
from seamaug.scoring.scorer import Scorer
from seamaug.scoring.seeds import EstimatorScores, SeedScores, score_seeds
from seamaug.seeds import Seeds
from seamaug.seeds.table import read_seeds
from seamaug.verify.worse import Reference

ESTIMATORS = ("on-policy", "llm", "contrast", "adversarial")
TRUTH = "on-policy, true verifier"


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    per_form: int
    """Prompts of each topic in each wording."""
    samples: int
    adversarial_calls: int
    size: Size


@dataclass(frozen=True)
class World:
    """The prompts of one seed, in the order of the scores, and what was planted."""

    seed: int
    plan: Plan
    tasks: list[Task]
    seeds: Seeds

    @property
    def groups(self) -> np.ndarray:
        """Group of each prompt, as its place among `GROUPS`."""
        return np.array([GROUPS.index(self.plan.group(task)) for task in self.tasks])

    @property
    def cells(self) -> list[str]:
        """Cell of each prompt: what is resampled, for prompts of one cell share their fate."""
        return [task.cell for task in self.tasks]


def make_world(seed: int, scale: Scale) -> World:
    """Draw tasks and plan; a given worse answer goes with every prompt, as in preference data."""
    rng = random.Random(seed)
    tasks, plan = make_tasks(scale.per_form, rng), make_plan(rng)
    rng.shuffle(tasks)
    rows = [
        {"prompt": task.prompt, "golden": task.golden, "worse": task.stated(rng.choice(task.wrong))}
        for task in tasks
    ]
    return World(seed, plan, tasks, read_seeds(SeedsConfig(), rows))


@dataclass(frozen=True)
class Scored:
    """What the package made of a world."""

    scores: SeedScores
    checked: SeedScores
    """On-policy again, with the checker in place of the reference verifier."""
    margins: np.ndarray
    """Reward of the golden response less that of the given worse one."""

    def found(self, name: str) -> EstimatorScores:
        """Scores of an estimator, or of on-policy under the checker."""
        return self.checked.main if name == TRUTH else self.scores.by_estimator[name]


def score_world(world: World, scale: Scale, work: Path) -> Scored:
    """Train the policy if need be, and score every prompt under every estimator."""
    by_prompt = {task.prompt: task for task in world.tasks}
    folder = train_policy(world.tasks, world.plan, scale.size, world.seed, work / "policy")
    config = _config(world, scale, folder)
    policy = Policy(config.policy)
    reward = PlantedReward(load_tokenizer(), by_prompt, world.plan, world.seed)
    parts = _parts(world, config, policy, reward, work / "scores")
    scorer = Scorer(policy, [reward])
    scores = _score(world, config, parts, scorer, work / "scores")
    alone = load_config(None, config.model_dump() | {"score": _score_settings(scale, "on-policy")})
    checked = _score(
        world,
        alone,
        replace(parts, samples_verifier=Truth(by_prompt)),
        scorer,
        work / "checked",
    )
    margins = np.array([_margin(reward, by_prompt[seed.text], seed) for seed in _all(world)])
    return Scored(scores, checked, margins)


def _all(world: World) -> list[Seed]:
    return list(world.seeds.at(range(len(world.seeds))))


def _margin(reward: PlantedReward, task: Task, seed: Seed) -> float:
    return reward.score(task, seed.golden) - reward.score(task, seed.worse[0])


def _score_settings(scale: Scale, *estimators: str) -> dict[str, object]:
    return {
        "estimators": estimators,
        "samples": scale.samples,
        "adversarial": {"calls": scale.adversarial_calls},
        "on_policy": {"max_new_tokens": 64},
        "batch_seeds": 128,
    }


def _config(world: World, scale: Scale, policy: Path) -> Config:
    return load_config(
        None,
        {
            "policy": {"name": str(policy), "batch_tokens": 1 << 17},
            "generator": {"name": "rules"},  # never loaded: RuleWriter takes its place
            "score": _score_settings(scale, *ESTIMATORS),
            "seed": world.seed,
        },
    )


def _parts(
    world: World, config: Config, policy: Policy, reward: PlantedReward, folder: Path
) -> Parts:
    with _folder(world, config, folder) as run:
        vectors = embed_seeds(run, world.seeds, Local(Models(config)), quiet=True)
    return Parts(
        goldens=world.seeds.table["golden"],
        index=VectorIndex(vectors),
        policy=policy,
        rewards=[reward],
        is_worse=Reference(config.score.same_answer).is_worse,
        samples_verifier=Reference(config.verify.reference_overlap),
        written_verifier=Reference(config.score.same_answer),
        writer=RuleWriter({task.prompt: task for task in world.tasks}),
    )


def _folder(world: World, config: Config, folder: Path) -> RunFolder:
    identity = {"score": config.score.model_dump(mode="json"), "seeds": world.seeds.fingerprint}
    return RunFolder(folder, identity)


def _score(world: World, config: Config, parts: Parts, scorer: Scorer, folder: Path) -> SeedScores:
    with _folder(world, config, folder) as run:
        estimators = {
            name: lambda _, name=name: make_estimator(name, config, parts)
            for name in config.score.estimators
        }
        return score_seeds(
            run,
            world.seeds,
            estimators,
            Local(SimpleNamespace(scorer=scorer)),
            config.score,
            quiet=True,
        )
