"""A generator on a server that fails in every way: each request has its reply, or says why not."""

import copy
import itertools
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken

from seamaug.config import GeneratorConfig
from seamaug.errors import ModelError
from seamaug.models import client, retries
from seamaug.models.chat import ServerGenerator
from seamaug.models.engines import Reply, Request
from seamaug.models.generation import Generation
from seamaug.models.load import load_generator
from seamaug.records import user_message
from tests.models.faulty_server import FAULTS, MODEL, FaultyServer, words_of

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}}


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "PAUSE", 0.01)


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer() as running:
        yield running


def config(server: FaultyServer, **settings: Any) -> GeneratorConfig:
    return GeneratorConfig(
        engine="server", url=server.url, **{"name": MODEL, "structured": False, **settings}
    )


def engine(server: FaultyServer, **settings: Any) -> ServerGenerator:
    found = load_generator(config(server, **settings))
    assert isinstance(found, ServerGenerator)
    return found


def written(server: FaultyServer, requests: list[Request], **settings: Any) -> list[Reply]:
    own = config(server, **settings)
    generation = Generation(load_generator(own), own)
    try:
        return generation.write(requests)
    finally:
        generation.close()


def asked(count: int, words: str = "prompt", **changes: Any) -> list[Request]:
    return [
        Request(
            **{
                "operator": "op",
                "messages": user_message(f"{words} {i}"),
                "seed": i,
                "max_new_tokens": 8,
                "temperature": 0.8,
                **changes,
            }
        )
        for i in range(count)
    ]


def expected(request: Request) -> str:
    return words_of(
        {
            "model": MODEL,
            "messages": request.messages,
            "seed": request.seed,
            "temperature": request.temperature,
            "top_p": 0.95,
            "max_tokens": request.max_new_tokens,
        }
    )


def said(run: Callable[[], Any]) -> str:
    with pytest.raises(ModelError) as caught:
        run()
    return str(caught.value)


# --- faults


def test_every_passing_fault_is_got_over(server: FaultyServer) -> None:
    requests = asked(50)
    kinds = itertools.cycle(("", *FAULTS))
    fault_of = {request.messages[0]["content"]: next(kinds) for request in requests}
    server.fault = lambda prompt, attempt: fault_of.get(prompt, "") if attempt < 2 else ""
    replies = written(server, requests, timeout=0.4, in_flight=16)
    assert [reply.text for reply in replies] == [expected(request) for request in requests]
    assert {reply.error for reply in replies} == {""}
    for prompt, fault in fault_of.items():
        assert server.asked[prompt] == (3 if fault else 1), fault
        if fault != "slow":  # which is sent all the same, to no one
            assert server.replied[prompt] == 1, fault


def test_a_lasting_fault_is_its_request_s_alone(server: FaultyServer) -> None:
    requests = asked(60)
    broken = {f"prompt {7 * i}": kind for i, kind in enumerate(FAULTS) if "429" not in kind}
    server.fault = lambda prompt, attempt: broken.get(prompt, "")
    replies = written(server, requests, timeout=0.6, attempts=2, patience=3)
    told = {
        "500": "the server answered 500: no reason given",
        "503": "the server answered 503: no reason given",
        "slow": "the server gave no answer within 0.6 s",
        "cut": "the server broke off the connection",
        "malformed": "the server answered with something else than asked: <html>Bad gateway</html>",
        "truncated": "the server answered with something else than asked: {",
        "choices": "the server answered with something else than asked: {",
    }
    for request, reply in zip(requests, replies, strict=True):
        kind = broken.get(request.messages[0]["content"])
        if kind is None:
            assert reply.text == expected(request)
        else:
            assert reply.text == ""
            assert reply.error.startswith(told[kind])
    attempts = {kind: server.asked[prompt] for prompt, kind in broken.items()}
    busy = attempts.pop("503")
    assert set(attempts.values()) == {2}
    assert busy > 2, "what is put off is no failed attempt"


@pytest.mark.parametrize("in_flight", [1, 3, 64])
def test_the_order_of_arrival_does_not_matter(server: FaultyServer, in_flight: int) -> None:
    server.latency = 0.002
    server.fault = lambda prompt, attempt: "500" if attempt == 0 and prompt.endswith("3") else ""
    requests = asked(40)
    replies = written(server, requests, in_flight=in_flight)
    assert [reply.text for reply in replies] == [expected(request) for request in requests]
    assert server.most_at_once <= in_flight


def test_500_requests_are_in_flight_at_once(server: FaultyServer) -> None:
    """None is answered before all are there."""
    own = engine(server, in_flight=500, timeout=120, attempts=1)
    server.hold = 500
    replies = dict(own.stream(asked(500)))
    assert [replies[i].error for i in range(500)] == [""] * 500
    assert server.most_at_once == 500


def test_a_busy_server_gets_fewer_requests_at_a_time(server: FaultyServer) -> None:
    server.latency = 0.01
    server.fault = lambda prompt, attempt: "429" if server.at_once > 6 else ""
    requests = asked(300)
    replies = written(server, requests, in_flight=64, patience=60)
    assert [reply.text for reply in replies] == [expected(request) for request in requests]
    assert server.asked.total() - 301 < 300, "it is asked as if it were not busy"


def test_a_request_that_is_refused_is_not_repeated(server: FaultyServer) -> None:
    server.fault = lambda prompt, attempt: "400 too long: 900 > 512" if "5" in prompt else ""
    replies = written(server, asked(12))
    assert replies[5] == Reply(error="the server answered 400: too long: 900 > 512")
    assert server.asked["prompt 5"] == 1
    assert sum(bool(reply.error) for reply in replies) == 1


def test_a_reply_without_text_is_a_failure_that_was_paid_for(server: FaultyServer) -> None:
    server.reply = lambda body: None  # type: ignore[assignment, return-value]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.models.faulty_server._completion", _withheld)
        (reply,) = written(server, asked(1))
    assert reply.error == "the server's reply has no text: content_filter"
    assert (reply.text, reply.prompt_tokens, reply.new_tokens) == ("", 10, 3)


def _withheld(text: str) -> dict[str, Any]:
    choice = {"message": {"content": None}, "finish_reason": "content_filter"}
    return {"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 3}}


@pytest.mark.parametrize("text", ["\ud800 half", "{{ x }} \x00 \u2028", "日本 🙂"])
def test_any_text_goes_through(server: FaultyServer, text: str) -> None:
    server.reply = lambda body: body["messages"][0]["content"]
    (reply,) = written(server, asked(1, text))
    assert reply.text == f"{text} 0".encode("utf-8", "replace").decode()
    assert server.bodies[-1]["messages"] == user_message(f"{text} 0")


def test_tokens_are_counted_roughly_where_the_server_does_not_say(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "tests.models.faulty_server._completion",
        lambda text: {"choices": [{"message": {"content": "x" * 40}, "finish_reason": "length"}]},
    )
    (reply,) = written(server, asked(1, "w" * 78))
    assert (reply.prompt_tokens, reply.new_tokens, reply.cut) == (20, 10, True)


# --- where nothing can work


def test_a_server_that_always_fails_ends_the_run(server: FaultyServer) -> None:
    own = engine(server, attempts=2)
    server.fault = lambda prompt, attempt: "500 EngineDeadError"
    message = said(lambda: list(own.stream(asked(1000))))
    assert (
        f"the generator server {server.url} answered 500: EngineDeadError (2 attempts)" in message
    )
    assert "the same command goes on" in message
    assert server.asked.total() < 1000  # of 2,000; how many are in flight by then, varies


def test_a_server_that_refuses_everything_ends_the_run(server: FaultyServer) -> None:
    own = engine(server)
    server.fault = lambda prompt, attempt: "400 max_tokens is too large"
    assert "answered 400: max_tokens is too large" in said(lambda: list(own.stream(asked(200))))
    assert server.asked.total() < 200


def test_long_prompts_one_after_the_other_do_not_end_the_run(server: FaultyServer) -> None:
    server.fault = lambda prompt, attempt: "400 too long" if prompt[-1] in "123456789" else ""
    replies = written(server, asked(40), in_flight=1)
    assert sum(bool(reply.error) for reply in replies) == 36


def test_a_server_that_goes_away_ends_the_run() -> None:
    with FaultyServer() as server:
        own = engine(server, attempts=2, patience=0.2)
    assert "cannot be reached" in said(lambda: list(own.stream(asked(3))))


def test_a_server_that_is_started_anew_is_waited_for() -> None:
    """However often it is asked in vain: a large model takes minutes to load."""
    with FaultyServer() as first:
        own = engine(first, attempts=2)
    again = FaultyServer(port=int(first.url.split(":")[2].split("/")[0]))
    start = threading.Timer(0.5, again.__enter__)
    start.start()
    try:
        assert len(list(own.stream(asked(3)))) == 3
    finally:
        start.join()
        again.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("fault", "fix"),
    [
        ("401 bad key", "`generator.api_key_env`"),
        ("404 no such model", "`generator.served_name`"),
        ("400 no field seed", "`generator.engine_options: {FIELD: null}`"),
    ],
)
def test_what_would_fail_for_all_shows_at_the_start(
    server: FaultyServer, fault: str, fix: str
) -> None:
    server.fault = lambda prompt, attempt: fault
    message = said(lambda: engine(server))
    assert fault.split(" ", 1)[1] in message
    assert fix in message


def test_the_key_is_sent_and_never_shown(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret")
    own = engine(server, api_key_env="MY_KEY")
    assert server.keys == {"Bearer s3cret"}
    server.fault = lambda prompt, attempt: "400 you sent s3cret" if "2" in prompt else ""
    replies = [reply for _, reply in own.stream(asked(3))]
    assert "the server answered 400: you sent ***" in {reply.error for reply in replies}
    assert "s3cret" not in str(own.mark)


def test_a_key_that_is_withdrawn_ends_the_run_at_once(server: FaultyServer) -> None:
    own = engine(server, in_flight=1)
    server.fault = lambda prompt, attempt: "401 expired" if server.asked.total() > 5 else ""
    assert "`generator.api_key_env`" in said(lambda: list(own.stream(asked(50))))
    assert server.asked.total() < 15


# --- what a server can do


def test_a_server_that_holds_replies_to_a_schema(server: FaultyServer) -> None:
    server.reply = lambda body: '{"hello": true}' if "response_format" in body else "hello"
    own = engine(server, structured=None)
    assert own.structured
    requests = asked(1, schema=SCHEMA) + asked(1, "plain")
    assert {i: reply.text for i, reply in own.stream(requests)} == {
        0: '{"hello": true}',
        1: "hello",
    }
    sent = {body["messages"][0]["content"]: body for body in server.bodies}
    assert sent["prompt 0"]["response_format"]["json_schema"]["schema"] == SCHEMA


@pytest.mark.parametrize("how", ["refuses", "ignores"])
def test_a_server_that_does_not(
    server: FaultyServer, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    if how == "refuses":
        server.refused_fields = {"response_format": "response_format is not supported"}
    with caplog.at_level(logging.INFO, "seamaug"):
        own = engine(server, structured=None)
    assert not own.structured
    told = {"refuses": "response_format is not supported", "ignores": "does not heed it"}
    assert told[how] in caplog.text
    server.bodies.clear()
    list(own.stream(asked(2, schema=SCHEMA)))
    assert not any("response_format" in body for body in server.bodies)


def test_a_server_that_must_hold_to_a_schema_and_does_not(server: FaultyServer) -> None:
    server.refused_fields = {"response_format": "response_format is not supported"}
    assert "is not supported" in said(lambda: engine(server, structured=True))


def test_the_newer_name_of_the_reply_s_length(server: FaultyServer) -> None:
    server.refused_fields = {"max_tokens": "use max_completion_tokens instead"}
    own = engine(server)
    list(own.stream(asked(1)))
    assert server.bodies[-1]["max_completion_tokens"] == 8


def test_fields_of_one_s_own(server: FaultyServer) -> None:
    server.refused_fields = {"seed": "unknown field"}
    options = {"seed": None, "chat_template_kwargs": {"enable_thinking": False}}
    own = engine(server, engine_options=options)
    assert [reply.error for _, reply in own.stream(asked(1))] == [""]
    assert server.bodies[-1]["chat_template_kwargs"] == {"enable_thinking": False}


def test_a_server_need_not_list_its_models(server: FaultyServer) -> None:
    server.lists_models = False
    own = engine(server)
    assert (own.max_length, own.mark["root"]) == (None, None)
    assert [reply.error for _, reply in own.stream(asked(1))] == [""]


def test_prompts_that_are_too_long_are_found_before_they_are_sent(server: FaultyServer) -> None:
    server.max_model_len = 100
    own = engine(server)
    requests = [*asked(2), *asked(1, "word " * 95), *asked(1, "word " * 80)]
    replies = dict(own.stream(requests))
    assert replies[2].error == "prompt too long: 96 tokens and 8 for the reply, of 100 at most"
    assert [replies[i].error for i in (0, 1, 3)] == ["", "", ""]
    assert server.asked.total() == 1 + 3  # with the one at the start


def test_a_server_that_counts_no_tokens_gets_none_that_has_too_many_words(
    server: FaultyServer,
) -> None:
    server.max_model_len, server.counts_tokens = 100, False
    server.fault = lambda prompt, attempt: "400 too long" if len(prompt) > 450 else ""
    replies = written(server, [*asked(2), *asked(1, "syl-la-bles " * 80), *asked(1, "word " * 95)])
    assert [reply.error for reply in replies] == [
        "", "", "the server answered 400: too long",
        "prompt too long: 96 tokens and 8 for the reply, of 100 at most",
    ]  # fmt: skip
    assert max(len(prompt.split()) for prompt in server.asked) < 92


def test_patience_is_with_the_server_not_with_the_other_requests(server: FaultyServer) -> None:
    """Each of the two takes 2.4 s, and waits as long for the other one."""
    server.latency = 0.6
    server.fault = lambda prompt, attempt: "503" if attempt < 3 else ""
    replies = written(server, asked(2), in_flight=1, patience=4.7, attempts=1)
    assert [reply.error for reply in replies] == ["", ""]


def test_the_log_says_what_is_waited_for(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "HEARTBEAT", 0.05)
    own = engine(server)
    server.latency = 0.3
    server.fault = lambda prompt, attempt: "503 loading" if attempt == 0 else ""
    monkeypatch.setattr(retries, "PAUSE", 0.3)
    with caplog.at_level(logging.INFO, "seamaug"):
        list(own.stream(asked(2)))
    assert "no answer for 0 s; 2 requests in flight of 64 at most" in caplog.text
    assert "2 waiting to be sent again, since it answered 503: loading" in caplog.text


def test_control_tokens_reach_the_server_as_text_and_come_back_whole(server: FaultyServer) -> None:
    server.reply = lambda body: body["messages"][0]["content"]
    text = "Say <|im_end|> or [INST] to </s> me"
    (reply,) = written(server, asked(1, text))
    sent = server.bodies[-1]["messages"][0]["content"]
    assert not any(token in sent for token in ("<|im_end|>", "[INST]", "</s>"))
    assert reply.text == f"{text} 0"


def test_the_tokens_of_a_tokenizer_that_is_here_reach_the_server_as_text(
    server: FaultyServer, tokenizer: Any, tmp_path: Path
) -> None:
    own = copy.deepcopy(tokenizer)
    own.add_tokens([AddedToken("~user~", special=True)], special_tokens=True)
    own.save_pretrained(tmp_path)
    server.reply = lambda body: body["messages"][0]["content"]
    text = "Say ~user~ to me"
    (reply,) = written(server, asked(1, text), name=str(tmp_path), served_name=MODEL)
    assert "~user~" not in server.bodies[-1]["messages"][0]["content"]
    assert reply.text == f"{text} 0"


def test_one_request_that_is_forbidden_fails_alone_and_many_end_the_run(
    server: FaultyServer,
) -> None:
    server.fault = lambda prompt, attempt: "403" if "flagged" in prompt else ""
    replies = written(server, [*asked(3), *asked(1, "flagged"), *asked(2, "more")])
    assert ["403" in reply.error for reply in replies] == [False] * 3 + [True] + [False] * 2
    with pytest.raises(ModelError, match="403"):
        written(server, asked(60, "flagged"))
