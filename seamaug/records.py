"""The nouns of seamaug, and the Arrow schema of each.

A *message* is ``{"role": ..., "content": ...}``. A prompt is a list of messages that ends in a
user turn; a response is the text of the assistant turn that follows.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, TypedDict

import numpy as np
import pyarrow as pa

SCHEMA_VERSION = 8
"""Raised when stored columns or their meaning change: older run folders are then refused."""


class Message(TypedDict):
    """One turn of a conversation."""

    role: str
    content: str


class Misjudged(TypedDict):
    """Why a prompt has a discrepancy: the worse response that weighs most in its SEAM."""

    text: str
    margin: float
    """Its reward less the golden response's, in standard deviations of the scores."""
    rank: int
    """Its place by reward among the worse responses; 1 is the highest."""
    among: int
    """How many worse responses were scored."""
    logprob: float
    """Its mean log-probability per token under the policy, nats."""
    golden_logprob: float
    """The golden response's."""


MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

MISJUDGED = pa.struct(
    [
        ("text", pa.string()),
        ("margin", pa.float64()),
        ("rank", pa.int32()),
        ("among", pa.int32()),
        ("logprob", pa.float64()),
        ("golden_logprob", pa.float64()),
    ]
)


_canonical = json.JSONEncoder(ensure_ascii=False, sort_keys=True).encode


def text_key(value: Any) -> str:
    """Content hash of text or of JSON-like data: 16 hex digits, the same on every machine."""
    canonical = _canonical(value)
    return hashlib.blake2b(canonical.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def user_message(text: str) -> list[Message]:
    """A single-turn prompt."""
    return [{"role": "user", "content": text}]


def user_text(prompt: Sequence[Message]) -> str:
    """What is embedded of a prompt: all user turns, one per line."""
    return "\n".join(turn["content"] for turn in prompt if turn["role"] == "user")


@dataclass(frozen=True, slots=True)
class Seed:
    """An input row: a prompt, its golden response, and responses known to be worse (maybe none).

    `id` is the content hash of the prompt, so rows that share a prompt are one seed.
    """

    id: str
    prompt: list[Message]
    golden: str
    worse: list[str]
    source: str
    licence: str
    where: str
    """File and line, or dataset row, that the seed came from: used in messages."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("prompt", MESSAGES),
            ("golden", pa.string()),
            ("worse", pa.list_(pa.string())),
            ("source", pa.string()),
            ("licence", pa.string()),
            ("where", pa.string()),
        ]
    )

    @property
    def text(self) -> str:
        """The last user turn: what operators rewrite."""
        return self.prompt[-1]["content"]


class Evidence(NamedTuple):
    """What a verifier found about a response: whether it is worse than the golden one."""

    verifier: str
    """Such as `final number`, `vote`, or `given` where the seed says so."""
    score: float | None = None
    """In the verifier's unit (see `verify.worse.by`); None where the label is given, or holds by
    construction."""
    worse: bool = True


@dataclass(frozen=True, slots=True)
class Failure:
    """A check that could not be carried out on a response: nothing is known of it."""

    error: str


@dataclass(slots=True)
class SetScores:
    """Scores of a prompt's golden response (index 0) and hack set (1..N) under both models.

    `logprobs` are sums in nats over `tokens` tokens; `rewards` are one list per reward model, each
    in its model's units.
    `error` is set where the prompt could not be scored, and the lists are then empty.
    """

    logprobs: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    rewards: list[list[float]] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    """Positions, in the worse responses that were asked for, of those scored."""
    error: str = ""
    features: list[np.ndarray] = field(default_factory=list)
    """What each reward model's last layer makes the scores of, shape (1 + N, width), where it was
    asked for; not stored."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("logprobs", pa.list_(pa.float64())),
            ("tokens", pa.list_(pa.int32())),
            ("rewards", pa.list_(pa.list_(pa.float64()))),
            ("kept", pa.list_(pa.int32())),
            ("error", pa.string()),
        ]
    )


@dataclass(frozen=True, slots=True)
class Parent:
    """A selected seed with all that its variants are made from and compared with."""

    id: str
    position: int
    """Of the seed, among all seeds."""
    prompt: list[Message]
    golden: str
    goldens: list[str]
    """The golden response and its verified rewrites."""
    golden_scores: list[float | None]
    """ROUGE-L F1 of each rewrite with the seed's own golden response; None for that one itself."""
    neighbours: list[str]
    """Ids of near seeds in the order in which they were taken: near, then unlike those before."""
    neighbour_texts: list[str]
    neighbour_cosines: list[float]
    misjudged: Misjudged
    """The worse response that weighs most in the seed's SEAM, as the seed's scores have it."""
    worse: list[str]
    """The hack set that the parent and its candidates are scored against."""
    worse_sources: list[str]
    """`given`, `policy`, `llm` or the estimator that found it, for each worse response."""
    verifiers: list[str]
    """What vouches for each label, such as `given`, `other prompt`, `final number`."""
    verifier_scores: list[float | None]
    """With what score, in the verifier's unit; None where there is none."""
    seams: list[float]
    """SEAM of the parent on that hack set with each of `goldens`, under the run's weighting."""
    error: str
    """Why no hack set could be scored; such a parent gets no variants."""
    templates: list[list[str]] = field(default_factory=list)
    """Of the responses that an LLM wrote: the text, and its operator with the template's hash."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("position", pa.int64()),
            ("prompt", MESSAGES),
            ("golden", pa.string()),
            ("goldens", pa.list_(pa.string())),
            ("golden_scores", pa.list_(pa.float64())),
            ("neighbours", pa.list_(pa.string())),
            ("neighbour_texts", pa.list_(pa.string())),
            ("neighbour_cosines", pa.list_(pa.float64())),
            ("misjudged", MISJUDGED),
            ("worse", pa.list_(pa.string())),
            ("worse_sources", pa.list_(pa.string())),
            ("verifiers", pa.list_(pa.string())),
            ("verifier_scores", pa.list_(pa.float64())),
            ("seams", pa.list_(pa.float64())),
            ("error", pa.string()),
            ("templates", pa.list_(pa.list_(pa.string()))),
        ]
    )

    @property
    def text(self) -> str:
        """The last user turn: what operators rewrite."""
        return self.prompt[-1]["content"]

    @property
    def is_usable(self) -> bool:
        """Whether it has a discrepancy that a variant could reduce."""
        return not self.error and max(self.seams) > 0

    def seam_beside(self, golden: str) -> float:
        """SEAM with this golden response; with the seed's own for one that is not the parent's."""
        return self.seams[self.goldens.index(golden) if golden in self.goldens else 0]

    def template_of(self, response: str) -> str:
        """The LLM operator that wrote the response, and its template's hash; empty if none did."""
        return next((template for text, template in self.templates if text == response), "")

    def with_text(self, text: str) -> list[Message]:
        """The prompt with another last user turn."""
        return [*self.prompt[:-1], {"role": "user", "content": text}]


KEPT, REJECTED, FAILED = "kept", "rejected", "failed"
GOLDEN, GOLDEN_REWRITE, NEW_GOLDEN = "golden", "golden_rewrite", "new_golden"
"""Where a chosen response comes from."""


@dataclass(slots=True)
class Candidate:
    """A generated variant with its responses, what made it, its scores and its verdict."""

    id: str
    parent: str
    prompt: list[Message]
    chosen: str
    operator: str
    """Operators joined by `+` in the order applied."""
    kind: str
    """`rule` for embedded operators; else the LLM operator's, such as `paraphrase`."""
    template_hash: str
    """Content hash of the LLM template; empty for embedded operators."""
    neighbours: list[str]
    """Ids of the near seeds on offer to the operator."""
    tokens: int = 0
    """What an LLM read and wrote for it; of an embedded operator's text, one for four characters.
    0 only where nothing was read or written."""
    chosen_source: str = ""
    """`golden`; `golden_rewrite` where an LLM reworded it; `new_golden` where the operator changed
    the answer: an LLM wrote it, and preferred it to the golden one in both orders."""
    chosen_template: str = ""
    """Of a `golden_rewrite`: the LLM operator that wrote it, `@`, its template's hash."""
    chosen_verifier: str = ""
    """What vouches for it: `given`, `reference overlap` for a rewrite, `judge` for a new one; empty
    for a new one that was not verified."""
    chosen_verifier_score: float | None = None
    """ROUGE-L F1 with the golden response; 1.0 where the judge preferred it in both orders."""
    rejected: str = ""
    rejected_source: str = ""
    rejected_template: str = ""
    """Of a worse response by the generator's LLM (`llm`): the same."""
    verifier: str = ""
    verifier_score: float | None = None
    """In the verifier's unit: see `verify.worse.by` in the config."""
    worse: list[str] = field(default_factory=list)
    """What the policy says to a prompt whose answer changed; empty where the parent's worse
    responses stand. Not stored."""
    evidence: list["Evidence"] = field(default_factory=list)
    """That each of these, or else of the parent's, is worse than a new golden one; not stored."""
    seam_before: float | None = None
    """SEAM of the parent on the candidate's hack set, under the run's weighting."""
    seam_after: float | None = None
    margin_after: float | None = None
    """Reward of chosen minus reward of rejected, in standard deviations of the scores."""
    mu: float | None = None
    """Preference strength: mean over the votes of the judges (`verify.worse.judges`) of the reward
    of chosen less that of rejected, in their units. None without judges, or where none can read it.
    """
    sigma: float | None = None
    """Its standard deviation over the votes (1/M)."""
    predicted_reduction: float | None = None
    """Predicted fall of mean SEAM by training on it; None where it is not known."""
    worth: float | None = None
    """What the keep rule made of it when it got its verdict; None where it was not asked."""
    predicted_variance: float | None = None
    """Predicted reward variance after training on it as well, by which the variance guard judges;
    None where the guard is off or was not asked."""
    logprob_chosen: float | None = None
    """Mean log-probability per token, nats."""
    logprob_rejected: float | None = None
    verdict: str = ""
    reason: str = ""
    reply: str = ""
    """What an LLM wrote that could not be read, or in full why it wrote nothing."""

    SCHEMA: ClassVar[pa.Schema] = pa.schema(
        [
            ("id", pa.string()),
            ("parent", pa.string()),
            ("prompt", MESSAGES),
            ("chosen", pa.string()),
            ("operator", pa.string()),
            ("kind", pa.string()),
            ("template_hash", pa.string()),
            ("neighbours", pa.list_(pa.string())),
            ("tokens", pa.int64()),
            ("chosen_source", pa.string()),
            ("chosen_template", pa.string()),
            ("chosen_verifier", pa.string()),
            ("chosen_verifier_score", pa.float64()),
            ("rejected", pa.string()),
            ("rejected_source", pa.string()),
            ("rejected_template", pa.string()),
            ("verifier", pa.string()),
            ("verifier_score", pa.float64()),
            ("seam_before", pa.float64()),
            ("seam_after", pa.float64()),
            ("margin_after", pa.float64()),
            ("mu", pa.float64()),
            ("sigma", pa.float64()),
            ("predicted_reduction", pa.float64()),
            ("worth", pa.float64()),
            ("predicted_variance", pa.float64()),
            ("logprob_chosen", pa.float64()),
            ("logprob_rejected", pa.float64()),
            ("verdict", pa.string()),
            ("reason", pa.string()),
            ("reply", pa.string()),
        ]
    )

    @property
    def text(self) -> str:
        """The last user turn: what the operators wrote."""
        return self.prompt[-1]["content"]

    def reject(self, reason: str) -> None:
        """Record a rejection with its one reason."""
        self.verdict, self.reason = REJECTED, reason

    def fail(self, stage: str, error: str) -> None:
        """Record a failure; the numbers of this row, behind a colon, do not go into its reason."""
        self.verdict, self.reason = FAILED, f"{stage}: {error.split(':')[0]}"


def to_table(rows: Sequence[Any], schema: pa.Schema) -> pa.Table:
    """Arrow table of dataclass rows whose fields are the schema's columns."""
    columns = {name: [getattr(row, name) for row in rows] for name in schema.names}
    return pa.table(columns, schema=schema)
