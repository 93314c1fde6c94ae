"""Log-probabilities against plain float64 arithmetic, and samples."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from seamaug.config import PolicyConfig
from seamaug.errors import ModelError
from seamaug.models.engines import Logprob
from seamaug.models.policy import CausalLM, Policy
from seamaug.records import user_message

NATS = 1e-3
KINDS = ("llama", "gpt2", "qwen2", "gemma2", "mistral")
PROMPTS = (
    "What is the capital of France?",
    "Hi",
    "A wall mural has 12 pints of paint in it. There are equal amounts of red and white paint. " * 2
    + "How many pints of red paint were used?",
    "Wie heißt die Hauptstadt von 日本?",
)
RESPONSES = (
    ("Paris.", "I do not know, but I would say that it is Lyon or Marseille.", "Paris."),
    ("", "a", "🙂 日本語 é", "Hello there, how can I help you today? " * 4),
    ("There were 6 pints of red paint.", "12"),
    ("Tokyo",),
)


def policy(folder: str, **changes: Any) -> Policy:
    return Policy(PolicyConfig(name=folder, device="cpu", dtype="float32", **changes))


def reference(model: Any, prompt: list[int], response: list[int]) -> float:
    """Sum of log P(token | all before it) from one whole pass over one sequence."""
    if not response:
        return 0.0
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + response]), use_cache=False).logits[0]
    logprobs = torch.log_softmax(logits.double(), dim=-1)
    start = len(prompt)
    return sum(float(logprobs[start + j - 1, token]) for j, token in enumerate(response))


def float64(folder: str) -> Any:
    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float64, attn_implementation="eager"
    ).eval()


def sets_of(model: Policy) -> list[tuple[list[int], list[list[int]]]]:
    return [
        (model.prompt_ids(user_message(prompt)), model.response_ids(responses))
        for prompt, responses in zip(PROMPTS, RESPONSES, strict=True)
    ]


def totals(results: Sequence[Sequence[Logprob]]) -> list[float]:
    return [item.total for group in results for item in group]


@pytest.fixture(scope="module")
def folders(saved: Callable[..., str]) -> dict[str, str]:
    return {kind: saved(kind, "causal") for kind in KINDS}


@pytest.fixture(scope="module")
def expected(folders: dict[str, str]) -> dict[str, list[float]]:
    found = {}
    for kind, folder in folders.items():
        sets, model = sets_of(policy(folder)), float64(folder)
        found[kind] = [reference(model, prompt, ids) for prompt, rows in sets for ids in rows]
    return found


@pytest.fixture(scope="module")
def llama(folders: dict[str, str]) -> Policy:
    return policy(folders["llama"])


@pytest.mark.parametrize("batch_tokens", [1, 100, 4096])
@pytest.mark.parametrize("kind", KINDS)
def test_logprobs_equal_float64(
    folders: dict[str, str], expected: dict[str, list[float]], kind: str, batch_tokens: int
) -> None:
    model = policy(folders[kind], batch_tokens=batch_tokens)
    sets = sets_of(model)
    results = model.logprobs(sets)
    assert totals(results) == pytest.approx(expected[kind], abs=NATS)
    assert [[item.tokens for item in group] for group in results] == [
        [len(ids) for ids in rows] for _, rows in sets
    ]


@pytest.mark.parametrize(
    ("kind", "splits_head", "shares"),
    [
        ("llama", True, True),
        ("gpt2", True, True),
        ("qwen2", True, True),
        ("gemma2", True, False),
        ("mistral", True, False),  # its window of 8 tokens is shorter than the probe
    ],
)
def test_shortcuts_are_taken_only_where_exact(
    folders: dict[str, str], kind: str, splits_head: bool, shares: bool
) -> None:
    model = policy(folders[kind])
    assert (model.projection is not None, model._shared.longest > 0) == (splits_head, shares)


def test_window_as_long_as_the_sequences_allows_sharing(saved: Callable[..., str]) -> None:
    folder = saved("mistral", "causal", sliding_window=16)
    model = policy(folder, max_length=16)
    assert model._shared.longest == 16
    prompt, responses = list(range(5, 16)), [[3, 9, 8, 7, 6], [2, 3]]
    truth = float64(folder)
    wanted = [reference(truth, prompt, response) for response in responses]
    assert totals(model.logprobs([(prompt, responses)])) == pytest.approx(wanted, abs=NATS)


def test_mild_cap_on_logits_is_noticed(saved: Callable[..., str]) -> None:
    # Logits near 1 under a cap of 30 move by less than 1e-3 each, but add up over a response.
    folder = saved("gemma2", "causal", final_logit_softcapping=30.0, initializer_range=0.03)
    model = policy(folder)
    prompt = model.prompt_ids(user_message("Hi"))
    response = prompt * 40
    found = model.logprobs([(prompt, [response])])[0][0].total
    assert found == pytest.approx(reference(float64(folder), prompt, response), abs=NATS)
    assert model.projection is not None


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2"])
def test_shared_and_whole_passes_agree(
    folders: dict[str, str], expected: dict[str, list[float]], kind: str
) -> None:
    model = policy(folders[kind])
    shared = totals(model.logprobs(sets_of(model)))
    model._shared.longest = 0
    whole = totals(model.logprobs(sets_of(model)))
    assert whole == pytest.approx(shared, abs=NATS)
    assert whole == pytest.approx(expected[kind], abs=NATS)


@pytest.mark.parametrize("shares", [True, False])
@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.sampled_from(range(len(PROMPTS))), min_size=1, max_size=5),
    st.randoms(use_true_random=False),
    st.integers(1, 700),
)
def test_results_do_not_depend_on_company(
    llama: Policy,
    expected: dict[str, list[float]],
    shares: bool,
    chosen: list[int],
    rng: Any,
    batch_tokens: int,
) -> None:
    known = iter(expected["llama"])
    truth = [[next(known) for _ in rows] for rows in RESPONSES]
    llama._budget.tokens = batch_tokens
    orders = [rng.sample(range(len(RESPONSES[i])), len(RESPONSES[i])) for i in chosen]
    sets = sets_of(llama)
    before = llama._shared.longest
    try:
        llama._shared.longest = before if shares else 0
        results = llama.logprobs(
            [
                (sets[i][0], [sets[i][1][k] for k in order])
                for i, order in zip(chosen, orders, strict=True)
            ]
        )
    finally:
        llama._shared.longest = before
    wanted = [truth[i][k] for i, order in zip(chosen, orders, strict=True) for k in order]
    assert totals(results) == pytest.approx(wanted, abs=NATS)


@pytest.mark.parametrize("kind", ["llama", "gemma2"])
def test_vocabulary_in_chunks(
    folders: dict[str, str],
    expected: dict[str, list[float]],
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seamaug.models.policy._LOGIT_BYTES", 1)
    model = policy(folders[kind])
    assert totals(model.logprobs(sets_of(model))) == pytest.approx(expected[kind], abs=NATS)


def test_no_sets_and_no_responses(llama: Policy) -> None:
    assert llama.logprobs([]) == []
    assert llama.response_ids([]) == []
    prompt = llama.prompt_ids(user_message("Hi"))
    assert llama.logprobs([(prompt, []), (prompt, [[]])]) == [[], [Logprob(0.0, 0)]]


def test_end_token_counts_if_asked(folders: dict[str, str], llama: Policy) -> None:
    without = policy(folders["llama"], count_eos=False)
    prompt = llama.prompt_ids(user_message("Hi"))
    text_ids = without.response_ids(["a", ""])
    assert text_ids[1] == []
    assert llama.response_ids(["a", ""]) == [[*ids, 1] for ids in text_ids]
    with_end = llama.logprobs([(prompt, llama.response_ids(["a", ""]))])[0]
    bare = without.logprobs([(prompt, text_ids)])[0]
    assert bare[1] == Logprob(0.0, 0)
    assert [item.tokens for item in with_end] == [2, 1]
    assert with_end[0].total < bare[0].total < 0
    assert with_end[1].total < 0


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_prompt_of_one_token(folders: dict[str, str], kind: str) -> None:
    model = policy(folders[kind])
    response = model.response_ids(["Paris is a city."])[0]
    found = model.logprobs([([5], [response]), ([5, 6, 7], [response])])
    truth = float64(folders[kind])
    assert totals(found) == pytest.approx(
        [reference(truth, [5], response), reference(truth, [5, 6, 7], response)], abs=NATS
    )


def test_boundary_is_at_token_level(folders: dict[str, str], tokenizer: Any) -> None:
    model = policy(folders["llama"], chat_template="question_answer", count_eos=False)
    prompt = model.prompt_ids(user_message("What is it?"))
    response = model.response_ids(["the end"])[0]
    joint = tokenizer(tokenizer.decode(prompt + response))["input_ids"]
    assert joint != prompt + response, "the example must be one where re-tokenising would merge"
    found = model.logprobs([(prompt, [response])])[0][0]
    truth = float64(folders["llama"])
    assert found.tokens == len(response)
    assert found.total == pytest.approx(reference(truth, prompt, response), abs=NATS)
    # One position off on either side is far away, so the check above can tell.
    whole = prompt + response
    for shift in (-1, 1):
        cut = len(prompt) + shift
        assert abs(reference(truth, whole[:cut], whole[cut:]) - found.total) > 1


def test_characters_that_split_across_tokens(llama: Policy, folders: dict[str, str]) -> None:
    ids = llama.response_ids(["日🙂"])[0]
    assert len(ids) > 3
    prompt = llama.prompt_ids(user_message("日"))
    found = llama.logprobs([(prompt, [ids])])[0][0]
    wanted = reference(float64(folders["llama"]), prompt, ids)
    assert found.total == pytest.approx(wanted, abs=NATS)


TEXTS = ("日🙂👩‍👩‍👧", "e\u0301 o\u0308 \u0928\u093f", "\U0001f1eb\U0001f1f7", " a", "\n\n", "")


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("bos", [None, "<|user|>"])
def test_tokenizer_settings_do_not_reach_the_scores(
    saved: Callable[..., str], kind: str, side: str, bos: str | None
) -> None:
    folder = saved(kind, "causal", tokens={"padding_side": side, "bos_token": bos})
    model, truth = policy(folder, batch_tokens=90), float64(folder)
    assert model.tokenizer.padding_side == side
    sets = [(model.prompt_ids(user_message(text)), model.response_ids(TEXTS)) for text in TEXTS[:3]]
    split = [model.tokenizer.decode([token]) for ids in sets[0][1] for token in ids]
    assert any("\ufffd" in piece for piece in split), "some characters must take several tokens"
    # Each response is what the tokenizer makes of it alone, with nothing put before it.
    for text, ids in zip(TEXTS, sets[0][1], strict=True):
        assert model.tokenizer.decode(ids) == text + "<|end|>"
    wanted = [reference(truth, prompt, ids) for prompt, rows in sets for ids in rows]
    assert totals(model.logprobs(sets)) == pytest.approx(wanted, abs=NATS)
    model._shared.longest = 0
    assert totals(model.logprobs(sets)) == pytest.approx(wanted, abs=NATS)


def test_model_that_reads_both_ways_is_no_policy(saved: Callable[..., str]) -> None:
    with pytest.raises(ModelError, match=r"policy model .* both directions.*causal language model"):
        policy(saved("bert", "causal"))
    decoder = policy(saved("bert", "causal", is_decoder=True, eos_token_id=1))
    truth = float64(decoder.config.name)
    sets = sets_of(decoder)
    wanted = [reference(truth, prompt, ids) for prompt, rows in sets for ids in rows]
    assert totals(decoder.logprobs(sets)) == pytest.approx(wanted, abs=NATS)


def test_positions_that_follow_the_longest_sequence(saved: Callable[..., str]) -> None:
    # Past 24 tokens longrope turns to other frequencies, for all rows of a batch.
    rope = {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [4.0] * 4,
        "original_max_position_embeddings": 24,
    }
    model = policy(saved("llama", "causal", rope_parameters=rope))
    truth = float64(model.config.name)
    assert model._shared.longest == 24
    long, short = list(range(5, 35)), list(range(40, 48))
    for sets in ([(short, [[3, 9], long, [7]])], [(short, [[3, 9], [7, 8, 9]])]):
        wanted = [reference(truth, prompt, ids) for prompt, rows in sets for ids in rows]
        assert totals(model.logprobs(sets)) == pytest.approx(wanted, abs=NATS)


def test_positions_that_follow_the_longest_text_ever_read_are_refused(
    saved: Callable[..., str],
) -> None:
    rope = {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}
    folder = saved("llama", "causal", rope_parameters=rope, max_position_embeddings=64)
    assert policy(folder, max_length=64).max_length == 64
    with pytest.raises(ModelError, match=r"beyond 64 tokens.*policy.max_length"):
        policy(folder, max_length=65)


@pytest.mark.parametrize("lie", [{"use_sliding_window": False}, {"layer_types": None}])
def test_window_that_the_config_denies(saved: Callable[..., str], lie: dict[str, Any]) -> None:
    folder = saved("mistral", "causal", sliding_window=16, **lie)
    model, truth = policy(folder), float64(folder)
    prompt, responses = list(range(5, 35)), [[3, 9, 8, 7, 6], [2, 3]]
    wanted = [reference(truth, prompt, response) for response in responses]
    assert totals(model.logprobs([(prompt, responses)])) == pytest.approx(wanted, abs=NATS)


def test_prompt_without_responses_is_not_read(saved: Callable[..., str]) -> None:
    # Its golden response did not fit, and neither may the prompt itself.
    model = policy(saved("gpt2", "causal", n_positions=64))
    found = model.logprobs([(list(range(100)), []), ([5, 6, 7], [[8, 9]])])
    assert found == [[], model.logprobs([([5, 6, 7], [[8, 9]])])[0]]


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
@pytest.mark.parametrize(
    ("tokens", "pad", "end"),
    [
        ({"pad_token": None}, 1, [1]),
        ({"pad_token": None, "eos_token": None}, 0, []),
    ],
)
def test_model_without_padding_token(
    saved: Callable[..., str], kind: str, tokens: dict[str, Any], pad: int, end: list[int]
) -> None:
    folder = saved(kind, "causal", tokens=tokens, pad_token_id=None)
    model = policy(folder)
    assert (model.pad_id, model._end) == (pad, end)
    sets, truth = sets_of(model), float64(folder)
    wanted = [reference(truth, prompt, ids) for prompt, rows in sets for ids in rows]
    assert totals(model.logprobs(sets)) == pytest.approx(wanted, abs=NATS)
    model._shared.longest = 0
    assert totals(model.logprobs(sets)) == pytest.approx(wanted, abs=NATS)


def test_missing_chat_template_names_the_fix(saved: Callable[..., str]) -> None:
    folder = saved("llama", "causal", tokens={"chat_template": None})
    with pytest.raises(ModelError, match=r"no chat template.*policy\.chat_template.*question_ans"):
        policy(folder)
    model = policy(folder, chat_template="question_answer")
    prompt = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is\nlove?"},
        {"role": "assistant", "content": "Baby."},
        {"role": "user", "content": "More?"},
    ]
    text = model.tokenizer.decode(model.prompt_ids(user_message("What is\nlove?")))
    assert text == "Question: What is\nlove?\n\nAnswer: "
    assert model.tokenizer.decode(model.prompt_ids(prompt)) == (
        "Be brief.\n\nQuestion: What is\nlove?\n\nAnswer: Baby.<|end|>Question: More?\n\nAnswer: "
    )


def test_own_chat_template_file(folders: dict[str, str], tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("{% for m in messages %}[{{ m.content }}]{% endfor %}")
    model = policy(folders["llama"], chat_template=str(template))
    text = "{{ 7 * 7 }} {% raw %}"
    assert model.tokenizer.decode(model.prompt_ids(user_message(text))) == f"[{text}]"
    with pytest.raises(ModelError, match=r"nowhere\.jinja: No such file"):
        policy(folders["llama"], chat_template=str(tmp_path / "nowhere.jinja"))


def test_template_that_refuses_a_role(folders: dict[str, str], tmp_path: Path) -> None:
    template = tmp_path / "strict.jinja"
    template.write_text("{{ raise_exception('no system turns, please') }}")
    model = policy(folders["llama"], chat_template=str(template))
    with pytest.raises(ModelError, match=r"refuses.*'user'.*no system turns"):
        model.prompt_ids(user_message("Hi"))


# Samples


def greedy(model: Any, prompt: list[int], length: int, stop: int) -> list[int]:
    ids: list[int] = []
    while len(ids) < length:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([prompt + ids]), use_cache=False).logits
        ids.append(int(logits[0, -1].argmax()))
        if ids[-1] == stop:
            break
    return ids


@pytest.mark.parametrize("kind", ["llama", "gpt2", "mistral"])
@pytest.mark.parametrize("cold", [{"temperature": 1e-4}, {"top_p": 1e-6}])
def test_padding_does_not_change_the_continuation(
    folders: dict[str, str], kind: str, cold: dict[str, float]
) -> None:
    config = PolicyConfig(name=folders[kind], device="cpu", dtype="float32")
    model, truth = CausalLM(config, "policy"), float64(folders[kind])
    prompts = [user_message(text) for text in PROMPTS]
    wanted = [
        model.tokenizer.decode(
            greedy(truth, model.prompt_ids(prompt), 6, 1), skip_special_tokens=True
        ).strip()
        for prompt in prompts
    ]
    found = model.sample(prompts, n=1, seed=0, max_new_tokens=6, **cold)
    assert found == [[text] for text in wanted]
    assert len(set(wanted)) == len(wanted)


def test_seed_decides_the_samples(llama: Policy) -> None:
    prompts = [user_message(text) for text in PROMPTS[:2]]

    def draw(seed: int) -> list[list[str]]:
        return llama.sample(prompts, n=3, seed=seed, max_new_tokens=6)

    first = draw(0)
    assert draw(0) == first
    assert draw(1) != first
    assert [len(texts) for texts in first] == [3, 3]
    assert len({text for texts in first for text in texts}) == 6


@pytest.mark.parametrize(
    "own",
    [
        {"min_p": 0.5, "temperature": 0.1, "top_k": 3},
        {"no_repeat_ngram_size": 1, "repetition_penalty": 2.0},
        {"suppress_tokens": list(range(5, 200)), "exponential_decay_length_penalty": [1, 2.0]},
        {"num_beams": 2, "epsilon_cutoff": 0.05, "max_length": 3},
    ],
)
def test_samples_are_of_the_model_whatever_its_own_file_says_of_generation(
    llama: Policy, copied: Callable[[str], Path], folders: dict[str, str], own: dict[str, Any]
) -> None:
    folder = copied(folders["llama"])
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_sample": True} | own))
    prompts, how = [user_message(text) for text in PROMPTS], {"n": 4, "seed": 0}
    assert policy(str(folder)).sample(prompts, max_new_tokens=8, **how) == llama.sample(
        prompts, max_new_tokens=8, **how
    )


def test_batches_of_one_call_do_not_draw_alike(folders: dict[str, str]) -> None:
    model = policy(folders["llama"], batch_tokens=1)
    texts = model.sample([user_message("Hi")] * 3, n=1, seed=0, max_new_tokens=6)
    assert len({text for (text,) in texts}) == 3


def test_sampling_leaves_the_random_state_alone(llama: Policy) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    llama.sample([user_message("Hi")], n=1, seed=0, max_new_tokens=2)
    assert torch.equal(torch.rand(3), wanted)


def test_prompts_without_room_give_no_sample(folders: dict[str, str], llama: Policy) -> None:
    short = user_message("Hi")
    length = len(llama.prompt_ids(short))
    long = user_message("Hello there. " * 20)
    model = policy(folders["llama"], max_length=length + 4)
    found = model.sample([long, short, long], n=2, seed=0, max_new_tokens=4)
    assert [len(texts) for texts in found] == [0, 2, 0]
    assert model.sample([short], n=2, seed=0, max_new_tokens=5) == [[]]
    assert model.sample([], n=2, seed=0, max_new_tokens=5) == []


def test_samples_in_several_batches_stay_with_their_prompts(folders: dict[str, str]) -> None:
    prompts = [user_message(text) for text in PROMPTS]
    found = [
        policy(folders["llama"], batch_tokens=batch).sample(
            prompts, n=1, seed=0, max_new_tokens=6, temperature=1e-4
        )
        for batch in (1, 4096)
    ]
    assert found[0] == found[1]
