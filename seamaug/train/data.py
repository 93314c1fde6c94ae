"""What a reward model is trained on, as token ids: pairs, and the policy's own responses."""

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from seamaug.config import SeedsConfig, TrainConfig
from seamaug.errors import ConfigError, InputError, ModelError
from seamaug.log import logger
from seamaug.models.engines import PolicyEngine
from seamaug.models.load import load_policy
from seamaug.models.tokens import ConversationTokens
from seamaug.records import Message, text_key
from seamaug.run.folder import RunFolder
from seamaug.run.progress import progress
from seamaug.seeds.pairs import Pair, read_pairs
from seamaug.train.policy_samples import PolicySamples

_PART = 1000
_IDS = pa.list_(pa.int32())
_PAIRS = pa.schema(
    [
        ("pair", pa.int64()),
        ("chosen_ids", _IDS),
        ("rejected_ids", _IDS),
        ("margin", pa.float64()),
        ("smoothing", pa.float64()),
    ]
)
_SAMPLES = pa.schema([("ids", pa.list_(_IDS))])
_DRAWN = 32  # prompts per part of the policy's samples


def fingerprint_of(config: TrainConfig, rows: Sequence[dict[str, Any]] | None) -> list[str]:
    """Content hash of the pairs, and of those of each evaluation file.

    Reads them all, so what is wrong with a row shows before any work.
    """
    sources = [
        read_pairs(config.pairs, rows),
        *(read_pairs(_from(config, path)) for path in config.evaluation),
    ]
    return [fingerprint_of_pairs(pairs) for pairs in sources]


def fingerprint_of_pairs(pairs: Iterator[Pair]) -> str:
    """Content hash of pairs and their labels."""
    digest = hashlib.blake2b(digest_size=16)
    for pair in pairs:
        told = [pair.prompt, pair.chosen, pair.rejected, pair.margin, pair.smoothing]
        digest.update(text_key(told).encode())
    return digest.hexdigest()


def _from(config: TrainConfig, path: str) -> SeedsConfig:
    return config.pairs.model_copy(update={"paths": (path,), "bad_rows": None})


def tokenised(
    run: RunFolder,
    stage: str,
    pairs: Iterator[Pair],
    tokens: ConversationTokens,
    smoothing: float,
) -> tuple[pa.Table, dict[str, int]]:
    """Token ids of all pairs that fit, and how many there are.

    `smoothing`: of pairs that have none of their own.
    """
    parts: list[pa.Table] = []
    count = 0
    while chunk := list(islice(pairs, _PART)):
        make = partial(_token_table, chunk, count, tokens, smoothing)
        count += len(chunk)
        parts.append(run.part(stage, len(parts), make))
    table = pa.concat_tables(parts)
    if not table.num_rows:
        raise InputError(
            f"all {count:,} pairs are longer than {tokens.max_length} tokens; raise "
            "`start.max_length`"
        )
    if left := count - table.num_rows:
        logger.warning(
            f"{left:,} of {count:,} pairs are longer than {tokens.max_length} tokens "
            "(`start.max_length`) and left out"
        )
    return table, {"pairs": count, "too long": left, "trained": table.num_rows}


def _token_table(
    chunk: list[Pair], first: int, tokens: ConversationTokens, smoothing: float
) -> pa.Table:
    kept = []
    for number, pair in enumerate(chunk, first):
        chosen, rejected = _ids(tokens, pair)
        if max(len(chosen), len(rejected)) <= tokens.max_length:
            own = smoothing if pair.smoothing is None else pair.smoothing
            row = (number, chosen, rejected, pair.margin, own)
            kept.append(dict(zip(_PAIRS.names, row, strict=True)))
    return pa.Table.from_pylist(kept, _PAIRS)


def _ids(tokens: ConversationTokens, pair: Pair) -> list[list[int]]:
    try:
        return tokens.conversation_ids(pair.prompt, [pair.chosen, pair.rejected])
    except ModelError as error:
        raise InputError(f"{pair.where}: {error}") from None


def evaluation(
    run: RunFolder, config: TrainConfig, tokens: ConversationTokens
) -> dict[str, pa.Table]:
    """Tokenised pairs of each file to be judged on; labels alone count there."""
    found = {}
    for number, path in enumerate(config.evaluation):
        pairs = read_pairs(_from(config, path))
        table, _ = tokenised(run, f"evaluation-{number}", pairs, tokens, 0.0)
        found[path] = table.select(["chosen_ids", "rejected_ids"])
    return found


def policy_samples(
    run: RunFolder,
    config: TrainConfig,
    tokens: ConversationTokens,
    rows: Sequence[dict[str, Any]] | None,
    quiet: bool,
) -> PolicySamples:
    """k responses of the policy to the first prompts of the pairs, drawn once."""
    prompts = {text_key(pair.prompt): pair.prompt for pair in read_pairs(config.pairs, rows)}
    asked = list(prompts.values())[: config.meta.prompts]
    policy = cache(lambda: load_policy(config.policy))
    found: list[list[list[int]]] = []
    with progress("policy samples", len(asked), "prompts", quiet=quiet) as bar:
        for number in range(math.ceil(len(asked) / _DRAWN)):
            wanted = asked[number * _DRAWN : (number + 1) * _DRAWN]
            draw = partial(_draw, policy, config, tokens, wanted, number)
            resumed = run.has_part("samples", number)
            found += run.part("samples", number, draw)["ids"].to_pylist()
            bar.advance(len(wanted), resumed=resumed)
    usable = [several for several in found if max(map(len, several)) <= tokens.max_length]
    if not usable:
        raise ConfigError(
            f"no prompt leaves the policy room for {config.meta.max_new_tokens} tokens; lower "
            "`meta.max_new_tokens`"
        )
    return PolicySamples(usable, pad(tokens), config.seed)


def _draw(
    policy: Callable[[], PolicyEngine],
    config: TrainConfig,
    tokens: ConversationTokens,
    prompts: list[list[Message]],
    number: int,
) -> pa.Table:
    """Conversations of the prompts that leave room for a response."""
    drawn = policy().sample(
        prompts,
        n=config.meta.samples,
        seed=int(text_key([config.seed, number])[:8], 16),
        max_new_tokens=config.meta.max_new_tokens,
    )
    sets = [tokens.conversation_ids(p, texts) for p, texts in zip(prompts, drawn, strict=True)]
    return pa.table({"ids": [rows for rows in sets if rows]}, schema=_SAMPLES)


def pad(tokens: ConversationTokens) -> int:
    """TRL's rule: the tokenizer's padding, or else its end token."""
    own = tokens.tokenizer.pad_token_id
    return int(tokens.tokenizer.eos_token_id if own is None else own)


def columns(table: pa.Table) -> pa.Table:
    """Without margin and smoothing where no row has any: TRL looks at the first row alone."""
    table = table.drop_columns(["pair"])
    margins = table["margin"]
    if margins.null_count == len(margins):
        table = table.drop_columns(["margin"])
    elif margins.null_count:
        logger.warning(
            f"{margins.null_count:,} of {len(margins):,} pairs have no margin: theirs is 0"
        )
        table = table.set_column(2, "margin", margins.fill_null(0.0))
    if not np.any(table["smoothing"].to_numpy()):
        table = table.drop_columns(["smoothing"])
    return table
