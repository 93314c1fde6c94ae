"""The planted topics, habits and flaws, with a trained reward model that learnt the flaws.

The reward model is a small Llama, trained on preferences by an annotator with the plan's flaws (a
cue, length, or right and wrong exchanged) and noise; some topics have many of them and some few.
So what it misjudges follows from its data, and better data can repair it. Whether a response is
right is known: the task says so.
"""

import random
from collections.abc import Sequence
from pathlib import Path

from planted.models import NOISE, PlantedReward, Truth
from planted.plan import FLAWS, Plan, make_plan
from planted.policy import Size, load_tokenizer, train_policy
from planted.tasks import TOPICS, Task, make_tasks

from keeping.samples import record
from keeping.training import train_new_reward
from keeping.world import Pair, Scale, World
from seamaug.config import SeedsConfig
from seamaug.records import Seed, user_message
from seamaug.seeds.table import read_seeds

FULL = Scale(
    share=0.4,
    variants=10,
    samples=10,
    hack_set=5,
    new_tokens=56,
    reward_steps=200,
    keep=0.1,
    epochs=2,
    rate=3e-4,
    policy_rate=3e-4,
    batches=16,
)
PER_FORM = 10
"""Prompts of each topic in each wording."""
POLICY = Size(96, 2, epochs=50, batch=48)
_HELD_OUT = 0.25
_COVERAGE = (2, 6, 18)
"""Preferences that the reward model sees of a prompt, by topic."""
_LAYERS = 2


def make_world(
    seed: int, scale: Scale, work: Path, per_form: int = PER_FORM, size: Size = POLICY
) -> World:
    """Draw tasks and plan, train policy and reward model, split by prompt.

    The policy learns its habits on all prompts, as it would on those of a reinforcement run; the
    reward model sees the training prompts alone.
    """
    rng = random.Random(seed)
    tasks, plan = make_tasks(per_form, rng), make_plan(rng)
    rng.shuffle(tasks)
    policy = train_policy(tasks, plan, size, seed, work / "policy")
    cut = round(_HELD_OUT * len(tasks))
    known = {task.prompt: task for task in tasks}
    train = read_seeds(SeedsConfig(), _rows(tasks[cut:], plan, rng))
    held_out = list(read_seeds(SeedsConfig(), _rows(tasks[:cut], plan, rng)).at(range(cut)))
    pairs = _preferences(tasks[cut:], plan, seed, rng, NOISE if scale.wrong_labels else 0.0)
    seeds: list[Seed] = [*train.at(range(len(train))), *held_out]
    return World(
        name="planted",
        seed=seed,
        scale=scale,
        work=work,
        train=train,
        held_out=held_out,
        pairs=pairs,
        policy_folder=policy,
        reward_folder=train_new_reward(
            policy, pairs, _LAYERS, scale.reward_steps, seed, work / "reward"
        ),
        verifier=Truth(known),
        said=record(policy, seeds, scale.samples, scale.new_tokens, work / "samples.json"),
    )


def _rows(tasks: Sequence[Task], plan: Plan, rng: random.Random) -> list[dict[str, str]]:
    """A wrong answer, plain or dressed up, goes with every prompt."""
    return [
        {
            "prompt": task.prompt,
            "golden": task.golden,
            "worse": rng.choice(_wrong_answers(task, plan, rng)),
        }
        for task in tasks
    ]


def _wrong_answers(task: Task, plan: Plan, rng: random.Random) -> list[str]:
    """One of each kind; the exploit of an exchanged sign is the plain one."""
    return [plan.exploit(task, kind, rng) for kind in FLAWS]


def _preferences(
    tasks: Sequence[Task], plan: Plan, seed: int, rng: random.Random, noise: float
) -> list[Pair]:
    """What the flawed annotator prefers among right, wrong and dressed-up wrong answers."""
    known = {task.prompt: task for task in tasks}
    annotator = PlantedReward(load_tokenizer(), known, plan, seed, noise)
    coverage = {topic.name: rng.choice(_COVERAGE) for topic in TOPICS}
    pairs = []
    for task in tasks:
        for _ in range(coverage[task.topic]):
            answers = [task.golden, *_wrong_answers(task, plan, rng)]
            two = sorted(rng.sample(answers, 2), key=lambda text: annotator.score(task, text))
            if two[0] != two[1]:
                pairs.append(Pair(user_message(task.prompt), two[1], two[0]))
    return pairs
