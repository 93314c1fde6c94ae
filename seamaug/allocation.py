"""Where the next variants pay: discrepancy removed per generated token, learnt round by round.

An arm is an operator in a cluster of parents. Its rate, the fall of SEAM per token, is taken to be
normal around what its operator does elsewhere and what other operators do in its cluster. A
parent's rate lies around its cluster's, and around what its own SEAM per character lets expect: how
much that says is learnt too, as a slope over all parents. How far rates differ is estimated from
the outcomes themselves (empirical Bayes; DerSimonian and Laird 1986), so an arm that was hardly
tried is what its kin are, and one that was tried much is itself. Thompson sampling: each choice
takes the best of one draw from the posterior, so what might still be best is still tried.

What is kept lowers what more of the same can remove, so older rounds count for less (discounted
Thompson sampling, Raj and Kalyani 2017).
"""

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

_ROUNDING = 1e-9  # of degrees of freedom
_FADE = 0.85
"""What a round's outcomes still weigh when the next one is over."""


@dataclass(frozen=True, slots=True)
class Rates:
    """Posterior of rates: means and variances, arrays of one shape."""

    means: np.ndarray
    variances: np.ndarray


class Ledger:
    """Tokens spent and discrepancy removed, by operator x cluster and by parent.

    Tokens count in units of the mean candidate of their kind: an LLM's are dear and a rule's next
    to nothing, so beside a rule no operator of an LLM would ever be tried.
    """

    def __init__(
        self,
        rules: Sequence[str],
        llm: Sequence[str],
        clusters: Sequence[int],
        hints: Sequence[float],
    ) -> None:
        """`clusters`, `hints`: of each parent, by its place; a hint is its SEAM per character."""
        self.operators = {name: row for row, name in enumerate((*rules, *llm))}
        self.clusters = np.array(clusters, np.intp)
        self._hints = np.array(hints)
        self._by_llm = np.arange(len(self.operators)) >= len(rules)
        arms = (len(self.operators), int(self.clusters.max(initial=0)) + 1)
        self._counts, self._tokens = np.zeros(arms), np.zeros(arms)
        self._falls, self._squares = np.zeros(arms), np.zeros(arms)
        self._weighted_twice = np.zeros(arms)
        """Tokens by the square of what they weigh, by which a mean of few outcomes is uncertain."""
        self._parents = np.zeros((2, 2, len(clusters)))
        """Falls and tokens, by rules and by the LLM, of each parent."""

    def take(self, operators: Sequence[str], parent: int, tokens: int, fall: float) -> None:
        """Credit a candidate's operators, each with an equal share."""
        if tokens == 0:  # a request that failed took nothing
            return
        for name in operators:
            arm = self.operators[name], self.clusters[parent]
            self._counts[arm] += 1 / len(operators)
            self._tokens[arm] += tokens / len(operators)
            self._falls[arm] += fall / len(operators)
            self._squares[arm] += fall**2 / tokens / len(operators)
            self._weighted_twice[arm] += tokens / len(operators) ** 2
        kind = int(self._by_llm[self.operators[operators[0]]])
        self._parents[:, kind, parent] += fall, tokens

    def fade(self) -> None:
        """A round is over."""
        for sums in (self._counts, self._tokens, self._falls, self._squares, self._parents):
            sums *= _FADE
        self._weighted_twice *= _FADE**2

    def beliefs(self) -> "Beliefs | None":
        """What follows for the next round; None while nothing was removed at all."""
        if not self._falls.any():
            return None
        units = np.ones(2)
        for kind in (0, 1):
            if count := self._counts[self._by_llm == kind].sum():
                units[kind] = self._tokens[self._by_llm == kind].sum() / count
        unit = units[self._by_llm.astype(int)][:, None]
        tokens, falls = self._tokens / unit, self._falls
        noise = self._noise(tokens, self._squares * unit)
        grand = np.full(1, falls.sum() / tokens.sum())
        operators = _shrunk(falls.sum(1), tokens.sum(1), noise, grand)
        clusters = _shrunk(falls.sum(0), tokens.sum(0), noise, grand)
        arms = _shrunk(
            falls,
            tokens,
            noise,
            operators.means[:, None] + clusters.means - grand,
            operators.variances[:, None] + clusters.variances,
        )
        removed, spent = self._parents[0].sum(0), (self._parents[1] / units[:, None]).sum(0)
        expected = clusters.means[self.clusters]
        expected = expected + self._by_hint(removed - expected * spent, spent)
        doubt = clusters.variances[self.clusters]
        parents = _shrunk(removed, spent, noise, expected, doubt)
        return Beliefs(self.operators, arms, parents, self.clusters)

    def _by_hint(self, removed: np.ndarray, spent: np.ndarray) -> np.ndarray:
        """What the hints say of parents' rates beyond their clusters: least squares by tokens."""
        hints = self._hints - (self._hints * spent).sum() / spent.sum()
        spread = (spent * hints**2).sum()
        slope = (removed * hints).sum() / spread if spread > 0 else 0.0
        return np.asarray(slope * hints)

    def _noise(self, tokens: np.ndarray, squares: np.ndarray) -> float:
        """Variance of a candidate's rate around its arm's, times its tokens: pooled over arms.

        tokens, squares: in units. Outcomes weigh w_i, so an arm's squares around its mean have
        the expectation ``noise (sum w_i - sum w_i^2 t_i / sum w_i t_i)`` for tokens t_i.
        """
        seen = tokens > 0
        around = squares[seen].sum() - (self._falls[seen] ** 2 / tokens[seen]).sum()
        freedom = self._counts.sum() - (self._weighted_twice[seen] / self._tokens[seen]).sum()
        if freedom <= _ROUNDING:  # one outcome an arm: around the mean of all
            around = squares[seen].sum() - self._falls.sum() ** 2 / tokens.sum()
            freedom = self._counts.sum() - self._weighted_twice.sum() / self._tokens.sum()
        found = around / freedom if freedom > _ROUNDING else squares.sum()
        return float(max(found, 1e-12 * squares.sum()))


def _shrunk(
    falls: np.ndarray,
    tokens: np.ndarray,
    noise: float,
    prior: np.ndarray,
    doubt: np.ndarray | float = 0.0,
) -> Rates:
    """Posterior of rates whose estimates, falls / tokens, have the variance noise / tokens.

    They are normal around `prior`, with a variance `doubt` that is known and one that they show.
    """
    seen = tokens > 0
    around = np.broadcast_to(prior, falls.shape)[seen]
    precisions = 1 / (noise / tokens[seen] + np.broadcast_to(doubt, falls.shape)[seen])
    q = (precisions * (falls[seen] / tokens[seen] - around) ** 2).sum()
    between = max(0.0, (q - seen.sum()) / precisions.sum())
    spread = np.maximum(between + doubt, 1e-9 * noise)  # above 0: equals are drawn in turn
    variances = 1 / (1 / spread + tokens / noise)
    return Rates(variances * (prior / spread + falls / noise), variances)


@dataclass(frozen=True)
class Beliefs:
    """What a round knows: rates of arms (operators, clusters) and of parents (parents,)."""

    operators: dict[str, int]
    arms: Rates
    parents: Rates
    clusters: np.ndarray

    def best_parents(self, slots: int, room: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """How many of the slots each parent gets, at most `room`: those of the highest draws."""
        places = np.repeat(np.arange(len(room)), room)
        draws = rng.normal(self.parents.means[places], np.sqrt(self.parents.variances[places]))
        best = places[np.argsort(-draws, kind="stable")[:slots]]
        return np.bincount(best, minlength=len(room))

    def order(self, parent: int, names: Collection[str], rng: random.Random) -> list[str]:
        """These operators by a draw each for the parent's cluster, the best one first."""
        cluster = self.clusters[parent]
        means, variances = self.arms.means[:, cluster], self.arms.variances[:, cluster]
        draws = {
            name: rng.gauss(means[row], variances[row] ** 0.5)
            for name in names
            for row in (self.operators[name],)
        }
        return sorted(draws, key=lambda name: -draws[name])


def evenly(slots: int, room: np.ndarray, tried: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How many of the slots each parent gets, at most `room`: those least tried come first."""
    given = np.zeros_like(room)
    order = np.lexsort((rng.permutation(len(room)), tried))
    while slots and (open_ := order[(given < room)[order]]).size:
        taken = open_[:slots]
        given[taken] += 1
        slots -= len(taken)
    return given
