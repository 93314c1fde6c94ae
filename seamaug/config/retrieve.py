"""Section `retrieve`: vectors of the seeds, the index over them, and which neighbours are taken."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from seamaug.config.base import Positive, Section


class RetrieveConfig(Section):
    """How near seeds are found, and which of them a parent gets."""

    dtype: Literal["float32", "float16"] = "float32"
    """Of the vectors on disk; float16 halves them, and cosines then err by up to 5e-4."""
    engine: Literal["auto", "faiss", "torch"] = "auto"
    """What searches exactly: `auto` is faiss where it sees a GPU, else torch, the faster one."""
    index: Literal["auto", "exact", "ivf"] = "auto"
    """`exact` compares with every seed; `ivf` looks into the nearest of many clusters. `auto` is
    `ivf` from `exact_below` seeds on, where faiss is installed and no GPU makes exact search fast.
    """
    exact_below: Positive = 200_000
    """Seeds below which `auto` searches exactly."""
    recall: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """Share of the true neighbours that `ivf` has to find, measured when it is built: it looks into
    as many clusters as that takes."""
    low: Annotated[float, Field(ge=-1, le=1)] = 0.0
    high: Annotated[float, Field(ge=-1, le=1)] = 0.98
    """Cosine band [low, high) of a parent's neighbours: nearer ones are copies of its prompt."""
    relevance: Annotated[float, Field(ge=0, le=1)] = 0.7
    """Maximal marginal relevance: 1 takes the nearest neighbours, 0 those least like each other."""
    pool: Positive = 64
    """Nearest seeds among which the neighbours are chosen; more are looked at, in the end all,
    where the band and `per_source` leave too few of these."""
    per_source: Positive | None = None
    """Neighbours of one source, at most; default is no limit. Rows without a source count as one
    source."""

    @model_validator(mode="after")
    def _consistent(self) -> "RetrieveConfig":
        if self.low >= self.high:
            raise ValueError(f"`low` must be below `high`, not {self.low:g} and {self.high:g}")
        return self
