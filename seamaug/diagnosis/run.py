"""A diagnosis from its arguments to its result."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Unpack

import numpy as np

from seamaug.arguments import prepare, refuse_to_lose_replies
from seamaug.clock import clock
from seamaug.config import Config, PolicyConfig, RewardConfig
from seamaug.diagnosis.advice import advise
from seamaug.diagnosis.arguments import DiagnoseArguments, score_arguments
from seamaug.diagnosis.cells import Pass, make_cells
from seamaug.diagnosis.observe import Passes, Row, once
from seamaug.diagnosis.result import Diagnosis, LeftOut, Prompt
from seamaug.errors import ConfigError, InputError
from seamaug.identity import diagnose_identity, models_of
from seamaug.log import logger
from seamaug.models.chat_templates import template_warning
from seamaug.pipeline import warn_of_stand_ins
from seamaug.records import Seed, text_key
from seamaug.report.diagnosis_page import write_page
from seamaug.report.html import refuse_another_page
from seamaug.run.folder import RunFolder
from seamaug.run.mirror import opened_run
from seamaug.run_models import check_judges, load_judges, load_writer
from seamaug.seeds import Seeds, SeedSource
from seamaug.storage import Place
from seamaug.verify.worse import Verifier, make_verifier


def diagnose(
    seeds: SeedSource = None,
    *,
    work: Place | None = None,
    out: Place | None = None,
    quiet: bool = True,
    **arguments: Unpack[DiagnoseArguments],
) -> Diagnosis:
    """Is a reward model a good teacher for a policy? Each figure with its 95 % interval.

    seeds: as for `expand`; worse responses, where there are any, are the pairs of the off-policy
        accuracy. Prompts alone give what needs no label, and with a reward model as the judge
        the on-policy accuracy.
    policy, reward: several of either make a grid; reward models are ranked for each policy.
    judge: what tells which of a policy's responses are better, see `DiagnoseArguments`.
    prompts, samples: 500 and 10, as in arXiv 2503.15477.
    work: a folder to resume from; it must be given where a server's generator is the judge.
    out: an HTML file for all of it as a page to look at, which asks nothing of a network.

    Raises a SeamaugError subclass whose message says what is wrong and how to fix it.
    """
    if out is not None and not str(out).endswith(".html"):
        raise ConfigError(f"out {out} must end in .html: it is a page to look at")
    config, table = prepare(seeds, score_arguments(arguments), prompts_alone=True)
    names = [model.name for model in config.reward.members()]
    if len(set(names)) < len(names):
        raise ConfigError("a reward model is named twice: each is ranked by itself, once")
    if out is not None:
        refuse_another_page(out)
    check_judges(config)
    warn_of_stand_ins(config, ("policy", "reward"))
    with ExitStack() as stack:
        if work is None:
            if "judge" in config.verify.worse.by:
                refuse_to_lose_replies(config, "work")
            work = stack.enter_context(tempfile.TemporaryDirectory(prefix="seamaug-"))
        identity = diagnose_identity(config, table, models_of(config))
        run = stack.enter_context(opened_run(work, identity))
        stack.enter_context(run)
        with clock.stage("diagnose"):
            found = _diagnose(run, config, table, quiet=quiet)
    if out is not None:
        write_page(found, out)
    return found


def _diagnose(run: RunFolder, config: Config, table: Seeds, *, quiet: bool) -> Diagnosis:
    own, seeds = config.diagnose, _drawn(config, table)
    policies = [config.policy, *map(config.policy.like, own.policies)]
    rewards = config.reward.members()
    warnings = [
        warning for policy in policies for reward in rewards
        if (warning := template_warning(policy, reward))
    ]  # fmt: skip
    for warning in warnings:
        logger.warning(warning)
    observed, given = _observed(Passes(run, config, seeds, quiet), policies, rewards)
    left_out = [*_left_out(seeds, observed), *_given_left_out(seeds, given)]
    cells = make_cells(observed, given, own.floor, config.seed)
    return Diagnosis(
        policies=[policy.name for policy in policies],
        rewards=list(given),
        prompt_count=len(seeds),
        samples=own.samples,
        cells=cells,
        advice=advise(cells),
        judged={one.name: _judged(one.verdicts) for one in observed},
        floor=own.floor,
        prompts=[Prompt(seed.id, seed.where, seed.text) for seed in seeds],
        left_out=left_out,
        warnings=warnings,
    )


def _observed(
    passes: Passes, policies: Sequence[PolicyConfig], rewards: Sequence[RewardConfig]
) -> tuple[list[Pass], dict[str, list[Row]]]:
    """What was observed of each policy, and the rewards of the given responses by reward model."""
    samples = [passes.samples(number, policy) for number, policy in enumerate(policies)]
    with _verifier(passes.run, passes.config) as verifier:
        verdicts = [passes.verdicts(i, rows, verifier) for i, rows in enumerate(samples)]
    given, of_samples = {}, {}
    for number, model in enumerate(rewards):
        given[model.name], of_samples[model.name] = passes.rewards(number, model, samples)
    observed = [
        Pass(policy.name, samples[i], verdicts[i], {name: of[i] for name, of in of_samples.items()})
        for i, policy in enumerate(policies)
    ]
    return observed, given


def _drawn(config: Config, seeds: Seeds) -> list[Seed]:
    """The prompts that are looked at, at random, in the order of the seeds."""
    rng = np.random.default_rng(int(text_key([config.seed, "diagnose"])[:16], 16))
    taken = rng.permutation(len(seeds))[: config.diagnose.prompts]
    return list(seeds.at(np.sort(taken)))


@contextmanager
def _verifier(run: RunFolder, config: Config) -> Iterator[Callable[[], Verifier]]:
    """The judge, loaded where it is needed; an LLM's journal is closed at the end."""
    with ExitStack() as stack:

        def load() -> Verifier:
            writer = load_writer(config, run) if "judge" in config.verify.worse.by else None
            if writer:
                stack.callback(writer.generation.close)
            return make_verifier(
                config.verify.worse,
                config.verify.reference_overlap,
                partial(load_judges, config),
                writer.prefers if writer else None,
            )

        yield once(load)


def _left_out(seeds: Sequence[Seed], observed: Sequence[Pass]) -> list[LeftOut]:
    """Prompts without figures, said aloud; raises InputError where too few are left."""
    found = []
    for one in observed:
        own = [
            LeftOut(seed.where, f"policy {one.name}", error)
            for seed, error in zip(seeds, one.errors, strict=True)
            if error
        ]
        _say(own, len(seeds))
        if len(seeds) - len(own) < 2:
            raise InputError(
                f"policy {one.name}: {len(seeds) - len(own)} of {len(seeds):,} prompts can be "
                f"looked at, and an interval needs two; {own[0].where}: {own[0].reason}"
            )
        found += own
    return found


def _given_left_out(seeds: Sequence[Seed], given: Mapping[str, Sequence[Row]]) -> list[LeftOut]:
    left = [
        LeftOut(seed.where, "given responses", f"reward model {name}: {row['error']}")
        for name, rows in given.items()
        for seed, row in zip(seeds, rows, strict=True)
        if row["error"]
    ]
    _say(left, len(seeds) * len(given))
    return left


def _say(left_out: Sequence[LeftOut], total: int) -> None:
    for item in left_out[:5]:
        logger.warning(f"{item.where}: left out ({item.of}): {item.reason}")
    if left_out:
        logger.warning(f"{len(left_out):,} of {total:,} left out")


def _judged(verdicts: Sequence[Row]) -> dict[str, int]:
    """How many responses each verifier judged."""
    names = Counter(name or "unknown" for row in verdicts for name in row["verifiers"])
    if failures := [failure for row in verdicts for failure in row["failures"]]:
        logger.warning(
            f"{len(failures):,} responses could not be judged, the first because: {failures[0]}"
        )
    return dict(sorted(names.items()))
