"""One prompt for many responses, against one whole pass over each sequence."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Gemma3Config, LlamaConfig

from seamaug.config import PolicyConfig, RewardConfig
from seamaug.errors import ModelError
from seamaug.models import shared
from seamaug.models.hook import OtherAttentionError, _attention, attending
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel

NATS = 1e-3
KINDS = ("llama", "gpt2")
Set = tuple[list[int], list[list[int]]]
# Lengths 0 and 1 are the odd ones: nothing to score, and nothing that follows the prompt.
LENGTHS = st.lists(st.one_of(st.sampled_from([0, 1, 2]), st.integers(0, 30)), max_size=5)
SHAPES = st.lists(st.tuples(st.integers(1, 40), LENGTHS), max_size=4)


def rows(lengths: list[int], seed: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(2, 4096, (n,), generator=generator).tolist() for n in lengths]


def sets_of(shapes: list[tuple[int, list[int]]], seed: int = 0) -> list[Set]:
    return [
        (rows([prompt], seed + i)[0], rows(lengths, seed + 100 + i))
        for i, (prompt, lengths) in enumerate(shapes)
    ]


MIXED = sets_of([(12, [9, 1, 0, 30, 2, 17]), (1, [4, 4]), (25, [8, 1, 1, 1, 20, 3])])


@torch.inference_mode()
def wanted(model: Any, sets: list[Set]) -> list[float]:
    """Each sequence by itself, by the model's own forward and a plain softmax."""
    found = []
    for prompt, responses in sets:
        for ids in responses:
            logits = model(input_ids=torch.tensor([prompt + ids]), use_cache=False).logits[0]
            logprobs = logits.double().log_softmax(-1)[len(prompt) - 1 : -1]
            found.append(float(logprobs[torch.arange(len(ids)), ids].sum()))
    return found


def totals(model: Policy, sets: list[Set]) -> list[float]:
    return [item.total for group in model.logprobs(sets) for item in group]


@pytest.fixture(scope="module")
def policies(saved: Callable[..., str]) -> dict[str, Policy]:
    return {
        kind: Policy(PolicyConfig(name=saved(kind, "causal"), device="cpu", dtype="float32"))
        for kind in KINDS
    }


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any, int], list[int]]:
    """Lets a model's body run out of memory above some tokens; gives the sizes it was asked for."""

    def limit(model: Any, room: int) -> list[int]:
        forward, asked = model.base_model.forward, list[int]()

        def run(*args: Any, **kwargs: Any) -> Any:
            ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
            asked.append(ids.numel())
            if ids.numel() > room:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return forward(*args, **kwargs)

        monkeypatch.setattr(model.base_model, "forward", run)
        return asked

    return limit


@pytest.fixture(params=[True, False], ids=["shared", "padded"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Sets which of the two ways a model reads, with its budget as it was afterwards."""
    kept = []

    def choose(model: Any, batch_tokens: int) -> None:
        kept.append((model._budget, model._budget.tokens))
        model._budget.tokens = batch_tokens
        if not request.param:
            monkeypatch.setattr(model._shared, "longest", 0)

    yield choose
    for budget, tokens in kept:
        budget.tokens = tokens


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(SHAPES, st.integers(0, 1000), st.one_of(st.integers(1, 60), st.integers(1, 600)))
def test_any_sets_under_any_budget(
    policies: dict[str, Policy],
    kind: str,
    shapes: list[tuple[int, list[int]]],
    seed: int,
    batch_tokens: int,
) -> None:
    model, sets = policies[kind], sets_of(shapes, seed)
    assert model._shared.longest > 100
    model._budget.tokens = batch_tokens
    assert totals(model, sets) == pytest.approx(wanted(model.model, sets), abs=NATS)


@pytest.mark.parametrize("batch_tokens", [1, 40, 60])
@pytest.mark.parametrize("kind", KINDS)
def test_prompt_is_read_once_over_several_batches(
    policies: dict[str, Policy], kind: str, batch_tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[Any] = []

    class Seen(shared._FlatBatch):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            batches.append(self)

    monkeypatch.setattr(shared, "_FlatBatch", Seen)
    model = policies[kind]
    model._budget.tokens = batch_tokens
    assert totals(model, MIXED) == pytest.approx(wanted(model.model, MIXED), abs=NATS)
    assert sum(batch.recalled is not None for batch in batches) >= 2
    read = sum(len(batch.ids) for batch in batches)
    needed = [len(prompt) + sum(len(ids) - 1 for ids in rows if ids) for prompt, rows in MIXED]
    assert read == sum(needed), "every prompt once, every response once"


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_model_is_as_before_after_an_error(
    policies: dict[str, Policy], error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = policies["llama"]
    before = model.model.config._attn_implementation
    layer = model.model.base_model.layers[1]

    def fail(*_: Any, **__: Any) -> None:
        assert model.model.config._attn_implementation != before
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(layer, "forward", fail)
        with pytest.raises(type(error)):
            model.logprobs(MIXED)
    assert model.model.config._attn_implementation == before
    assert totals(model, MIXED) == pytest.approx(wanted(model.model, MIXED), abs=NATS)


def test_layer_that_asks_for_more_later_is_read_whole(
    policies: dict[str, Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As models do that attend to chosen blocks once a sequence is long: no short probe sees it.
    model, layer = policies["llama"], policies["llama"].model.base_model.layers[1].self_attn
    forward, asked = layer.forward, list[str]()

    def more(hidden_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        name = model.model.config._attn_implementation
        if name.startswith("seamaug") and hidden_states.shape[1] > 30:
            asked.append(name)
            kwargs["block_indices"] = torch.zeros(1)
        return forward(hidden_states, *args, **kwargs)

    monkeypatch.setattr(layer, "forward", more)
    monkeypatch.setattr(model._shared, "longest", model._shared.longest)
    model._budget.tokens = 4096
    assert totals(model, MIXED) == pytest.approx(wanted(model.model, MIXED), abs=NATS)
    assert len(asked) == 1
    assert model._shared.longest == 0


@pytest.mark.parametrize(
    "setting",
    [
        {"attention_mask": torch.zeros(1, 1, 3, 3)},
        {"is_causal": False},
        {"sliding_window": 2},
        {"softcap": 50.0},
        {"s_aux": torch.zeros(4)},
        {"something_new": 1},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_other_attention_is_refused(setting: dict[str, Any]) -> None:
    body = torch.nn.Linear(1, 1)
    body.config = LlamaConfig()
    states = torch.zeros(1, 4, 3, 8)
    arguments = {"attention_mask": None, "sliding_window": 3, "is_causal": None, **setting}
    with (
        attending(body, lambda query, *_: query, 3),
        pytest.raises(OtherAttentionError),
    ):
        _attention(body, states, states, states, **arguments)
    arguments.update(dict.fromkeys(setting))
    with attending(body, lambda query, *_: query, 3):
        assert _attention(body, states, states, states, **arguments)[0].shape == (1, 3, 4, 8)


def test_inner_configs_get_back_what_they_had() -> None:
    config = Gemma3Config()
    config._attn_implementation = {"text_config": "sdpa", "vision_config": "eager", "": "sdpa"}
    body = torch.nn.Linear(1, 1)
    body.config = config
    with attending(body, lambda query, *_: query, 3):
        assert config.text_config._attn_implementation not in ("sdpa", "eager")
    found = [c._attn_implementation for c in (config, config.text_config, config.vision_config)]
    assert found == ["sdpa", "sdpa", "eager"]


@pytest.mark.parametrize("kind", KINDS)
def test_policy_out_of_memory(
    policies: dict[str, Policy], kind: str, way: Any, limited: Any
) -> None:
    model = policies[kind]
    truth = wanted(model.model, MIXED)
    way(model, 4096)
    asked = limited(model.model, 50)
    assert totals(model, MIXED) == pytest.approx(truth, abs=NATS)
    assert asked[0] > 50
    assert model._budget.tokens <= 50
    asked.clear()
    assert totals(model, MIXED) == pytest.approx(truth, abs=NATS)
    assert max(asked) <= 50


def test_answers_without_tokens_of_their_own_can_be_halved(
    policies: dict[str, Policy], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A response of one token adds none to the pass, yet as many of them may be too many.
    model, sets = policies["llama"], sets_of([(12, [1] * 9)])
    logprobs, calls = model.projection.logprobs, list[int]()

    def one_at_a_time(states: Any, positions: Any, targets: torch.Tensor) -> Any:
        calls.append(len(targets))
        assert len(calls) < 50
        if len(targets) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return logprobs(states, positions, targets)

    truth = wanted(model.model, sets)
    model._budget.tokens = 4096
    monkeypatch.setattr(model.projection, "logprobs", one_at_a_time)
    assert totals(model, sets) == pytest.approx(truth, abs=NATS)
    assert calls.count(1) == 9


def test_policy_row_too_long_for_the_memory(
    policies: dict[str, Policy], way: Any, limited: Any
) -> None:
    model = policies["llama"]
    way(model, 4096)
    limited(model.model, 20)
    with pytest.raises(ModelError, match=r"policy model .* sequence of \d+ tokens.*max_length"):
        model.logprobs(MIXED)


def test_reward_out_of_memory(saved: Callable[..., str], way: Any, limited: Any) -> None:
    name = saved("llama", "reward")
    model = RewardModel(RewardConfig(name=name, device="cpu", dtype="float32"))
    sets = [[prompt + ids for ids in responses] for prompt, responses in MIXED]
    with torch.inference_mode():
        truth = [
            float(model.model(input_ids=torch.tensor([row])).logits)
            for rows in sets
            for row in rows
        ]
    way(model, 4096)
    asked = limited(model.model, 60)
    for _ in range(2):
        found = [score for group in model.rewards(sets) for score in group]
        assert found == pytest.approx(truth, abs=1e-4)
    assert asked[0] > 60
    assert model._budget.tokens <= 60
    limited(model.model, 20)
    with pytest.raises(ModelError, match=r"reward model .* sequence of \d+ tokens.*max_length"):
        model.rewards(sets)
