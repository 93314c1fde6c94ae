"""One workload through all engines: their times, their answers, and where our time goes."""

import argparse
import time
from collections.abc import Callable
from typing import Any

import flops
import peers
import torch
from timing import Timing, available_bytes, interleaved
from transformers import AutoConfig
from workloads import PromptSet, token_sets

from seamaug.config import PolicyConfig, RewardConfig
from seamaug.models.tokens import PolicyTokens

BATCH_SIZES = (8, 16, 32, 64)
"""Tried for the harness, which then runs with the fastest."""


def best_batch_size(engine: Any, sets: list[PromptSet], vocabulary: int) -> dict[str, Any]:
    """Set the harness to its fastest batch size on half of the prompts; what each size took."""
    some = sets[: (len(sets) + 1) // 2]
    rows = sum(len(item.responses) for item in some)
    longest = max(len(p) + max(map(len, rs)) for p, rs in token_sets(engine.tokens, sets))
    room = available_bytes(str(engine.lm.device))
    seconds: dict[str, Any] = {}
    for size in BATCH_SIZES:
        if seconds and size >= 2 * rows:
            continue  # one batch holds them all already
        # Logits, their log-softmax, and room for the model's own needs. The smallest always runs.
        if seconds and room and 3 * 4 * size * longest * vocabulary > room:
            seconds[str(size)] = "left out: its logits would not fit in memory"
            continue
        engine.batch_size = size
        start = time.perf_counter()
        engine(some)
        seconds[str(size)] = round(time.perf_counter() - start, 4)
    timed = {size: value for size, value in seconds.items() if not isinstance(value, str)}
    engine.batch_size = int(min(timed, key=lambda size: timed[size]))
    return seconds


def measure(
    engines: dict[str, Any], sets: list[PromptSet], given: argparse.Namespace, vocabulary: int
) -> tuple[dict[str, Any], dict[str, Timing]]:
    """Times and differences of all engines over one workload."""
    tried = {}
    for name, engine in engines.items():
        engine([PromptSet(sets[0].prompt, sets[0].responses[:2])])  # warm-up
        if isinstance(engine, peers.Harness):
            engine.check_ids(sets)
            tried[name] = best_batch_size(engine, sets, vocabulary)
    timings = interleaved(engines, sets, repeats=given.repeats, patience=given.patience)
    expected = timings[next(iter(engines))].values
    found = {}
    for name, engine in engines.items():
        found[name] = {"dtype": engine.dtype, **timings[name].summary()}
        found[name] |= _differences(expected, timings[name].values)
        if name in tried:
            found[name]["batch_size"] = engine.batch_size
            found[name]["seconds_by_batch_size"] = tried[name]
            found[name]["public_path_scores_the_same_ids"] = engine.same_ids
    mean = sum(expected) / len(expected)
    return {
        "prompts": len(sets),
        "rows": len(expected),
        "reference": next(iter(engines)),
        "spread": round((sum((x - mean) ** 2 for x in expected) / len(expected)) ** 0.5, 4),
        "engines": found,
    }, timings


def _differences(expected: list[float], values: list[float]) -> dict[str, Any]:
    pairs = list(zip(expected, values, strict=True))
    return {
        "max_difference": max(abs(a - b) for a, b in pairs),
        # Sums over hundreds of tokens: float32 itself leaves 1e-7 of each, and of each step.
        "agrees": all(abs(a - b) <= 1e-3 + 1e-5 * abs(a) for a, b in pairs),
    }


def measure_policy(
    folder: str, sets: list[PromptSet], engines: dict[str, Any], given: argparse.Namespace
) -> dict[str, Any]:
    """The policy's part of a workload."""
    config = AutoConfig.from_pretrained(folder)
    part, timings = measure(engines, sets, given, config.vocab_size)
    part["hflm_default"] = str(config.dtype).removeprefix("torch.")
    tokens = PolicyTokens(PolicyConfig(name=folder))
    lengths = [(len(p), [len(r) for r in rs]) for p, rs in token_sets(tokens, sets)]
    part["prompt_tokens"] = [prompt for prompt, _ in lengths]
    part["response_tokens"] = sum(sum(own) for _, own in lengths)
    add_efficiency(part, engines, timings, sets, (config, lengths, True), given.device)
    return part


def measure_reward(
    folder: str, sets: list[PromptSet], engines: dict[str, Any], given: argparse.Namespace
) -> dict[str, Any]:
    """The reward model's part of a workload."""
    config = AutoConfig.from_pretrained(folder)
    part, timings = measure(engines, sets, given, config.vocab_size)
    part["peers_score_the_same_ids"] = peers.same_reward_ids(engines["seamaug float32"], sets)
    lengths = []
    for item in sets:
        rows = engines["seamaug float32"].reward.conversation_ids(item.prompt, item.responses)
        shared = flops.shared_prefix(rows)
        # Unlike a policy's, the last token is read: its state is what the score is made of.
        lengths.append((shared, [len(row) - shared + 1 for row in rows]))
    add_efficiency(part, engines, timings, sets, (config, lengths, False), "cpu")
    return part


def add_efficiency(
    part: dict[str, Any],
    engines: dict[str, Any],
    timings: dict[str, Timing],
    sets: list[PromptSet],
    work: tuple[Any, list[tuple[int, list[int]]], bool],
    device: str,
) -> None:
    """Share of the machine's own rate, and the operators that take the time, of our engines."""
    config, lengths, head = work
    part["efficiency"], part["operators"] = {}, {}
    limit = (PolicyConfig() if head else RewardConfig()).batch_tokens
    for name in [name for name in engines if name.startswith("seamaug")]:
        part["efficiency"][name] = flops.efficiency(
            config,
            lengths,
            timings[name].seconds,
            dtype=getattr(torch, engines[name].dtype),
            device=device,
            head=head,
            batch_tokens=limit,
        )
        once: Callable[[], Any] = lambda name=name: engines[name](sets[:1])  # noqa: E731
        part["operators"][name] = flops.top_operators(once, device=device)
