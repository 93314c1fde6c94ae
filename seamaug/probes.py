"""The outlook of a run: features of its reward models on probes, around parents and on policy.

This is where verbs meet (retrieve, score, keep), so it stands beside the pipeline. Features are
stored once, in parts; the keeper then looks ahead without a forward pass.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from seamaug.clock import clock
from seamaug.config import Config
from seamaug.keep.head import VirtualHead
from seamaug.keep.outlook import Outlook, Probes
from seamaug.log import logger
from seamaug.models.engines import FeatureEngine, PolicyEngine, RewardEngine
from seamaug.records import Message, Parent, text_key
from seamaug.retrieve.index import VectorIndex
from seamaug.run.folder import RunFolder
from seamaug.run.progress import progress
from seamaug.scoring.scorer import Scorer
from seamaug.scoring.seeds import SeedScores
from seamaug.seeds import Seeds

PROBES, NEAR, ON_POLICY = "probes", "near", "on-policy"
_BATCH = 64  # prompts in a part

_SCHEMA = pa.schema(
    [
        ("owner", pa.string()),
        ("position", pa.int64()),
        ("features", pa.binary()),
        ("weights", pa.list_(pa.float64())),
    ]
)
"""`owner`: the parent near which the seed at `position` lies, or empty. `features`: float32, of the
golden and the worse responses (of the policy's samples, without a position), each of all reward
models. `weights`: of the worse ones."""

Row = dict[str, Any]
Make = Callable[[], list[Row]]
Near = TypeVar("Near")
Case = tuple[list[Message], Sequence[str]]
"""A prompt and responses to it."""
Watched = tuple[np.ndarray, np.ndarray]
"""Features of a prompt's golden and worse responses (1 + N, width), and weights (N,) of the latter
in its SEAM."""


@dataclass(frozen=True)
class OutlookMaker:
    """Makes the outlook of a run, part by resumable part."""

    config: Config
    seeds: Seeds
    scores: SeedScores
    index: VectorIndex
    policy: PolicyEngine
    scorer: Scorer

    @cached_property
    def _weights(self) -> list[np.ndarray]:
        return shown_weights(self.scorer.rewards)

    @property
    def _models(self) -> list[FeatureEngine]:
        return [model for model in self.scorer.rewards if isinstance(model, FeatureEngine)]

    def make(self, run: RunFolder, parents: Sequence[Parent], *, quiet: bool) -> Outlook | None:
        """None where a reward model does not show what its scores are made of, or nothing is."""
        if not self._weights or not parents:
            return None
        positions = self.probe_positions(parents)
        groups = batches(parents, self.config.generate.batch_parents)
        with progress("look ahead", len(groups), "parts", quiet=quiet) as bar:
            rows = [
                row
                for number, batch in enumerate(batches(positions, _BATCH))
                for row in self._part(run, PROBES, number, partial(self._rows, batch))
            ]
            samples = self._part(run, ON_POLICY, 0, partial(self._samples, positions))
            own: dict[str, np.ndarray] = {}
            seen: dict[int, int] = {}  # position of a seed near to some parent: its last part
            stored = lru_cache(maxsize=4)(partial(self._by_position, run))
            for number, group in enumerate(groups):
                resumed = run.has_part(NEAR, number)
                make = partial(self._near_rows, group, seen, stored)
                near = self._part(run, NEAR, number, make)
                seen |= {row["position"]: number for row in near}
                own |= self._own_pairs(group, near)
                bar.advance(1, resumed=resumed)
        probes = [self._watched(row) for row in rows]
        return Outlook(
            self._heads(probes),
            self._spreads(probes),
            _as_probes(probes),
            near_reader(
                parents,
                self.config.generate.batch_parents,
                lambda number: self._near_probes(run.stored(NEAR, number).to_pylist()),
            ),
            self._stacked(samples),
            self.config.keep.local,
            own,
        )

    def _own_pairs(self, group: Sequence[Parent], near: Sequence[Row]) -> dict[str, np.ndarray]:
        """By parent's id, features of its golden response less those of its worst one."""
        positions = {parent.id: parent.position for parent in group}
        features = {
            row["owner"]: self._features(row)
            for row in near
            if row["position"] == positions[row["owner"]]
        }
        return {owner: rows[0] - rows[1] for owner, rows in features.items() if len(rows) > 1}

    def _stacked(self, samples: Sequence[Row]) -> np.ndarray:
        """(prompts, samples, width); no prompts where the policy has no room for a response."""
        width = sum(len(own) for own in self._weights)
        flat = np.array([self._features(row) for row in samples], np.float32)
        return flat.reshape(-1, self.config.keep.variance_samples, width)

    def probe_positions(self, parents: Sequence[Parent]) -> list[int]:
        """Scored seeds at random, none of them a parent where there are enough others."""
        seam = self.scores.seam(self.config.score.weighting)
        scored = np.flatnonzero(~np.isnan(seam))
        others = np.setdiff1d(scored, [parent.position for parent in parents])
        pool = others
        if len(others) < self.config.keep.probes:
            pool = scored
            logger.info(
                f"{len(others):,} seeds are left beside the selected ones, fewer than "
                f"`keep.probes: {self.config.keep.probes}`: the probes are not held out from these"
            )
        rng = np.random.default_rng(int(text_key([self.config.seed, PROBES])[:16], 16))
        taken = rng.permutation(pool)[: self.config.keep.probes]
        return [int(position) for position in np.sort(taken)]

    def _heads(self, probes: Sequence[Watched]) -> list[VirtualHead]:
        """Heads that were trained on as many pairs as is said, or else eight for every seed."""
        pairs = np.concatenate([features[:1] - features[1:] for features, _ in probes])
        rows = self.config.keep.trained_pairs or 8 * len(self.scores)
        return [
            VirtualHead(weights, own, rows, self.config.keep.ridge)
            for weights, own in zip(self._weights, self._by_model(pairs), strict=True)
        ]

    def _spreads(self, probes: Sequence[Watched]) -> list[np.ndarray]:
        features = np.concatenate([features for features, _ in probes])
        return [np.cov(own, rowvar=False, ddof=0) for own in self._by_model(features)]

    def _by_model(self, features: np.ndarray) -> list[np.ndarray]:
        """(rows, width) of all reward models together, in float64, apart."""
        ends = np.cumsum([len(own) for own in self._weights])
        return np.split(features.astype(np.float64), ends[:-1], axis=1)

    def _part(self, run: RunFolder, stage: str, number: int, make: Make) -> list[Row]:
        return stored_rows(run, stage, number, _SCHEMA, make)

    def _near_rows(
        self,
        group: Sequence[Parent],
        seen: Mapping[int, int],
        stored: Callable[[int], Mapping[int, Row]],
    ) -> list[Row]:
        """Seeds that an earlier part has are taken from there: many lie near several parents."""
        owned = self.near_positions(group)
        positions = list(dict.fromkeys(position for _, position in owned))
        new = self._rows([position for position in positions if position not in seen])
        rows = {row["position"]: row for row in new}
        for position in positions:
            if position in seen:
                rows[position] = stored(seen[position])[position]
        return [rows[position] | {"owner": owner} for owner, position in owned]

    @staticmethod
    def _by_position(run: RunFolder, number: int) -> dict[int, Row]:
        return {row["position"]: row for row in run.stored(NEAR, number).to_pylist()}

    def near_positions(self, group: Sequence[Parent]) -> list[tuple[str, int]]:
        """The parents of a group and the seeds nearest to each: by parent's id, scored ones."""
        count = self.config.keep.near
        positions = [parent.position for parent in group]
        _, found = self.index.search(self.index.vectors[positions], count + 1)
        return [
            (parent.id, int(position))
            for parent, near in zip(group, found, strict=True)
            for position in [parent.position, *near[near != parent.position][:count]]
            if int(position) not in self.scores.errors
        ]

    def _rows(self, positions: Sequence[int]) -> list[Row]:
        """Golden and worst responses of seeds, as their scores have them."""
        cases, weights = [], []
        for position in positions:
            row = self.scores.main.row(position)
            worst = row.worst(self.scores.scale)[: self.config.keep.hack_set_size]
            seed = self.seeds[position]
            cases.append((seed.prompt, [seed.golden, *(row.worse[i] for i in worst)]))
            weights.append(row.weights(self.config.score.weighting)[worst])
        found = self._features_of(cases)
        return [
            {"owner": "", "position": position, "features": features.tobytes(), "weights": own}
            for position, features, own in zip(positions, found, weights, strict=True)
        ]

    def _samples(self, positions: Sequence[int]) -> list[Row]:
        """Responses of the policy to the first of the probes."""
        own = self.config.keep
        prompts = [seed.prompt for seed in self.seeds.at(positions[: own.variance_prompts])]
        texts = self.policy.sample(
            prompts,
            n=own.variance_samples,
            seed=int(text_key([self.config.seed, ON_POLICY])[:8], 16),
            max_new_tokens=self.config.generate.policy_max_new_tokens,
        )
        found = self._features_of(
            [case for case in zip(prompts, texts, strict=True) if self._fits(case)]
        )
        return [{"owner": "", "features": rows.tobytes(), "weights": []} for rows in found]

    def _fits(self, case: Case) -> bool:
        """Whether there are samples, and no reward model finds one too long."""
        prompt, texts = case
        return bool(texts) and all(
            len(row) <= model.max_length
            for model in self._models
            for row in model.conversation_ids(prompt, texts)
        )

    def _features_of(self, cases: Sequence[Case]) -> list[np.ndarray]:
        """Of every response the features of all reward models, float32 (responses, width)."""
        by_model = []
        for model in self._models:
            ids = [model.conversation_ids(prompt, texts) for prompt, texts in cases]
            with clock.kind("reward"):
                by_model.append(model.rewards_and_features(ids)[1])
        return [np.concatenate(own, axis=1) for own in zip(*by_model, strict=True)]

    def _near_probes(self, rows: Sequence[Row]) -> dict[str, Probes]:
        owned: dict[str, list[Watched]] = {}
        for row in rows:
            owned.setdefault(row["owner"], []).append(self._watched(row))
        return {owner: _as_probes(own) for owner, own in owned.items()}

    def _watched(self, row: Row) -> Watched:
        return self._features(row), np.array(row["weights"])

    def _features(self, row: Row) -> np.ndarray:
        return np.frombuffer(row["features"], np.float32).reshape(
            -1, sum(len(own) for own in self._weights)
        )


def shown_weights(engines: Sequence[RewardEngine]) -> list[np.ndarray]:
    """Last-layer weights of the reward models; empty if one of them does not show its own."""
    found = [e.weights if isinstance(e, FeatureEngine) else None for e in engines]
    known = [weights for weights in found if weights is not None]
    return known if len(known) == len(found) else []


def _as_probes(watched: Sequence[Watched]) -> Probes:
    """Mean SEAM over some prompts."""
    return Probes(
        np.concatenate([features[1:] - features[:1] for features, _ in watched]).astype(np.float64),
        np.concatenate([weights for _, weights in watched]) / len(watched),
    )


def stored_rows(
    run: RunFolder, stage: str, number: int, schema: pa.Schema, make: Make
) -> list[Row]:
    """Rows of a finished part, or of the one that `make` computes."""
    table = run.part(stage, number, lambda: pa.Table.from_pylist(make(), schema=schema))
    rows: list[Row] = table.to_pylist()
    return rows


def near_reader(
    parents: Sequence[Parent], size: int, read: Callable[[int], Mapping[str, Near]]
) -> Callable[[str], Near]:
    """By a parent's id what is stored of the seeds near to it.

    Parts are of `size` parents in order; `read` gives one, by parent's id. A few are held at once.
    """
    part_of = {parent.id: number // size for number, parent in enumerate(parents)}
    part = lru_cache(maxsize=4)(read)
    return lambda parent: part(part_of[parent])[parent]


def batches(items: Sequence[Any], size: int) -> list[Any]:
    """Slices of at most `size` items."""
    return [items[start : start + size] for start in range(0, len(items), size)]
