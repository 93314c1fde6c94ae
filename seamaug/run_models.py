"""The models of a run."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from seamaug.clock import clock
from seamaug.config import Config
from seamaug.errors import ModelError
from seamaug.generate.llm.operators import load_operators
from seamaug.generate.llm.writer import LLMWriter
from seamaug.models.embedder import Embedder
from seamaug.models.engines import PolicyEngine
from seamaug.models.ensemble import Ensemble
from seamaug.models.generation import Generation, Limits
from seamaug.models.journal import Journal
from seamaug.models.load import Loaders
from seamaug.models.loading import load_model_config
from seamaug.resources import EMBEDDED
from seamaug.retrieve.index import require_engine
from seamaug.run.folder import RunFolder
from seamaug.scoring.scorer import Scorer
from seamaug.verify.golden import NewGoldenCheck
from seamaug.verify.strength import PairStrength
from seamaug.verify.worse import Cases, Findings, Verifier, make_verifier


class Models:
    """The models of a run, each loaded once, when it is first asked for.

    The LLM that writes is there only where a folder keeps its work.
    """

    def __init__(
        self,
        config: Config,
        run: RunFolder | None = None,
        limits: Limits | None = None,
        load: Loaders | None = None,
    ) -> None:
        """`limits`: of the LLM, by default those of the config alone. `load`: where the
        models are, by default in this process."""
        require_engine(config.retrieve)  # its absence must not show after the models are loaded
        self._config, self._load = config, load or Loaders()
        with _loading():
            self.writer = load_writer(config, run, limits, self._load) if run else None

    def load(self) -> None:
        """Load what every run of this process needs: what cannot be loaded must show at once."""
        check_judges(self._config)
        _ = self.embedder, self.scorer

    @cached_property
    def embedder(self) -> Embedder:
        """Of prompts and candidates."""
        with _loading():
            return Embedder(self._config.embedder)

    @cached_property
    def scorer(self) -> Scorer:
        """Policy and reward models."""
        with _loading():
            policy = self._load.policy(self._config.policy)
            return Scorer(policy, [self._load.reward(own) for own in self._config.reward.members()])

    @cached_property
    def judges(self) -> Ensemble:
        """Reward models that vote, loaded where they are first asked for."""
        with _loading():
            return load_judges(self._config, self._load)

    @property
    def pair_strength(self) -> PairStrength | None:
        """Of what may be kept; None without judges."""
        own = self._config.verify.worse
        return PairStrength(lambda: self.judges, own.spread) if own.judges else None

    @property
    def policy(self) -> PolicyEngine:
        """The scorer's."""
        return self.scorer.policy

    @property
    def accounts(self) -> dict[str, dict[str, Any]]:
        """What the LLM's work came to, by operator."""
        return self.writer.generation.accounts if self.writer else {}

    def close(self) -> None:
        """Let the journal go."""
        if self.writer:
            self.writer.generation.close()

    @cached_property
    def samples_verifier(self) -> Verifier:
        """Of what the policy says; the judges are loaded where a verifier is first asked for."""
        return self._verifier(self._config.verify.reference_overlap)

    @cached_property
    def written_verifier(self) -> Verifier:
        """Of what an LLM wrote to be worse, whether for a SEAM or for a parent."""
        return self._verifier(self._config.score.same_answer)

    def _verifier(self, max_overlap: float) -> Verifier:
        with _loading():
            prefers = self.writer.prefers if self.writer else None
            return make_verifier(
                self._config.verify.worse, max_overlap, lambda: self.judges, prefers
            )

    @property
    def new_golden_check(self) -> NewGoldenCheck | None:
        """Of golden responses that an operator changed; None where no LLM writes."""
        if self.writer is None:
            return None
        # What was written to be worse than the old golden response may be right by now: against
        # the new one it is a response like any other. Where the policy is asked what it says to
        # the changed prompt, it is not used.
        own = self._config.generate.samples_policy
        return NewGoldenCheck(self.writer.prefers, None if own else self.sample_findings)

    def sample_findings(self, cases: Cases) -> Findings:
        """What the verifier of samples finds; its judges load where they are first asked."""
        return self.samples_verifier.findings(cases)


@contextmanager
def _loading() -> Iterator[None]:
    with clock.stage("load models"), clock.kind("models"):
        yield


def check_judges(config: Config) -> None:
    """Raise ModelError where a reward model that is to vote is none: they are loaded late."""
    for name in config.verify.worse.judges:
        own = config.reward.like(name)
        if own.engine == "server":
            continue
        try:
            load_model_config(own, "reward")
        except ModelError as error:
            raise ModelError(
                f"judge {name!r}: {error}\nA judge is a reward model's folder or hub id; of "
                "`diagnose` also `checker`, `llm` or package.module:function"
            ) from None


def load_judges(config: Config, load: Loaders | None = None) -> Ensemble:
    """The reward models of the check `vote`, with the settings of those under test."""
    own, voter = config.reward, (load or Loaders()).voter
    return Ensemble([voter(own.like(name)) for name in config.verify.worse.judges])


def load_writer(
    config: Config,
    run: RunFolder,
    limits: Limits | None = None,
    load: Loaders | None = None,
) -> LLMWriter | None:
    """The LLM that writes variants; None for the embedded operators alone.

    Whether a server holds replies to a schema decides what it is asked and how stored replies are
    found again, so what the run's first process found holds for the next ones. A server that then
    refuses the schema is told of at their start.
    """
    if config.generator.name == EMBEDDED:
        return None
    own, known = config.generator, run.recall("structured")
    again = own if known is None else own.model_copy(update={"structured": known})
    engine = (load or Loaders()).generator(again)
    run.remember("structured", engine.structured)
    limits = limits or Limits(config.max_tokens, config.max_cost)
    generation = Generation(engine, own, Journal(run.replies), limits)
    return LLMWriter(generation, load_operators(config.generate.operators_from))
