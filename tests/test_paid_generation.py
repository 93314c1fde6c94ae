"""The whole flow with an LLM on a server: limits, accounts, kill -9, and nothing paid twice."""

import json
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from seamaug import expand, score, select
from seamaug.cli import main
from seamaug.errors import ConfigError, LimitReached
from seamaug.models.generation import TOKEN_LIMIT
from seamaug.rounds import BUDGET_MET, RAN_OUT
from tests.models.faulty_server import MODEL, FaultyServer, rewrite, words_of

OUTPUTS = ("README.md", "provenance.parquet", "sft/train.parquet", "preference/train.parquet")


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    with FaultyServer(reply=rewrite) as running:
        running.chars_per_token = 4
        yield running


def command_in(folder: Path, url: str, rows: list[dict[str, Any]]) -> list[str]:
    """`seamaug expand` of a few seeds, less the run folder."""
    (folder / "seeds.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = {
        "score": {"batch_seeds": 8, "samples": 4},
        "select": {"share": 0.4},
        "generate": {
            "batch_parents": 2,
            "per_round": 3,
            "per_parent": 6,
            "policy_max_new_tokens": 4,
            "operators": ["paraphrase", "typos"],
        },
        "verify": {"min_similarity": -1},
        "generator": {
            "name": MODEL,
            "engine": "server",
            "url": url,
            "structured": False,
            "in_flight": 4,
            "price_in": 100,
            "price_out": 1000,
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return ["expand", f"{folder}/seeds.jsonl", "--config", f"{folder}/config.yaml",
            "--budget", "20"]  # fmt: skip


@pytest.fixture
def command(server: FaultyServer, tmp_path: Path, bundled: Any) -> list[str]:
    return command_in(tmp_path, server.url, bundled(24))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, bundled: Any) -> tuple[Path, Counter[str]]:
    """A run that nothing interrupted, and what it asked for."""
    folder = tmp_path_factory.mktemp("whole")
    with FaultyServer(reply=rewrite) as running:
        running.chars_per_token = 4
        result = run(command_in(folder, running.url, bundled(24)), folder / "run")
        assert result.exit_code in (0, 3), result.output
        return folder / "run", paid(running)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in OUTPUTS}


def run(command: list[str], out: Path, *options: str) -> Any:
    return CliRunner().invoke(main, [*command, "--out", str(out), *options])


def paid(server: FaultyServer) -> Counter[str]:
    """The requests that it was sent, less those by which a process makes sure of it."""
    sent = [body for body in server.bodies if body["messages"][0]["content"] != "Say hello."]
    return Counter(words_of(body) for body in sent)


def test_a_limit_pauses_the_run_and_a_higher_one_goes_on(
    command: list[str], server: FaultyServer, tmp_path: Path, whole: tuple[Path, Counter[str]]
) -> None:
    folder, everything = whole
    summary = json.loads((folder / "run.json").read_text())
    assert summary["outcome"] in (BUDGET_MET, RAN_OUT)
    accounts = summary["generation"]
    assert {"paraphrase", "golden_rewrite", "worse_by_aspect"} <= accounts.keys()
    assert sum(account["requests"] for account in accounts.values()) == everything.total()
    total = sum(account["prompt_tokens"] + account["new_tokens"] for account in accounts.values())
    cost = sum(account["cost"] for account in accounts.values())
    assert "| paraphrase | " in (folder / "README.md").read_text()

    # In the parents' stage, then among the candidates, then not at all.
    mine = tmp_path / "mine"
    for limits in (
        ["--max-tokens", str(total // 6)],
        ["--max-cost", f"{cost * 0.8:.6f}"],
    ):
        paused = run(command, mine, *limits)
        assert paused.exit_code == 3, paused.output
        stored = json.loads((mine / "run.json").read_text())
        assert stored["outcome"].endswith("limit reached")
        assert stored["outcome"] in paused.output
        assert paid(server).total() < everything.total()
    assert run(command, mine, "--max-tokens", "1M").exit_code in (0, 3)
    assert contents(mine) == contents(folder)
    assert paid(server) == everything, "something was paid for twice, or not at all"
    assert "LLM operator" in CliRunner().invoke(main, ["show", str(mine)]).output


def test_a_limit_reached_while_scoring_is_said(
    command: list[str], server: FaultyServer, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    stopped = run(command, out, "--estimator", "llm", "--max-tokens", "8k")
    assert stopped.exit_code == 3
    assert f"{TOKEN_LIMIT}: the generator took" in stopped.output
    assert not (out / "run.json").exists()
    before = paid(server)
    again = run(command, out, "--estimator", "llm", "--max-tokens", "1M")
    assert again.exit_code in (0, 3), again.output
    assert set(paid(server).values()) == {1}
    assert before <= paid(server)


@pytest.mark.parametrize(
    "choice", [["score"], ["select", "--keep-worst", "20%"]], ids=lambda choice: choice[0]
)
def test_scores_stop_at_a_limit_and_go_on(
    command: list[str], server: FaultyServer, tmp_path: Path, choice: list[str]
) -> None:
    own = [*choice, *command[1:4], "--estimator", "llm", "--out", str(tmp_path / "out.parquet")]
    limits, asked = ["--max-tokens", "8k"], 0
    for _ in range(2):
        stopped = CliRunner().invoke(main, [*own, *limits])
        assert stopped.exit_code == 3, stopped.output
        spent = re.search(
            r"limit reached: the generator took .* tokens, ([\d.]+) USD", stopped.output
        )
        assert spent, stopped.output
        assert paid(server).total() > asked
        limits, asked = ["--max-cost", f"{1.5 + float(spent[1]):.6f}"], paid(server).total()
    assert not (tmp_path / "out.parquet").exists()
    done = CliRunner().invoke(main, own)
    assert done.exit_code == 0, done.output
    assert set(paid(server).values()) == {1}
    assert (tmp_path / "out.parquet").exists()


def test_the_library_keeps_no_paid_replies_where_none_finds_them(
    command: list[str], server: FaultyServer, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"config": command[3], "estimator": "llm"}
    for ask, argument in (
        (lambda: score(command[1], **how), "work"),
        (lambda: select(command[1], keep_worst=0.2, **how), "work"),
        (lambda: expand(command[1], **how), "out"),
    ):
        with pytest.raises(ConfigError, match=f"give `{argument}`, a folder"):
            ask()
    assert not server.asked
    with pytest.raises(LimitReached):
        score(command[1], work=tmp_path / "work", max_tokens="8k", **how)
    assert len(score(command[1], work=tmp_path / "work", **how)) == 24
    assert set(paid(server).values()) == {1}
    # What asks nothing of the server keeps no replies.
    assert len(score(command[1], config=command[3])) == 24


def test_killed_it_resumes_with_the_same_bytes_and_pays_for_nothing_twice(
    command: list[str], server: FaultyServer, tmp_path: Path, whole: tuple[Path, Counter[str]]
) -> None:
    folder, everything = whole
    server.latency = 0.01
    out = tmp_path / "killed"
    child = [sys.executable, "-m", "seamaug.cli", "-q", *command, "--out", str(out)]
    with subprocess.Popen(child) as process:
        server.wait_for(everything.total() // 2)
        process.send_signal(signal.SIGKILL)
    assert run(command, out).exit_code in (0, 3)
    assert contents(out) == contents(folder)
    again = paid(server)
    assert again.keys() == everything.keys()
    # What was in flight when it was killed was never received.
    assert (again - everything).total() <= 4


@pytest.mark.parametrize("at_first", [True, False])
def test_what_the_server_said_of_schemas_at_first_holds(
    command: list[str], server: FaultyServer, tmp_path: Path, at_first: bool
) -> None:
    """It is asked with a request, and what it replies may be another thing the next time."""
    config = yaml.safe_load(Path(command[3]).read_text())
    config["generator"]["structured"] = None
    Path(command[3]).write_text(yaml.safe_dump(config))
    heeds = at_first

    def reply(body: dict[str, Any]) -> str:
        hello = body["messages"][0]["content"] == "Say hello."
        return "{}" if hello and heeds else rewrite(body)

    server.reply = reply
    assert run(command, tmp_path / "whole").exit_code in (0, 3)
    everything, server.bodies = paid(server), []
    assert run(command, tmp_path / "run", "--max-tokens", "8k").exit_code == 3
    heeds = not at_first
    assert run(command, tmp_path / "run").exit_code in (0, 3)
    assert {"response_format" in body for body in server.bodies
            if body["messages"][0]["content"] != "Say hello."} == {at_first}  # fmt: skip
    assert paid(server) == everything, "something was paid for twice, or not at all"
    assert contents(tmp_path / "run") == contents(tmp_path / "whole")


def test_a_server_that_takes_other_lengths_is_refused(
    command: list[str], server: FaultyServer, tmp_path: Path
) -> None:
    """What is too long for it fails its row: half a run must not go by another limit."""
    out = tmp_path / "run"
    server.max_model_len = 4096
    assert run(command, out, "--max-tokens", "8k").exit_code == 3
    server.max_model_len = 8192
    refused = run(command, out)
    assert refused.exit_code == 1
    assert "models.generator.max_length: 4096 -> 8192" in refused.stderr
    server.max_model_len = 4096
    assert run(command, out).exit_code in (0, 3)


def test_another_server_for_the_same_model_goes_on(
    command: list[str], server: FaultyServer, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert run(command, out, "--max-tokens", "8k").exit_code == 3
    before = paid(server)
    config = yaml.safe_load(Path(command[3]).read_text())
    with FaultyServer(reply=rewrite) as other:
        config["generator"] |= {"url": other.url, "in_flight": 2, "price_out": 3}
        Path(command[3]).write_text(yaml.safe_dump(config))
        assert run(command, out).exit_code in (0, 3)
        assert not paid(other).keys() & before.keys()
        marks = json.loads((out / "run.json").read_text())["models"]["generator"]
    assert marks == {"name": MODEL, "fingerprint": "", "served": "org/served"}


def test_the_plan_says_what_it_may_cost(command: list[str]) -> None:
    result = CliRunner().invoke(main, [*command, "--dry-run"])
    assert result.exit_code == 0, result.output
    told = " ".join(result.output.split())
    assert "tokens to read and about" in told
    assert "USD; the time leaves them out" in told


def test_the_library_takes_the_limits(
    command: list[str], server: FaultyServer, tmp_path: Path
) -> None:
    result = expand(command[1], config=command[3], budget=5, out=tmp_path / "run", max_tokens="8k")
    assert result.summary["outcome"] == TOKEN_LIMIT
    assert len(result.preference) == result.summary["counts"]["candidates"]["kept"] == 0
