"""Margins of pairs under several reward models: given ones, or an ensemble trained here."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from datasets import Dataset
from transformers import PrinterCallback

from seamaug.config import EnsembleConfig, RewardConfig
from seamaug.log import logger
from seamaug.models.batching import packed, right_padded
from seamaug.models.ensemble import Comparison, Ensemble
from seamaug.models.load import load_voter
from seamaug.models.tokens import VOTES, ConversationTokens
from seamaug.run.folder import RunFolder, whole_folder
from seamaug.run.progress import progress
from seamaug.seeds.pairs import Pair
from seamaug.train.data import pad, tokenised
from seamaug.train.setup import ROLE, last_checkpoint, load_start, start_model, trainer_arguments
from seamaug.train.trainer import PairCollator, score_layer
from seamaug.voting.ensemble import PAIR, EnsembleTrainer, bagging, with_heads

ENSEMBLE = "ensemble"
"""Folder, among the results, of the ensemble that was trained."""
_PART = 256
_BATCH_TOKENS = 8192
_NAMED = 10  # missing votes that are told of by row
_SCHEMA = pa.schema([("margins", pa.list_(pa.float64()))])


def given_votes(
    run: RunFolder, config: RewardConfig, pairs: Iterator[Pair], count: int, *, quiet: bool
) -> np.ndarray:
    """Margins (pairs, M) under the given models, raw; NaN where one cannot read the pair."""
    members = config.members()
    load = cache(lambda: Ensemble([load_voter(member) for member in members]))
    found, problems = [], []
    with progress("votes", count, "pairs", quiet=quiet) as bar:
        number = 0
        while chunk := list(islice(pairs, _PART)):
            resumed = run.has_part("votes", number)
            table = run.part("votes", number, partial(_margins, load, chunk))
            found.append(np.array(table["margins"].to_pylist()))
            problems += [
                f"{pair.where}: reward model {member.name} does not vote: {problem}"
                for pair, own in zip(chunk, table["problems"].to_pylist(), strict=True)
                for member, problem in zip(members, own, strict=True)
                if problem
            ]
            bar.advance(len(chunk), resumed=resumed)
            number += 1
    for problem in problems[:_NAMED]:
        logger.warning(problem)
    if len(problems) > _NAMED:
        logger.warning(f"{len(problems) - _NAMED:,} more votes are missing")
    return np.concatenate(found)


def _margins(load: Callable[[], Ensemble], chunk: list[Pair]) -> pa.Table:
    cases = [Comparison(pair.prompt, pair.chosen, [pair.rejected]) for pair in chunk]
    margins, problems = load().margins_and_problems(cases)
    return pa.table({"margins": [own[0] for own in margins], "problems": problems})


def trained_votes(
    run: RunFolder,
    config: EnsembleConfig,
    pairs: Iterator[Pair],
    count: int,
    *,
    seed: int,
    quiet: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Margins (pairs, M) under an ensemble that is trained on them; NaN for a pair too long for it.

    And which pairs no head was trained on, (pairs,) of bool.

    The ensemble stays in the folder, as a judge for `expand` and for other pairs.

    All heads vote on all pairs: in a trial those that had not seen a pair found wrong labels less
    surely (ROC-AUC 0.59 against 0.61 with 20 % of the labels flipped), being fewer.
    """
    start = start_model(config.start)
    tokens = ConversationTokens(start, ROLE)
    table, _ = tokenised(run, "pairs", pairs, tokens, 0.0)
    weights = bagging(count, config.heads, seed)
    numbers = np.asarray(table[PAIR])

    def vote() -> pa.Table:
        model = load_start(start, seed)
        folder = run.stages / "train"
        trainer = EnsembleTrainer(
            with_heads(model, score_layer(model), config.heads),
            trainer_arguments(
                folder,
                {"num_train_epochs": 1, **config.trainer},
                "ensemble.trainer",
                seed=seed,
                quiet=quiet,
            ),
            data_collator=_Collator(pad_token_id=pad(tokens)),
            train_dataset=Dataset(table.select([PAIR, "chosen_ids", "rejected_ids"])),
            processing_class=tokens.tokenizer,
            weights=weights,
        )
        trainer.remove_callback(PrinterCallback)  # prints the losses where no bar is wanted
        trainer.train(resume_from_checkpoint=last_checkpoint(folder))
        _save(trainer, run.path / ENSEMBLE, config.heads)
        with progress("votes", len(numbers), "pairs", quiet=quiet) as bar:
            margins = np.full((count, config.heads), math.nan)
            chosen, rejected = (
                _scores(trainer.model, table[name].to_pylist(), pad(tokens))
                for name in ("chosen_ids", "rejected_ids")
            )
            margins[numbers] = chosen - rejected
            bar.advance(len(numbers))
        return pa.table({"margins": list(margins)}, schema=_SCHEMA)

    margins = np.array(run.part("votes", 0, vote)["margins"].to_pylist())
    return margins, (weights == 0).all(axis=1)


def _save(trainer: EnsembleTrainer, folder: Path, heads: int) -> None:
    """The backbone with its last layers, and its tokenizer."""
    config = trainer.model.config
    config.num_labels = heads
    setattr(config, VOTES, heads)
    with whole_folder(folder) as temporary:
        trainer.model.save_pretrained(temporary)
        trainer.processing_class.save_pretrained(temporary)


class _Collator(PairCollator):
    """TRL's collator, which also carries the pairs' numbers."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = super().torch_call(examples)
        batch[PAIR] = torch.tensor([row[PAIR] for row in examples])
        return batch


@torch.inference_mode()
def _scores(model: Any, rows: Sequence[list[int]], pad_id: int) -> np.ndarray:
    """Scores of all heads: (rows, M), float64."""
    model.eval()
    found: dict[int, np.ndarray] = {}
    for batch in packed([len(row) for row in rows], _BATCH_TOKENS):
        ids, mask = right_padded([rows[i] for i in batch], pad_id)
        logits = model(
            input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False
        ).logits
        found |= dict(zip(batch, logits.double().cpu().numpy(), strict=True))
    return np.array([found[i] for i in range(len(rows))])
