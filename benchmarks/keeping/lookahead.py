"""The package's look-ahead rule over a pool."""

from collections.abc import Sequence

from keeping.world import Pool, Scored, World


def lookahead(pool: Pool, n: int, world: World) -> Sequence[int]:
    """Positions of the n rows that the rule keeps, in its order."""
    raise NotImplementedError


def lookahead_with_policy(pool: Pool, n: int, world: World) -> Sequence[int]:
    """The same with the policy's side."""
    raise NotImplementedError


def predict(rows: Sequence[Scored], pool: Pool, world: World) -> float:
    """Predicted fall of SEAM from training the reward model on these rows."""
    raise NotImplementedError
