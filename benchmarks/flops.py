"""How much of the work was useful, against what the machine's matrix products reach.

Useful work of a prompt with its responses: every token that has to be read, read once (a prompt is
not repeated for each response, no padding, and the last token of a response is predicted, not
read), and the head for predicted tokens alone.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

_LONG_ENOUGH = 0.01  # seconds for one timing of a product
_HEAD_ROWS = 1024  # more would need gigabytes of logits at a large vocabulary, and is no faster


@dataclass(frozen=True, slots=True)
class Product:
    """One linear layer of the model: its shape, and what has to go through it."""

    inputs: int
    outputs: int
    rows: int
    """Rows in all: tokens x layers."""

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.inputs * self.outputs * self.rows


def products(
    config: Any, sets: Sequence[tuple[int, Sequence[int]]], *, head: bool
) -> dict[str, Product]:
    """Useful work per linear layer, from (prompt tokens, tokens of each response) of each set."""
    hidden, inner, layers = (
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
    )
    per_head = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    queries, keys = config.num_attention_heads * per_head, config.num_key_value_heads * per_head
    read = sum(prompt + sum(own - 1 for own in responses) for prompt, responses in sets)
    rows = read * layers
    found = {
        "q": Product(hidden, queries, rows),
        "k": Product(hidden, keys, rows),
        "v": Product(hidden, keys, rows),
        "o": Product(queries, hidden, rows),
        "gate": Product(hidden, inner, rows),
        "up": Product(hidden, inner, rows),
        "down": Product(inner, hidden, rows),
    }
    if head:
        predicted = sum(sum(responses) for _, responses in sets)
        found["head"] = Product(hidden, config.vocab_size, predicted)
    return found


def attention_flops(config: Any, sets: Sequence[tuple[int, Sequence[int]]]) -> int:
    """Scores and weighted values, each token over itself and what stands before it."""
    per_head = getattr(config, "head_dim", None) or (
        config.hidden_size // config.num_attention_heads
    )
    width = config.num_attention_heads * per_head * config.num_hidden_layers
    seen = 0
    for prompt, responses in sets:
        seen += prompt * (prompt + 1) // 2
        seen += sum(n * prompt + n * (n + 1) // 2 for n in (own - 1 for own in responses))
    return 4 * width * seen


def shared_prefix(rows: Sequence[Sequence[int]]) -> int:
    """Tokens that all rows begin with."""
    columns = zip(*rows, strict=False)
    return next((i for i, column in enumerate(columns) if len(set(column)) > 1), len(min(rows)))


@torch.inference_mode()
def rates(
    layers: dict[str, Product], *, rows: int, dtype: torch.dtype, device: str
) -> dict[str, float]:
    """FLOP per second of each layer's product alone, `rows` at a time: median of five."""
    found = {}
    for name, layer in layers.items():
        height = min(rows, _HEAD_ROWS) if name == "head" else rows
        state = torch.randn(height, layer.inputs, device=device).to(dtype)
        weight = torch.randn(layer.outputs, layer.inputs, device=device).to(dtype)

        def product(state: Any = state, weight: Any = weight) -> Any:
            return torch.nn.functional.linear(state, weight)

        found[name] = 2 * height * layer.inputs * layer.outputs / _seconds(product, device)
    return found


def _seconds(call: Callable[[], Any], device: str) -> float:
    """Median time of one call, of five timings of as many calls as make a timing reliable."""

    def timed(count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            call()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    timed(1)
    count = max(1, round(_LONG_ENOUGH / max(timed(1), 1e-7)))
    return sorted(timed(count) for _ in range(5))[2] / count


def efficiency(
    config: Any,
    sets: Sequence[tuple[int, Sequence[int]]],
    seconds: float,
    *,
    dtype: torch.dtype,
    device: str = "cpu",
    head: bool = True,
    batch_tokens: int = 4096,
) -> dict[str, Any]:
    """Rate of useful work over the rate of its products alone; attention is counted apart.

    The rate of the products is their harmonic mean weighted by their useful work: the time that
    the useful products would take back to back.
    """
    layers = products(config, sets, head=head)
    useful = sum(layer.flops for layer in layers.values())
    tokens = layers["q"].rows // config.num_hidden_layers
    speed = rates(layers, rows=min(batch_tokens, tokens), dtype=dtype, device=device)
    ideal = sum(layer.flops / speed[name] for name, layer in layers.items())
    return {
        "dtype": str(dtype).removeprefix("torch."),
        "useful_tokens": tokens,
        "useful_gflop": round(useful / 1e9, 3),
        "attention_gflop": round(attention_flops(config, sets) / 1e9, 3),
        "achieved_gflops": round(useful / seconds / 1e9, 2),
        "matmul_gflops": round(useful / ideal / 1e9, 2),
        "matmul_gflops_by_layer": {name: round(rate / 1e9, 1) for name, rate in speed.items()},
        "share": round(ideal / seconds, 4),
    }


def top_operators(call: Callable[[], Any], *, device: str = "cpu", top: int = 10) -> dict[str, Any]:
    """Where a call's time goes: share of each operator's own time, largest first."""
    kinds = [torch.profiler.ProfilerActivity.CPU]
    if device != "cpu":
        kinds.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=kinds) as profile:
        call()
    field = "self_cpu_time_total" if device == "cpu" else "self_device_time_total"
    times = {event.key: getattr(event, field) for event in profile.key_averages()}
    total = sum(times.values()) or 1
    ordered = sorted(times.items(), key=lambda pair: -pair[1])[:top]
    return {name: round(value / total, 4) for name, value in ordered}
