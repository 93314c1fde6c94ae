"""A server that fails: what is tried again, what is not, and what the error says.

The stand-in is a real HTTP server whose answers are told beforehand; faults cannot be had from a
real one on demand. Agreement with a real one is in test_vllm.py.
"""

import json
import math
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from seamaug.config import PolicyConfig, RewardConfig, load_config
from seamaug.errors import ModelError
from seamaug.identity import models_of
from seamaug.models import client, retries, sender
from seamaug.models.engines import Logprob
from seamaug.models.load import load_policy, load_reward
from seamaug.models.server import ServerPolicy, ServerReward
from seamaug.records import user_message

Answer = tuple[int, Any, dict[str, str]]
PROMPT = [5, 6]


class StandIn:
    """Answers requests with what `faults` holds first, then as a vLLM server would."""

    def __init__(self) -> None:
        self.faults: list[Answer | float] = []
        self.seen: list[tuple[str, Any, dict[str, str]]] = []
        self.change: Callable[[Any], Any] = lambda body: body
        self.at_once = self.most_at_once = 0
        self.slow = 0.0
        self._lock = threading.Lock()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(None)

            def do_POST(self) -> None:
                self._answer(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def _answer(self, body: Any) -> None:
                status, answer, headers = owner.answer(self.path, body, dict(self.headers))
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def answer(self, path: str, body: Any, headers: dict[str, str]) -> Answer:
        with self._lock:
            self.seen.append((path, body, headers))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            fault = self.faults.pop(0) if self.faults and body is not None else None
        try:
            time.sleep(fault if isinstance(fault, float) else self.slow)
            if isinstance(fault, tuple):
                return fault
            return 200, self.change(_as_vllm(path, body)), {}
        finally:
            with self._lock:
                self.at_once -= 1


def _as_vllm(path: str, body: Any) -> Any:
    """The shape of vLLM's answers: each token -1 nat, each conversation its first id."""
    if path == "/v1/models":
        return {"data": [{"id": "tiny", "root": "org/tiny", "max_model_len": 40}]}
    if path == "/classify":
        rows = body["input"]
        data = [{"index": i, "probs": [float(row[0])]} for i, row in enumerate(rows)]
        return {"data": data[::-1], "usage": {"prompt_tokens": sum(map(len, rows))}}
    if "prompt_logprobs" in body:
        found = [
            {
                "index": i,
                "text": "",
                "prompt_logprobs": [None, *({str(t): {"logprob": -1.0}} for t in row[1:])],
            }
            for i, row in enumerate(body["prompt"])
        ]
        return {"choices": found[::-1]}
    texts = [{"index": i, "text": f" {body['seed']} {i} "} for i in range(body["n"])]
    return {"choices": texts}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    monkeypatch.setattr(retries, "PAUSE", 0.01)
    yield from _served()


@pytest.fixture
def other() -> Iterator[StandIn]:
    yield from _served()


def _served() -> Iterator[StandIn]:
    stand_in = StandIn()
    thread = threading.Thread(target=stand_in.http.serve_forever, args=(0.01,))
    thread.start()
    yield stand_in
    stand_in.http.shutdown()
    stand_in.http.server_close()
    thread.join()


def policy(server: StandIn, **changes: Any) -> ServerPolicy:
    settings = {"engine": "server", "url": server.url, "served_name": "tiny", **changes}
    found = load_policy(PolicyConfig(**settings))
    assert isinstance(found, ServerPolicy)
    return found


def reward(server: StandIn, **changes: Any) -> ServerReward:
    settings = {"engine": "server", "url": server.url, "served_name": "tiny", **changes}
    found = load_reward(RewardConfig(**settings))
    assert isinstance(found, ServerReward)
    return found


def total(engine: ServerPolicy, count: int = 3) -> float:
    return engine.logprobs([(PROMPT, [[7] * count])])[0][0].total


def said(run: Callable[[], Any]) -> str:
    with pytest.raises(ModelError) as caught:
        run()
    return str(caught.value)


def test_scores_stay_with_their_rows(server: StandIn) -> None:
    # A budget of ten tokens makes several requests, sent and answered in another order.
    engine = policy(server, batch_tokens=10)
    sets = [([5], [[1], [], [2] * 9, [3] * 4]), ([5, 6], []), ([5, 6, 7], [[4, 4]])]
    assert engine.logprobs(sets) == [
        [Logprob(-1.0, 1), Logprob(0.0, 0), Logprob(-9.0, 9), Logprob(-4.0, 4)],
        [],
        [Logprob(-2.0, 2)],
    ]
    rows = [[[9, 1, 1], [8, 1]], [], [[7] * 9, [6], [5, 5]]]
    model = reward(server, batch_tokens=10)
    assert model.rewards(rows) == [[9.0, 8.0], [], [7.0, 6.0, 5.0]]
    sent = [body for path, body, _ in server.seen if path == "/classify"]
    assert len(sent) > 1
    assert all(body["use_activation"] is False for body in sent)
    assert (engine.max_length, model.max_length) == (39, 40)


def test_nothing_to_score_asks_nothing(server: StandIn) -> None:
    engine = policy(server)
    before = len(server.seen)
    assert engine.logprobs([(PROMPT, [[], []])]) == [[Logprob(0.0, 0), Logprob(0.0, 0)]]
    assert engine.logprobs([]) == []
    assert reward(server).rewards([[]]) == [[]]
    assert [path for path, _, _ in server.seen[before:]] == ["/v1/models"]


def test_a_response_that_is_ruled_out_is_minus_infinity(server: StandIn) -> None:
    def ruled_out(answer: Any) -> Any:
        for choice in answer.get("choices", ()):
            choice["prompt_logprobs"][-1] = {"7": {"logprob": -9999.0}}
        return answer

    engine = policy(server)
    server.change = ruled_out
    assert total(engine) == -math.inf


@pytest.mark.parametrize("status", [429, 408, 500, 503])
def test_a_passing_fault_is_tried_again(server: StandIn, status: int) -> None:
    engine = policy(server)
    server.faults = [(status, {"error": {"message": "busy"}}, {})] * 2
    assert total(engine) == -3.0
    assert len(server.seen) == 4  # the list of models, two faults, the answer


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_is_given_the_time_it_asks_for(server: StandIn, form: str) -> None:
    engine = policy(server)
    # A date is in whole seconds, cut off: this one is one to two seconds away.
    asked = "1" if form == "seconds" else formatdate(time.time() + 2, usegmt=True)
    server.faults = [(429, {}, {"Retry-After": asked})]
    start = time.monotonic()
    assert total(engine) == -3.0
    assert 0.9 < time.monotonic() - start < 4


def test_a_server_may_not_ask_for_ever(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "LONGEST_PAUSE", 0.05)
    engine = policy(server)
    server.faults = [(503, {}, {"Retry-After": "86400"}), (503, {}, {"Retry-After": "soon"})]
    assert total(engine) == -3.0


def test_pauses_grow_and_differ(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "PAUSE", 1.0)

    class State:
        outcome = None

    def pauses(attempt: int) -> list[float]:
        state: Any = State()
        state.attempt_number = attempt
        return [retries.pause(state) for _ in range(50)]

    first, fifth = pauses(1), pauses(5)
    assert len(set(first)) > 40
    assert 0.5 <= min(first) <= max(first) <= 1.5
    assert max(fifth) > 3 * max(first)


def test_a_lasting_fault_ends_the_run_with_its_reason(server: StandIn) -> None:
    engine = policy(server)
    server.faults = [(500, {"error": {"message": "EngineCore\nencountered an issue"}}, {})] * 99
    message = said(lambda: total(engine))
    assert server.url in message
    assert "answered 500: EngineCore encountered an issue (6 attempts)" in message
    assert len(server.seen) == 1 + client.SCORING.attempts


def test_a_wrong_request_is_not_repeated(server: StandIn) -> None:
    engine = policy(server)
    server.faults = [(400, {"error": {"message": "the prompt is too long"}}, {})]
    assert said(lambda: total(engine)).endswith("answered 400: the prompt is too long")
    assert len(server.seen) == 2


def test_an_answer_that_does_not_come(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "SCORING", replace(client.SCORING, timeout=0.1, attempts=2))
    engine = policy(server)
    server.faults = [0.3]
    assert total(engine) == -3.0  # the second attempt is in time
    server.faults = [0.3, 0.3]
    assert "gave no answer within 0.1 s (2 attempts)" in said(lambda: total(engine))


def test_a_server_that_is_not_there_is_named_at_once(server: StandIn) -> None:
    server.http.server_close()
    start = time.monotonic()
    message = said(lambda: policy(server))
    assert f"the policy server {server.url} cannot be reached" in message
    assert "start it (vllm serve tiny) or correct `policy.url`" in message
    assert time.monotonic() - start < 2


def test_a_server_that_goes_away_is_waited_for(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "SCORING", replace(client.SCORING, patience=0.5, attempts=1))
    engine = policy(server)
    server.http.shutdown()
    server.http.server_close()
    message = said(lambda: total(engine))
    assert "cannot be reached" in message
    assert re.search(r"\([0-9]+ attempts\)", message), "as long as patience lasts"


def test_the_first_failure_ends_the_rest(server: StandIn) -> None:
    engine = policy(server, batch_tokens=1)
    server.slow = 0.05
    server.faults = [(400, {"message": "no"}, {})]
    said(lambda: engine.logprobs([(PROMPT, [[7]] * 200)]))
    assert len(server.seen) < 1 + 4 * client.SCORING.in_flight


def test_requests_in_flight_are_few(server: StandIn) -> None:
    engine = policy(server, batch_tokens=1)
    server.slow = 0.02
    engine.logprobs([(PROMPT, [[7]] * 40)])
    assert 1 < server.most_at_once <= client.SCORING.in_flight


@pytest.mark.parametrize(
    "answer",
    [b"<html>a proxy's page</html>", b"", [], {"choices": None}, {"choices": [{"index": 5}]}, 3],
    ids=str,
)
def test_an_answer_of_another_kind(server: StandIn, answer: Any) -> None:
    engine = policy(server)
    server.faults = [(200, answer, {})] * client.SCORING.attempts  # it may have been garbled
    assert f"the policy server {server.url} answered" in said(lambda: total(engine))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (None, "returns no prompt log-probabilities"),
        ([None, {"6": {"logprob": -1}}], "read 2 tokens where 5 were sent"),
        ([None, *[{"8": {"logprob": -1}}] * 4], "no log-probability for a token that"),
        ([None, {"6": {"logprob": -1}}, None, None, None], "no log-probability for a token that"),
        ([None, *[{"7": {"logprob": 3.5}}] * 4], "--logprobs-mode raw_logprobs"),
        ([None, *[{"7": -1.0}] * 4], "not vLLM's"),
        ([None, *[[7]] * 4], "not vLLM's"),
    ],
)
def test_logprobs_of_another_kind(server: StandIn, found: Any, reason: str) -> None:
    engine = policy(server)
    server.faults = [(200, {"choices": [{"index": 0, "prompt_logprobs": found}]}, {})]
    assert reason in said(lambda: total(engine))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"data": [{"index": 0, "probs": [1.0, 2.0]}], "usage": {"prompt_tokens": 2}}, "one score"),
        ({"data": [], "usage": {"prompt_tokens": 0}}, "one score"),
        ({"data": [{"index": 0, "probs": [1.0]}], "usage": {"prompt_tokens": 3}}, "read 3 tokens"),
        ({"data": [{"index": 0, "probs": ["high"]}]}, "something else than scores"),
        ({"detail": "?"}, "something else than scores"),
    ],
)
def test_rewards_of_another_kind(server: StandIn, answer: Any, reason: str) -> None:
    engine = reward(server)
    server.faults = [(200, answer, {})]
    assert reason in said(lambda: engine.rewards([[PROMPT]]))


def test_another_model_is_served(server: StandIn) -> None:
    message = said(lambda: policy(server, served_name="huge"))
    assert "serves tiny, not huge; set `policy.served_name`" in message
    assert "not my-org/model" in said(
        lambda: client.Client(
            RewardConfig(name="my-org/model", engine="server", url=server.url), "reward"
        ).card()
    )


def test_the_wrong_kind_of_server(server: StandIn) -> None:
    engine = reward(server)
    server.faults = [(404, {"detail": "Not Found"}, {})]
    assert "--runner pooling" in said(lambda: engine.rewards([[PROMPT]]))


def test_the_key_is_sent_and_never_shown(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret\n")
    engine = policy(server, api_key_env="MY_KEY")
    assert total(engine) == -3.0
    assert {headers["Authorization"] for _, _, headers in server.seen} == {"Bearer s3cret"}
    server.faults = [(401, {"error": {"message": "wrong key s3cret"}}, {})]
    message = said(lambda: total(engine))
    assert "api_key_env" in message
    server.faults = [(400, {"error": {"message": "wrong key s3cret"}}, {})]
    assert said(lambda: total(engine)).endswith("wrong key ***")
    monkeypatch.delenv("MY_KEY")
    assert "`policy.api_key_env` names is not set" in said(
        lambda: policy(server, api_key_env="MY_KEY")
    )


def test_no_part_of_the_key_is_left_by_a_cut(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret-and-long")
    engine = policy(server, api_key_env="MY_KEY")
    for before in range(280, 301):
        server.faults = [(400, {"error": {"message": "x" * before + "s3cret-and-long"}}, {})]
        assert "s3c" not in said(lambda: total(engine))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(
    server: StandIn, other: StandIn, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """Neither the key nor a prompt goes where the config does not say."""
    monkeypatch.setenv("MY_KEY", "s3cret")
    engine = policy(server, api_key_env="MY_KEY")
    server.faults = [(status, {}, {"Location": f"{other.url}/completions"})]
    assert f"answered {status}" in said(lambda: total(engine))
    assert other.seen == []


def test_an_endless_answer_is_cut(server: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = policy(server)
    monkeypatch.setattr(sender, "_LARGEST", 1 << 20)
    server.faults = [(200, b" " * (2 << 20), {})] * client.SCORING.attempts
    assert "answered with more than 1 MiB (6 attempts)" in said(lambda: total(engine))


def test_samples_follow_from_seed_and_position(server: StandIn) -> None:
    engine = policy(server)
    prompts = [user_message("Hi")] * 2 + [user_message("Hello there. " * 40)]

    def draw(seed: int) -> list[list[str]]:
        return engine.sample(prompts, n=2, seed=seed, max_new_tokens=4)

    first = draw(0)
    assert [len(texts) for texts in first] == [2, 2, 0]
    assert first[0] != first[1]
    assert draw(0) == first
    assert draw(1) != first
    sent = server.seen[-1][1]
    assert (sent["top_k"], sent["repetition_penalty"], sent["temperature"]) == (0, 1.0, 1.0)


def test_what_is_served_is_part_of_the_run(server: StandIn) -> None:
    settings = {f"policy.{key}": value for key, value in _on(server).items()}
    marks = models_of(load_config(None, settings))
    assert marks["policy"]["served"] == "org/tiny"
    assert "device" not in marks["policy"]
    assert "served" not in marks["reward"]


def _on(server: StandIn) -> dict[str, str]:
    return {"engine": "server", "url": server.url, "served_name": "tiny"}


@pytest.mark.parametrize("missing", ["aiohttp", "tenacity"])
def test_a_missing_library_is_named(
    server: StandIn, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert "pip install 'seamaug[server]'" in said(lambda: policy(server))


def test_a_missing_vllm_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    fix = "pip install 'seamaug[vllm]'"
    assert fix in said(lambda: load_policy(PolicyConfig(engine="vllm")))
    assert fix in said(lambda: load_reward(RewardConfig(engine="vllm")))
