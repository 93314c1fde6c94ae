"""vLLM, in this process and as a server, against the transformers scorer: `make test-vllm`."""

import gc
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from seamaug.cli import main
from seamaug.config import GeneratorConfig, PolicyConfig, RewardConfig
from seamaug.errors import ModelError
from seamaug.models.engines import (
    GeneratorEngine,
    Logprob,
    PolicyEngine,
    Reply,
    Request,
    RewardEngine,
)
from seamaug.models.generation import Generation
from seamaug.models.journal import Journal
from seamaug.models.load import load_generator, load_policy, load_reward
from seamaug.models.policy import Policy
from seamaug.models.reward import RewardModel
from seamaug.records import user_message

pytestmark = pytest.mark.vllm

NATS = 1e-3
LOGITS = 1e-4
READY = 240  # seconds that a server may take to start
KINDS = ("llama", "qwen2", "gpt2")
# vLLM's attention on a CPU needs heads of at least 32 dimensions.
WIDE = {"hidden_size": 64, "num_attention_heads": 2, "num_key_value_heads": 1}
SHAPE: dict[str, dict[str, Any]] = {
    "llama": WIDE,
    "qwen2": WIDE,
    "gpt2": {"n_embd": 64, "n_head": 2},
}
# The chat template ends each turn with id 1: with it as padding, the score is read before it.
PAD = {"llama": 0, "qwen2": 1, "gpt2": None}
CACHE = 64 << 20
QUICK = {"enforce_eager": True, "kv_cache_memory_bytes": CACHE}
# Each kind with another way to a limit, and the limits that follow for policy and reward model.
LIMITED: dict[str, tuple[dict[str, Any], tuple[int, int]]] = {
    "llama": ({}, (255, 256)),
    "qwen2": ({"max_length": 200}, (200, 200)),
    "gpt2": ({"engine_options": {**QUICK, "max_model_len": 192}}, (191, 192)),
}
PROMPTS = ("Hi", "What is the capital of France?", "Wie heißt die Hauptstadt von 日本?")
RESPONSES = (
    ("Hello there, how can I help you today? " * 4, "", "a"),
    ("Paris.", "I do not know, but I would say that it is Lyon.", "Paris."),
    ("🙂 日本語 é", "Tokyo", "No idea. " * 20),
)
SEEDS = (
    "prompt,golden\n"
    "What is 2 + 2?,It is 4.\n"
    "What is 3 + 4?,It is 7.\n"
    "Name a city.,Paris is a city in France.\n"
    "Say hello.,Hello there!\n"
    "Why is the sky blue?,Because air scatters blue light more than red light.\n"
    "Which animal barks?,A dog does.\n"
)
Folders = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def folders(saved: Callable[..., str]) -> Folders:
    """Policy and reward model of each kind."""
    return {
        kind: (
            saved(kind, "causal", **SHAPE[kind]),
            saved(kind, "reward", **SHAPE[kind], pad_token_id=PAD[kind]),
        )
        for kind in KINDS
    }


def start_server(folder: str, log: Path, *options: str) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # The server needs a process for its engine, which this run switches off for its own engines.
    environment = {k: v for k, v in os.environ.items() if k != "VLLM_ENABLE_V1_MULTIPROCESSING"}
    # Not `vllm serve`: the build for CPUs has another name, by which that command looks itself up.
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", folder]
    command += ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "tiny"]
    command += ["--dtype", "float32", "--enforce-eager", "--kv-cache-memory-bytes", str(CACHE)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # a group, so that the server's own processes end with it
        )
    return process, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module", autouse=True)
def starting(
    folders: Folders, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[subprocess.Popen[bytes], str, Path]]]:
    """A server each for policy and reward model; they start while the offline tests run."""
    logs = tmp_path_factory.mktemp("servers")
    servers = []
    for name, folder, options in (
        ("policy", folders["llama"][0], ["--max-model-len", "224"]),
        ("reward", folders["qwen2"][1], ["--runner", "pooling"]),
    ):
        log = logs / f"{name}.log"
        servers.append((*start_server(folder, log, *options), log))
    yield servers
    for process, _, _ in servers:
        process.terminate()
    for process, _, _ in servers:
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


@pytest.fixture(scope="module")
def urls(starting: list[tuple[subprocess.Popen[bytes], str, Path]]) -> list[str]:
    """Where the two servers answer: policy, reward model."""
    deadline = time.monotonic() + READY
    for process, url, log in starting:
        while not answers(url):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start:\n{log.read_text()[-3000:]}")
            time.sleep(0.5)
    return [f"{url}/v1" for _, url, _ in starting]


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def plain(folders: Folders, policy_kind: str, reward_kind: str) -> tuple[Policy, RewardModel]:
    return (
        Policy(PolicyConfig(name=folders[policy_kind][0], device="cpu", dtype="float32")),
        RewardModel(RewardConfig(name=folders[reward_kind][1], device="cpu", dtype="float32")),
    )


def totals(results: Sequence[Sequence[Logprob]]) -> list[float]:
    return [item.total for group in results for item in group]


def check_policy(engine: PolicyEngine, truth: Policy) -> None:
    """Log-probabilities of responses of no, one and many tokens, up to the longest sequence."""
    sets = [
        (truth.prompt_ids(user_message(prompt)), truth.response_ids(responses))
        for prompt, responses in zip(PROMPTS, RESPONSES, strict=True)
    ]
    sets += [
        (sets[0][0], [[], [9]]),
        ([5], [[6], [7, 8]]),
        ([5, 6], [[(7 * i + 3) % 4000 for i in range(engine.max_length - 2)]]),
        (sets[1][0], []),
    ]
    found, wanted = engine.logprobs(sets), truth.logprobs(sets)
    assert totals(found) == pytest.approx(totals(wanted), abs=NATS)
    assert [[i.tokens for i in group] for group in found] == [
        [i.tokens for i in group] for group in wanted
    ]
    assert found[3][0] == Logprob(0.0, 0)
    assert [engine.prompt_ids(user_message(p)) for p in PROMPTS] == [ids for ids, _ in sets[:3]]


def check_samples(engine: PolicyEngine, truth: Policy) -> None:
    """Cold samples are the likeliest text; warm ones follow from seed and position."""
    prompts = [user_message(prompt) for prompt in (*PROMPTS, PROMPTS[0])]
    cold = {"n": 1, "seed": 0, "max_new_tokens": 6, "top_p": 1e-6}
    assert engine.sample(prompts, **cold) == truth.sample(prompts, **cold)
    long = user_message("Hello there. " * 100)

    def draw(seed: int) -> list[list[str]]:
        return engine.sample([*prompts, long], n=3, seed=seed, max_new_tokens=6)

    first = draw(0)
    assert draw(0) == first
    assert draw(1) != first
    assert [len(texts) for texts in first] == [3, 3, 3, 3, 0]
    assert len({text for texts in first for text in texts}) == 12


def check_reward(engine: RewardEngine, truth: RewardModel) -> None:
    sets = [
        truth.conversation_ids(user_message(prompt), responses)
        for prompt, responses in zip(PROMPTS, RESPONSES, strict=True)
    ]
    lengths = (1, 2, 3, 5, 8, 13, 21, 34, 55, 89, engine.max_length)
    sets += [[], [[(7 * i + length) % 4000 for i in range(length)] for length in lengths]]
    found, wanted = engine.rewards(sets), truth.rewards(sets)
    assert [len(group) for group in found] == [len(group) for group in sets]
    values = [value for group in found for value in group]
    assert values == pytest.approx([v for group in wanted for v in group], abs=LOGITS)
    assert min(values) < 0, "a sigmoid would hardly show"
    assert max(values) > 1, "a sigmoid would hardly show"


@pytest.mark.parametrize("kind", KINDS)
def test_offline(folders: Folders, kind: str) -> None:
    truth = plain(folders, kind, kind)
    limits, longest = LIMITED[kind]
    settings: Any = {"engine": "vllm", "engine_options": QUICK, "dtype": "float32", **limits}
    # Less than is scored at once, so that rows are read in parts; but more than is sampled at once:
    # vLLM 0.32 cannot, on a CPU, sample with a seed after a prompt that it read in parts.
    policy = load_policy(PolicyConfig(name=folders[kind][0], batch_tokens=400, **settings))
    reward = load_reward(RewardConfig(name=folders[kind][1], batch_tokens=100, **settings))
    assert (policy.max_length, reward.max_length) == longest
    check_policy(policy, truth[0])
    check_samples(policy, truth[0])
    check_reward(reward, truth[1])
    del policy, reward
    gc.collect()


SCHEMA = {
    "type": "object",
    "properties": {"answer": {"enum": ["yes", "no"]}},
    "required": ["answer"],
    "additionalProperties": False,
}


def asked(prompts: Sequence[str], **changes: Any) -> list[Request]:
    fixed: dict[str, Any] = {"operator": "op", "max_new_tokens": 6, "temperature": 1.0, **changes}
    return [Request(messages=user_message(p), seed=i, **fixed) for i, p in enumerate(prompts)]


def check_generator(engine: GeneratorEngine, truth: GeneratorEngine) -> None:
    """Cold replies are those of transformers; warm ones follow from their own seed."""
    requests = asked([*PROMPTS, "Hello there. " * 100], temperature=1e-2)
    found, wanted = dict(engine.stream(requests)), dict(truth.stream(requests))
    limit = f"of {engine.max_length} at most"
    assert found.pop(3).error.endswith(limit)
    assert wanted.pop(3).error.startswith("prompt too long: ")
    assert found == wanted
    warm = asked(PROMPTS)
    first = dict(engine.stream(warm))
    assert dict(engine.stream(warm[:1])) == {0: first[0]}, "a reply depends on others"
    assert dict(engine.stream([replace(warm[0], seed=9)])) != {0: first[0]}


def check_schema(engine: GeneratorEngine) -> None:
    assert engine.structured
    requests = asked(PROMPTS, max_new_tokens=24, schema=SCHEMA)
    for _, reply in engine.stream(requests):
        # A random model may fill what it may write with white space.
        assert reply.text.startswith("{"), reply
        assert reply.cut or json.loads(reply.text)["answer"] in ("yes", "no")


def test_offline_generator(
    folders: Folders, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = folders["llama"][0]
    truth = load_generator(
        GeneratorConfig(name=name, device="cpu", dtype="float32", top_p=1.0, max_length=200)
    )
    engine = load_generator(
        GeneratorConfig(
            name=name, engine="vllm", engine_options=QUICK, dtype="float32", top_p=1.0,
            max_length=200,
        )
    )  # fmt: skip
    check_generator(engine, truth)
    check_schema(engine)
    monkeypatch.setattr("seamaug.models.heartbeat.HEARTBEAT", 0.001)
    with caplog.at_level("INFO", "seamaug"):
        list(engine.stream(asked(PROMPTS, max_new_tokens=24)))
    lines = [text for text in caplog.messages if "generator model has been at work for" in text]
    assert lines
    assert any(re.search(r": [1-9] requests are unfinished$", text) for text in lines), lines
    del engine
    gc.collect()


def test_500_requests_to_a_server(
    folders: Folders,
    urls: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = GeneratorConfig(name="tiny", engine="server", url=urls[0], top_p=1.0)
    with caplog.at_level("INFO", "seamaug"):
        engine = load_generator(config)
    assert not caplog.text
    assert engine.max_length == 224
    check_generator(
        engine,
        load_generator(
            GeneratorConfig(
                name=folders["llama"][0], device="cpu", dtype="float32", top_p=1.0, max_length=224
            )
        ),
    )
    check_schema(engine)
    journal = Journal(tmp_path / "replies.sqlite")
    read, in_flight = engine._reply, list[int]()

    def counted(answer: Any) -> Reply:
        in_flight.append(engine._client._sender._pace.busy)
        return read(answer)

    monkeypatch.setattr(engine, "_reply", counted)
    requests = asked([f"{PROMPTS[i % 3]} {i}" for i in range(500)])
    replies = Generation(engine, config, journal).write(requests)
    assert [reply.error for reply in replies] == [""] * 500
    assert max(in_flight) == config.in_flight
    assert {reply.new_tokens for reply in replies} <= set(range(1, 7))
    assert len({reply.text for reply in replies}) > 400
    order = range(0, 500, 25)
    again = dict(engine.stream([requests[i] for i in order]))
    assert [again[n] for n in range(20)] == [replies[i] for i in order]
    accounts = Generation(engine, config, journal).accounts
    assert accounts["op"]["requests"] == 500
    assert accounts["op"]["new_tokens"] == sum(reply.new_tokens for reply in replies)
    assert isinstance(replies[0], Reply)


def test_what_vllm_refuses_is_said(folders: Folders) -> None:
    for options in ({"no_such_option": 1}, {"max_model_len": 100_000}):
        config = PolicyConfig(name=folders["llama"][0], engine="vllm", engine_options=options)
        with pytest.raises(ModelError, match="does not start on vLLM"):
            load_policy(config)


def test_server(folders: Folders, urls: list[str]) -> None:
    truth = plain(folders, "llama", "qwen2")
    settings: Any = {"engine": "server", "served_name": "tiny", "batch_tokens": 300}
    policy = load_policy(PolicyConfig(name=folders["llama"][0], url=urls[0], **settings))
    reward = load_reward(RewardConfig(name=folders["qwen2"][1], url=urls[1], **settings))
    assert (policy.max_length, reward.max_length) == (223, 256)
    check_policy(policy, truth[0])
    check_samples(policy, truth[0])
    check_reward(reward, truth[1])


def test_what_the_server_refuses_is_said(folders: Folders, urls: list[str]) -> None:
    name, reward_name = folders["llama"][0], folders["qwen2"][1]
    with pytest.raises(ModelError, match=r"serves tiny, not .*served_name"):
        load_policy(PolicyConfig(name=name, engine="server", url=urls[0]))
    settings: Any = {"engine": "server", "served_name": "tiny"}
    policy = load_policy(PolicyConfig(name=name, url=urls[0], **settings))
    with pytest.raises(ModelError, match=r"answered 400: .*maximum"):
        policy.logprobs([([5], [[6] * 300])])
    swapped = load_reward(RewardConfig(name=reward_name, url=urls[0], **settings))
    with pytest.raises(ModelError, match="--runner pooling"):
        swapped.rewards([[[5, 6]]])


def test_score_on_servers_equals_score_here(
    folders: Folders, urls: list[str], tmp_path: Path
) -> None:
    (tmp_path / "seeds.csv").write_text(SEEDS)
    shared = {"score": {"samples": 4, "contrast": {"low": -1}}}
    tables = []
    for engine in ("transformers", "server"):
        config: dict[str, Any] = {**shared}
        for role, name, url in (
            ("policy", folders["llama"][0], urls[0]),
            ("reward", folders["qwen2"][1], urls[1]),
        ):
            own = {"engine": "server", "url": url, "served_name": "tiny"}
            config[role] = {"name": name, **(own if engine == "server" else {"dtype": "float32"})}
        (tmp_path / f"{engine}.yaml").write_text(yaml.safe_dump(config))
        command = ["score", f"{tmp_path}/seeds.csv", "--out", f"{tmp_path}/{engine}.parquet"]
        command += ["--column", "prompt=prompt", "--column", "golden=golden"]
        result = CliRunner().invoke(main, [*command, "--config", f"{tmp_path}/{engine}.yaml"])
        assert result.exit_code == 0, result.output
        tables.append(pq.read_table(tmp_path / f"{engine}.parquet").to_pydict())
    here, there = tables
    assert len(here["id"]) == 6
    for name, values in here.items():
        if isinstance(values[0], float):
            assert there[name] == pytest.approx(values, abs=NATS), name
        else:
            assert there[name] == values, name
    assert max(here["contrast_seam_prob"]) > 0.1
