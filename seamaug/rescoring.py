"""Both models over the candidates of a part: what the keeper decides on.

Like parents.py this is where verbs meet, so it stands beside the pipeline.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from seamaug.config import Config
from seamaug.keep.rules import Case
from seamaug.own_worse import OwnWorse
from seamaug.policy_side import PolicySide
from seamaug.records import Candidate, Parent, SetScores, text_key
from seamaug.scoring.scorer import ResponseSet, Scorer
from seamaug.scoring.seam import RewardScale, discrepancy, mean_logprobs, worst_responses
from seamaug.verify.screen import CONTAMINATED, Screen
from seamaug.verify.strength import PairStrength
from seamaug.verify.text import normalised

_FEW = 10  # examples with one rejected response that are always allowed


class Rescoring:
    """Scores candidates on their hack sets, and gives each its rejected response.

    The hack set is the parent's, or where an operator changed the answer one of its own.
    """

    def __init__(
        self,
        config: Config,
        scorer: Scorer,
        screen: Screen,
        scale: RewardScale,
        own_worse: OwnWorse,
        *,
        features: bool,
        policy_side: PolicySide | None = None,
        strength: PairStrength | None = None,
    ) -> None:
        """`scale`: of the reward models' scores over all seeds, the unit of SEAM.

        `features`: whether the keeper looks at what the scores are made of; `policy_side`: what
        foresees the policy's side, where it counts; `strength`: of the pairs, where judges vote.
        """
        self._config = config
        self._scorer = scorer
        self._screen = screen
        self._scale = scale
        self._own_worse = own_worse
        self._features = features
        self._policy_side = policy_side
        self._strength = strength

    def cases(
        self, candidates: Sequence[Candidate], parents: Mapping[str, Parent], uses: Counter[str]
    ) -> list[Case]:
        """Those candidates that passed so far and can be scored; the others have failed.

        `uses`: kept examples by `rejected_key`.
        """
        self._own_worse.give(candidates)
        passed = [candidate for candidate in candidates if not candidate.verdict]
        results = self._scorer.score(
            [ResponseSet(c.prompt, c.chosen, _worse(c, parents[c.parent])) for c in passed],
            features=self._features,
        )
        # With a budget in tokens or money it is a share of what is kept so far.
        examples = self._config.examples(uses.total())
        most = max(_FEW, math.ceil(self._config.keep.same_rejected * examples))
        uses, found = uses.copy(), []
        for candidate, scores in zip(passed, results, strict=True):
            parent = parents[candidate.parent]
            if scores.error or len(scores.kept) < len(_worse(candidate, parent)):
                candidate.fail("rescore", scores.error or "a response is too long for a model")
                continue
            candidate.seam_before = parent.seam_beside(candidate.chosen)
            candidate.seam_after = discrepancy(scores, self._scale).under(
                self._config.score.weighting
            )
            found.append(self._with_rejected(candidate, parent, scores, uses, most))
        if self._strength is not None:
            against = self._strength.problems([case.candidate for case in found])
            found = [
                replace(case, problem=case.problem or problem)
                for case, problem in zip(found, against, strict=True)
            ]
        if self._policy_side is None:
            return found
        falls = self._policy_side.falls([case.candidate for case in found])
        return [replace(case, policy_side=fall) for case, fall in zip(found, falls, strict=True)]

    def _with_rejected(
        self,
        candidate: Candidate,
        parent: Parent,
        scores: SetScores,
        uses: Counter[str],
        most: int,
    ) -> Case:
        """Give the candidate its rejected response: the worst one of fewer than `most` uses.

        The worst by likelihood-weighted misjudgement. Those of a part are counted as if all were
        kept: which of them will be is not known yet.
        """
        ranked = [int(i) for i in worst_responses(scores, self._scale)]
        worse = _worse(candidate, parent)
        clean = [i for i in ranked if not self._screen.is_contaminated(worse[i])]
        free = [i for i in clean if uses[rejected_key(worse[i])] < most]
        i = (free or clean or ranked)[0]
        _describe(candidate, parent, i)
        rewards = self._scale.standardised(scores.rewards)
        candidate.margin_after = float(rewards[0] - rewards[i + 1])
        mean = mean_logprobs(scores)
        candidate.logprob_chosen, candidate.logprob_rejected = float(mean[0]), float(mean[i + 1])
        problem = "" if free else "rejected responses used up" if clean else CONTAMINATED
        if normalised(candidate.chosen) == normalised(candidate.rejected):
            problem = "chosen equals rejected"
        if not problem:
            uses[rejected_key(candidate.rejected)] += 1
        return Case(candidate, parent, scores, i, problem)


def rejected_key(text: str) -> str:
    """Content hash under which uses of a rejected response are counted."""
    return text_key(normalised(text))


def _worse(candidate: Candidate, parent: Parent) -> list[str]:
    """The hack set of a candidate."""
    return candidate.worse or parent.worse


def _describe(candidate: Candidate, parent: Parent, i: int) -> None:
    """The rejected response, where it comes from and what vouches for its being worse."""
    candidate.rejected = _worse(candidate, parent)[i]
    candidate.rejected_source = "policy" if candidate.worse else parent.worse_sources[i]
    candidate.rejected_template = "" if candidate.worse else parent.template_of(candidate.rejected)
    if candidate.evidence:
        told = candidate.evidence[i]
        candidate.verifier, candidate.verifier_score = told.verifier, told.score
    else:
        candidate.verifier = parent.verifiers[i]
        candidate.verifier_score = parent.verifier_scores[i]
