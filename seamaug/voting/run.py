"""Preference strength of pairs: votes, bands, treatments, and what is written."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from seamaug.clock import clock
from seamaug.config import RewardConfig, StrengthConfig, WorseConfig
from seamaug.errors import ConfigError
from seamaug.identity import versions
from seamaug.models.ensemble import Ensemble, strength
from seamaug.models.load import load_voter
from seamaug.models.loading import fingerprint, load_model_config
from seamaug.models.tokens import votes_of
from seamaug.records import MESSAGES, Seed, text_key
from seamaug.run.folder import RunFolder, whole_file
from seamaug.run.mirror import opened_run
from seamaug.seeds.pairs import Pair, read_pairs
from seamaug.storage import Place
from seamaug.train.data import fingerprint_of_pairs
from seamaug.train.setup import ROLE, start_model
from seamaug.verify.worse import make_verifier
from seamaug.voting.agreement import agreement, incorrect_treatment
from seamaug.voting.bands import DROPPED, FLIPPED, INCORRECT, Label, bands, summary, treated
from seamaug.voting.votes import ENSEMBLE, given_votes, trained_votes

SUMMARY = "strength.json"
PAIRS = "pairs.parquet"
UNREAD = "unread"
"""Band of a pair that no model could read: its label stays."""
_PART = 1000
_OVERLAP = 0.5  # of a check that is not asked here
_SCHEMA = pa.schema(
    [
        ("chosen", MESSAGES),
        ("rejected", MESSAGES),
        ("smoothing", pa.float64()),
        ("mu", pa.float64()),
        ("sigma", pa.float64()),
        ("band", pa.string()),
        ("treatment", pa.string()),
        ("source", pa.string()),
        ("licence", pa.string()),
        ("where", pa.string()),
    ]
)
_MARGIN = ("margin", pa.float64())


def find_strength(
    config: StrengthConfig,
    out: Place,
    rows: Sequence[dict[str, Any]] | None = None,
    *,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write the treated pairs into `out`; returns what strength.json then holds.

    The same call resumes; a finished one is left as it is.
    """
    clock.reset()
    _check_several(config.reward)
    with opened_run(out, _identity(config, rows)) as run, run:
        if (done := run.path / SUMMARY).is_file():
            known: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
            return known
        pairs = list(read_pairs(config.pairs, rows))
        with clock.stage("votes"):
            margins, unseen = _votes(run, config, pairs, quiet)
        found = strength(margins)
        named = bands(found, config.certain, config.strong)
        named[found.votes == 0] = UNREAD
        worth, treat = agreement(found, unseen), config.treat
        if treat.incorrect == "auto":
            called = int((named == INCORRECT).sum())
            decided = incorrect_treatment(worth, treat.noise, called)
            treat = treat.model_copy(update={"incorrect": decided})
        labels = [treated(band, float(mu), treat) for band, mu in zip(named, found.mu, strict=True)]
        with clock.stage("judge"):
            right = _judged(config.judge, pairs) if config.judge else None
        treatments = [label.treatment for label in labels]
        result: dict[str, Any] = {
            "pairs": len(pairs),
            "models": margins.shape[1],
            "bands": summary(found, named, treatments, right),
            "treated": dict(Counter(treatments)),
            "unread": int((found.votes == 0).sum()),
            "agreement": worth.report(),
            "ensemble": None if config.reward else ENSEMBLE,
            "config": config.model_dump(mode="json"),
            "versions": versions(),
        }
        _write(run.path / PAIRS, config, _rows(pairs, labels, found.mu, found.sigma, named))
        result["times"] = clock.report()
        with whole_file(done) as temporary:
            temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        run.drop("train")
    return result


def _check_several(config: RewardConfig | None) -> None:
    """Raise ConfigError where there is one vote alone."""
    if config is None or config.others:
        return
    if votes_of(load_model_config(config, "reward")) == 1:
        raise ConfigError(
            "one reward model cannot disagree: give two or more, an ensemble that `strength` "
            "trained, or none"
        )


def _identity(config: StrengthConfig, rows: Sequence[dict[str, Any]] | None) -> dict[str, Any]:
    if config.reward is None:
        marks = [fingerprint(start_model(config.ensemble.start), ROLE)]
    else:
        marks = [fingerprint(member, "reward") for member in config.reward.members()]
    return {
        "command": "strength",
        "config": config.model_dump(mode="json", exclude={"pairs": True}),
        "pairs": fingerprint_of_pairs(read_pairs(config.pairs, rows)),
        "models": marks,
        "versions": versions(),
    }


def _votes(
    run: RunFolder, config: StrengthConfig, pairs: list[Pair], quiet: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Margins (pairs, M), NaN where a model cannot read the pair; which pairs no voter saw before.

    Models that are given are taken not to have been trained on these pairs.
    """
    if config.reward is not None:
        margins = given_votes(run, config.reward, iter(pairs), len(pairs), quiet=quiet)
        return margins, np.ones(len(pairs), bool)
    return trained_votes(
        run, config.ensemble, iter(pairs), len(pairs), seed=config.seed, quiet=quiet
    )


def _judged(judge: str, pairs: list[Pair]) -> list[bool | None]:
    """Whether the judge finds the chosen response better; None where it cannot tell."""
    by = (
        {"by": "function", "function": judge} if ":" in judge else {"by": "vote", "judges": [judge]}
    )
    check = make_verifier(
        WorseConfig.model_validate({**by, "spread": 0.0}),
        _OVERLAP,
        lambda: Ensemble([load_voter(RewardConfig(name=judge))]),
        prefers=None,
    )
    cases = [
        (Seed(text_key(p.prompt), p.prompt, p.chosen, [], "", "", p.where), [p.rejected])
        for p in pairs
    ]
    return [getattr(own[0], "worse", None) for own in check.findings(cases)]


def _rows(
    pairs: list[Pair],
    labels: list[Label],
    mu: np.ndarray,
    sigma: np.ndarray,
    named: np.ndarray,
) -> Iterator[dict[str, Any]]:
    """The pairs that are left, treated."""
    for pair, label, own, spread, band in zip(pairs, labels, mu, sigma, named, strict=True):
        if label.treatment == DROPPED:
            continue
        chosen, rejected = (
            [*pair.prompt, {"role": "assistant", "content": text}]
            for text in (pair.chosen, pair.rejected)
        )
        if label.treatment == FLIPPED:
            chosen, rejected = rejected, chosen
        yield {
            "chosen": chosen,
            "rejected": rejected,
            "margin": label.margin,
            "smoothing": label.smoothing,
            "mu": own,
            "sigma": spread,
            "band": band,
            "treatment": label.treatment,
            "source": pair.source,
            "licence": pair.licence,
            "where": pair.where,
        }


def _write(path: Path, config: StrengthConfig, rows: Iterator[dict[str, Any]]) -> None:
    schema = _SCHEMA.insert(2, pa.field(*_MARGIN)) if config.treat.margin else _SCHEMA
    with whole_file(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        while chunk := list(islice(rows, _PART)):
            writer.write_table(pa.Table.from_pylist(chunk, schema))
