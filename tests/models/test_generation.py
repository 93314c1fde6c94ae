"""Each request has one reply, none is paid for twice, and limits hold, also when it is killed."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from seamaug.config import GeneratorConfig
from seamaug.errors import LimitReached, RunFolderError
from seamaug.models import retries
from seamaug.models.engines import FREELY, Leave, Reply, Request
from seamaug.models.generation import COST_LIMIT, TIME_UP, TOKEN_LIMIT, Generation, Limits
from seamaug.models.generator import TransformersGenerator
from seamaug.models.journal import Account, Journal
from seamaug.models.load import load_generator
from seamaug.records import user_message
from tests.models.faulty_server import FaultyServer, words_of

PRICES = {"price_in": 100_000.0, "price_out": 200_000.0}  # a tenth, two tenths of a USD per token


def asked(count: int, operator: str = "op", start: int = 0) -> list[Request]:
    return [
        Request(operator, user_message(f"prompt {i}"), i, 8, 0.8)
        for i in range(start, start + count)
    ]


class Paid:
    """An engine that keeps what it was asked; each reply costs ten tokens in and two out."""

    structured = False
    paid = True
    max_length = None

    def __init__(self, failing: Sequence[str] = (), mark: str = "m") -> None:
        self.failing, self.mark = failing, {"model": mark}
        self.asked: list[str] = []

    def stream(
        self, requests: Sequence[Request], leave: Leave = FREELY
    ) -> Iterator[tuple[int, Reply]]:
        for i, request in reversed(list(enumerate(requests))):
            if not leave.begin([request]):
                return
            prompt = request.messages[0]["content"]
            self.asked.append(prompt)
            failed = prompt in self.failing
            yield i, Reply(error="no") if failed else Reply(f"to {prompt}", "", False, 10, 2)


def generation(
    engine: Any, path: Path | None = None, limits: Limits | None = None, **prices: float
) -> Generation:
    return Generation(engine, GeneratorConfig(**prices), Journal(path), limits)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "stages" / "replies.sqlite"


# --- journal


def test_what_is_stored_is_not_asked_for_again(path: Path) -> None:
    first, second = Paid(), Paid()
    before = generation(first, path)
    replies = before.write(asked(5))
    assert [reply.text for reply in replies] == [f"to prompt {i}" for i in range(5)]
    before.close()
    after = generation(second, path)
    assert after.write(asked(8)) == [*replies, *after.write(asked(3, start=5))]
    assert sorted(second.asked) == ["prompt 5", "prompt 6", "prompt 7"]
    assert after.accounts["op"] == {
        "requests": 8, "prompt_tokens": 80, "new_tokens": 16, "cost": None, "replayed": 8,
        "unreadable": 0, "failed": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"messages": user_message("prompt")},
        {"messages": [{"role": "system", "content": "x"}, *user_message("prompt 0")]},
        {"seed": 1},
        {"max_new_tokens": 9},
        {"temperature": 0.9},
        {"schema": {"type": "object"}},
        {"mark": "other model"},
    ],
    ids=str,
)
def test_whatever_decides_a_reply_decides_its_key(path: Path, change: dict[str, Any]) -> None:
    own = generation(Paid(), path)
    own.write(asked(1))
    own.close()
    engine = Paid(mark=change.pop("mark", "m"))
    (request,) = asked(1)
    fields = {name: getattr(request, name) for name in Request.__dataclass_fields__}
    generation(engine, path).write([Request(**{**fields, **change})])
    assert len(engine.asked) == 1


def test_equal_requests_are_asked_once_and_all_have_the_reply() -> None:
    engine = Paid()
    replies = generation(engine).write([*asked(2), *asked(2), *asked(1, operator="other")])
    assert [reply.text[-1] for reply in replies] == ["0", "1", "0", "1", "0"]
    assert len(engine.asked) == 2


def test_a_failure_is_not_stored_and_counted(path: Path) -> None:
    own = generation(Paid(failing=["prompt 1"]), path)
    assert [reply.error for reply in own.write(asked(3))] == ["", "no", ""]
    assert (own.accounts["op"]["requests"], own.accounts["op"]["failed"]) == (2, 1)
    own.close()
    engine = Paid()
    assert [reply.error for reply in generation(engine, path).write(asked(3))] == ["", "", ""]
    assert engine.asked == ["prompt 1"]


def test_what_came_to_nothing_is_counted_over_the_whole_run(path: Path) -> None:
    """By request: one that is asked or read again in another process counts once."""

    def problems(own: Generation) -> tuple[int, int]:
        return own.accounts["op"]["unreadable"], own.accounts["op"]["failed"]

    own = generation(Paid(failing=["prompt 1", "prompt 2"]), path)
    own.write(asked(4))
    own.mark_unreadable(asked(1))
    assert problems(own) == (1, 2)
    own.close()
    again = generation(Paid(failing=["prompt 1"]), path)
    assert problems(again) == (1, 2)
    again.write(asked(4))
    again.mark_unreadable([*asked(1), *asked(1, start=3)])
    assert problems(again) == (2, 1)


def test_replies_of_a_local_model_are_accounted_and_made_anew(path: Path) -> None:
    engine = Paid()
    engine.paid = False
    own = generation(engine, path)
    assert own.write(asked(3)) == own.write(asked(3))
    assert len(engine.asked) == 6
    assert own.accounts["op"]["requests"] == 3, "as in a run that was not interrupted"


@pytest.mark.parametrize(
    "text", ["", "日本 🙂 \x00 \u2028 '; DROP TABLE replies; --", "x" * 100_000]
)
def test_any_reply_is_stored_as_it_is(path: Path, text: str) -> None:
    reply = Reply(text, "", True, 3, 4)
    journal = Journal(path)
    journal.add("key", "op", reply)
    journal.close()
    again = Journal(path)
    assert again.replies(["key", "none"]) == {"key": reply}
    assert again.accounts == {"op": Account(1, 3, 4)}
    assert again.total == Account(1, 3, 4)


def test_more_keys_than_one_query_takes(path: Path) -> None:
    journal = Journal(path)
    for i in range(1200):
        journal.add(str(i), "op", Reply(str(i)))
    assert len(journal.replies([str(i) for i in range(1300)])) == 1200


@pytest.mark.parametrize("part", ["whole", "middle"])
def test_a_damaged_journal_is_named_with_the_fix(path: Path, part: str) -> None:
    journal = Journal(path)
    for i in range(2000):
        journal.add(str(i), "op", Reply("text " * 20))
    journal.close()
    data = path.read_bytes()
    path.write_bytes(b"rubbish" * 999 if part == "whole" else data[:5000] + bytes(len(data) - 5000))
    with pytest.raises(RunFolderError) as caught:
        Journal(path).replies([str(i) for i in range(2000)])
    assert f"{path} is damaged" in str(caught.value)
    assert "delete it and run the same command again" in str(caught.value)


@pytest.mark.parametrize("to", [b"T", b"\xff"])
def test_a_flipped_bit_in_a_reply_is_found(path: Path, to: bytes) -> None:
    journal = Journal(path)
    for i in range(10):
        journal.add(str(i), "op", Reply(f"some text {i}"))
    journal.close()
    data = path.read_bytes()
    assert data.count(b"some text 7") == 1
    path.write_bytes(data.replace(b"some text 7", b"some " + to + b"ext 7"))
    again = Journal(path)
    assert len(again.replies(["6", "8"])) == 2
    with pytest.raises(RunFolderError, match="the checksum of a reply is wrong"):
        again.replies(["6", "7"])
    again.close()


def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(RunFolderError, match=r"folder\.sqlite"):
        Journal(tmp_path / "folder.sqlite")


# --- limits and prices


@pytest.mark.parametrize(
    ("limits", "outcome", "option"),
    [
        # A prompt of 8 bytes may be 72 tokens with its template, and its reply 8: 8.80 USD.
        (Limits(tokens=139), TOKEN_LIMIT, "80 tokens; with a higher `max_tokens`"),
        (Limits(cost=15.7), COST_LIMIT, "80 tokens; with a higher `max_cost`"),
    ],
)
def test_a_limit_ends_the_asking_and_loses_nothing(
    path: Path, limits: Limits, outcome: str, option: str
) -> None:
    engine = Paid()
    own = generation(engine, path, limits, **PRICES)
    with pytest.raises(LimitReached) as caught:
        own.write(asked(9))
    assert caught.value.outcome == outcome
    assert caught.value.exit_code == 3
    assert "took 60 tokens, 7.00 USD, and the next request may take " + option in str(caught.value)
    assert len(engine.asked) == 5
    assert own.accounts["op"]["cost"] == pytest.approx(7.0)
    own.close()
    more = Paid()
    higher = generation(more, path, Limits(tokens=10_000), **PRICES)
    assert [reply.error for reply in higher.write(asked(9))] == [""] * 9
    assert sorted([*more.asked, *engine.asked]) == [f"prompt {i}" for i in range(9)]


def test_time_ends_the_asking_too(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Paid()
    monkeypatch.setattr("seamaug.models.generation.time.monotonic", lambda: len(engine.asked))
    own = generation(engine, path, Limits(deadline=3))
    with pytest.raises(LimitReached, match=r"36 tokens; the same command goes on") as caught:
        own.write(asked(9))
    assert caught.value.outcome == TIME_UP
    assert len(engine.asked) == 3
    own.close()
    assert len(generation(Paid(), path).write(asked(9))) == 9


def test_what_is_in_the_journal_needs_no_limit(path: Path) -> None:
    own = generation(Paid(), path)
    replies = own.write(asked(4))
    own.close()
    engine = Paid()
    limited = generation(engine, path, Limits(tokens=1))
    assert limited.write(asked(4)) == replies
    with pytest.raises(LimitReached):
        limited.write(asked(5))
    assert not engine.asked


def test_accounts_are_by_operator() -> None:
    own = generation(Paid(failing=["prompt 7"]), **PRICES)
    own.write([*asked(3, "paraphrase"), *asked(1, "worse", start=5), *asked(1, "judge", start=7)])
    assert {name: account["requests"] for name, account in own.accounts.items()} == {
        "judge": 0,
        "paraphrase": 3,
        "worse": 1,
    }
    assert own.accounts["paraphrase"]["cost"] == pytest.approx(3 * 1.4)
    assert own.accounts["judge"]["failed"] == 1


@pytest.mark.parametrize("in_flight", [1, 7, 64])
def test_many_in_flight_never_take_more_than_the_limit(path: Path, in_flight: int) -> None:
    """And what is answered until then follows from what the requests take, not from their order of
    arrival: it ends at the first one that might take more than is left."""
    limit, most = 4000, (10 + 2 * 32) + 8
    with FaultyServer(latency=0.01) as server:
        server.chars_per_token, server.reply = 1, lambda body: "so many words"
        config = GeneratorConfig(
            name="served", engine="server", url=server.url, structured=False, in_flight=in_flight
        )
        limits = Limits(tokens=limit)
        own = Generation(load_generator(config), config, Journal(path), limits)
        requests = asked(900, start=100)  # each takes 10 tokens to read, and 3 to write
        with pytest.raises(LimitReached):
            own.write(requests)
        assert server.most_at_once <= in_flight
        del server.replied["Say hello."]
        account = own.accounts["op"]
        taken = account["prompt_tokens"] + account["new_tokens"]
        assert taken == 13 * account["requests"] == 13 * server.replied.total()
        assert limit - most < taken <= limit
        assert server.replied.keys() == {f"prompt {100 + i}" for i in range(account["requests"])}


@pytest.mark.parametrize("fault", ["slow", "429 later"])
def test_time_does_not_wait_for_what_is_in_flight(
    path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Whether a request waits for its answer, its turn or its next attempt: none is lost."""
    monkeypatch.setattr("seamaug.models.generation.GRACE", 0.2)
    monkeypatch.setattr("tests.models.faulty_server.SLOW", 3600.0)
    with FaultyServer() as server:
        server.fault = lambda prompt, attempt: fault if prompt[-1] in "789" else ""
        config = GeneratorConfig(
            name="served", engine="server", url=server.url, structured=False, in_flight=4
        )
        engine = load_generator(config)
        begun = time.monotonic()
        own = Generation(engine, config, Journal(path), Limits(deadline=begun + 1))
        with pytest.raises(LimitReached) as caught:
            own.write(asked(40))
        assert time.monotonic() - begun < 60, "it waits as long as `timeout` or `patience` say"
        assert caught.value.outcome == TIME_UP
        account = own.accounts["op"]
        assert (account["requests"], account["failed"]) == (server.replied.total() - 1, 0)
        own.close()
        server.fault = lambda prompt, attempt: ""
        again = Generation(engine, config, Journal(path))
        assert [reply.error for reply in again.write(asked(40))] == [""] * 40
        assert again.accounts["op"]["replayed"] == account["requests"]
        assert set(server.replied.values()) == {1}, "something was paid for twice, or not at all"


# --- transformers


@pytest.fixture(scope="module")
def local(saved: Callable[..., str]) -> TransformersGenerator:
    engine = load_generator(GeneratorConfig(name=saved("llama", "causal"), dtype="float32"))
    assert isinstance(engine, TransformersGenerator)
    return engine


def test_the_log_tells_that_a_local_model_works(
    local: TransformersGenerator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests = [Request("op", user_message(f"prompt {i}"), i, 100, 0.8) for i in range(4)]
    monkeypatch.setattr(local._lm._sampling, "tokens", 1)  # one after the other
    with caplog.at_level("INFO", "seamaug"):
        monkeypatch.setattr("seamaug.models.heartbeat.HEARTBEAT", 3600.0)
        list(local.stream(requests))
        assert not caplog.messages, "it takes less than a heartbeat"
        monkeypatch.setattr("seamaug.models.heartbeat.HEARTBEAT", 0.001)
        list(local.stream(requests))
    line = re.compile(
        r"the generator model has been at work for .+ s: (.) of 4 responses are written"
    )
    found = [line.fullmatch(message) for message in caplog.messages]
    assert {match and match[1] for match in found} >= {"0", "1", "2", "3"}, caplog.messages
    assert "seamaug heartbeat" not in {thread.name for thread in threading.enumerate()}


def test_a_local_model_answers_each_request_by_its_settings(local: TransformersGenerator) -> None:
    long = Request("op", user_message("word " * 400), 0, 4, 0.8)
    requests = [
        *asked(3),
        long,
        *(Request("op", user_message(f"prompt {i}"), i, 3, 0.1) for i in range(2)),
    ]
    replies = dict(local.stream(requests))
    assert sorted(replies) == list(range(6))
    assert replies[3].error.startswith("prompt too long: ")
    assert replies[3].error.endswith("tokens and 4 for the reply, of 256 at most")
    for i, new in ((0, 8), (1, 8), (2, 8), (4, 3), (5, 3)):
        reply = replies[i]
        assert not reply.error
        assert reply.prompt_tokens == len(local._lm.prompt_ids(requests[i].messages))
        assert 0 < reply.new_tokens <= new
        assert reply.cut == (reply.new_tokens == new)
    assert dict(local.stream(requests)) == replies
    other = [Request("op", r.messages, r.seed + 1, 8, 0.8) for r in requests[:3]]
    assert dict(local.stream(other)) != {i: replies[i] for i in range(3)}


def test_a_reply_that_ends_by_itself_is_not_cut(local: TransformersGenerator) -> None:
    ends = local._lm.ends
    assert ends == {1}
    assert local._lm._up_to_the_end([5, 1, 0, 0]) == [5, 1]
    assert local._lm._up_to_the_end([5, 6, 7]) == [5, 6, 7]


# --- killed

CHILD = """
import json, sys
from pathlib import Path
from seamaug.config import GeneratorConfig
from seamaug.models.engines import Request
from seamaug.models.generation import Generation
from seamaug.models.journal import Journal
from seamaug.models.load import load_generator
from seamaug.records import user_message

url, journal, count, out = sys.argv[1:]
config = GeneratorConfig(name="served", engine="server", url=url, structured=False, in_flight=8)
requests = [
    Request("op", user_message(f"prompt {i}"), i, 8, 0.8) for i in range(int(count))
]
generation = Generation(load_generator(config), config, Journal(Path(journal)))
replies = generation.write(requests)
Path(out).write_text(json.dumps([reply.text for reply in replies]))
print(json.dumps(generation.accounts))
"""


def test_killed_at_any_point_it_goes_on_and_pays_for_nothing_twice(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "PAUSE", 0.01)
    count, out = 160, tmp_path / "out.json"
    with FaultyServer(latency=0.01) as server:
        server.fault = lambda prompt, attempt: "500" if attempt == 0 and prompt[-1] == "7" else ""
        command = [sys.executable, "-c", CHILD, server.url, str(path), str(count), str(out)]
        stored: set[str] = set()
        for kill_after in (30, 60):
            with subprocess.Popen(command) as process:
                server.wait_for(server.replied.total() + kill_after)
                process.send_signal(signal.SIGKILL)
            journal = Journal(path)
            stored = {text for (text,) in journal._db.execute("SELECT text FROM replies")}
            journal.close()
            asked_before, known = server.asked.copy(), _prompts_of(server, stored)
            assert len(known) == len(stored) > 10
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert {p for p in known if server.asked[p] > asked_before[p]} == set()
        del server.asked["Say hello."], server.replied["Say hello."]
        assert server.replied.keys() == {f"prompt {i}" for i in range(count)}
        # What was under way when it was killed, twice, was never stored.
        assert server.replied.total() - count <= 2 * (2 * 8)
        wanted = [words_of(_body_of(server, f"prompt {i}")) for i in range(count)]
    assert json.loads(out.read_text()) == wanted
    account = json.loads(done.stdout)["op"]
    assert account["requests"] == count
    assert account["replayed"] == len(stored)


def _prompts_of(server: FaultyServer, texts: set[str]) -> set[str]:
    return {body["messages"][0]["content"] for body in server.bodies if words_of(body) in texts} - {
        "Say hello."
    }


def _body_of(server: FaultyServer, prompt: str) -> dict[str, Any]:
    return next(body for body in server.bodies if body["messages"][0]["content"] == prompt)
