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

import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from seamaug import expand, score, select
from seamaug.cli import main
from seamaug.errors import ConfigError, LimitReached
from seamaug.models.generation import BUDGET_SPENT, TOKEN_LIMIT
from seamaug.reporting import report
from seamaug.rounds import RAN_OUT
from seamaug.target import BUDGET_MET
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


def test_a_budget_in_tokens_is_spent_and_the_run_is_done(
    command: list[str], server: FaultyServer, tmp_path: Path
) -> None:
    budget = 12_500  # the parents take 9,400 of them
    own, out = [*command[:-1], f"{budget} tokens"], tmp_path / "run"
    done = run(own, out)
    assert done.exit_code == 0, done.output
    summary = json.loads((out / "run.json").read_text())
    assert (summary["outcome"], summary["budget"]) == (BUDGET_SPENT, f"{budget} tokens")
    spent = sum(o["prompt_tokens"] + o["new_tokens"] for o in summary["generation"].values())
    assert budget - 1000 < spent <= budget, "less is left than the next request may take"
    counts = summary["counts"]["candidates"]
    assert 0 < counts["kept"] == len(pq.read_table(out / "preference" / "train.parquet"))
    told = f"{counts['kept']} examples kept, {spent:,} of {budget:,} tokens spent"
    for text in (done.output, (out / "README.md").read_text()):
        assert told in " ".join(text.split())
    report(out)
    assert told in (out / "report.html").read_text()
    # What it did not reach was never asked for; what was paid for is used.
    rows = pq.read_table(out / "provenance.parquet").to_pylist()
    assert BUDGET_SPENT not in {row["reply"] for row in rows}
    asked_for = summary["generation"]["paraphrase"]["requests"]
    assert sum(row["operator"] == "paraphrase" for row in rows) == asked_for
    before = paid(server)
    assert set(before.values()) == {1}
    assert run(own, out).exit_code == 0
    more = run([*command[:-1], "1M tokens"], out)
    assert more.exit_code == 1
    assert f'config.budget: "{budget} tokens" -> "1000000 tokens"' in more.stderr
    # A process that resumes knows of the last part: it does not begin another one.
    datasets = contents(out)
    (out / "run.json").unlink()
    assert run(own, out).exit_code == 0
    assert contents(out) == datasets
    assert paid(server) == before


@pytest.mark.parametrize("share", [0.6, 0.98])
def test_killed_it_spends_its_budget_on_the_same(
    command: list[str], server: FaultyServer, tmp_path: Path, share: float
) -> None:
    own = [*command[:-1], "$2"]
    assert run(own, tmp_path / "run").exit_code == 0
    summary = json.loads((tmp_path / "run" / "run.json").read_text())
    assert summary["outcome"] == BUDGET_SPENT
    assert 2 - 0.4 < sum(account["cost"] for account in summary["generation"].values()) <= 2
    everything, server.bodies = paid(server), []
    server.latency = 0.01
    out, replied = tmp_path / "killed", server.replied.total()
    child = [sys.executable, "-m", "seamaug.cli", "-q", *own, "--out", str(out)]
    with subprocess.Popen(child) as process:
        server.wait_for(replied + int(share * everything.total()))
        process.send_signal(signal.SIGKILL)
    assert run(own, out).exit_code == 0
    assert contents(out) == contents(tmp_path / "run")
    assert paid(server).keys() == everything.keys()


def test_a_budget_that_parents_take_leaves_no_examples(
    command: list[str], server: FaultyServer, tmp_path: Path
) -> None:
    own, out = [*command[:-1], "8k tokens"], tmp_path / "run"
    done = run(own, out)
    assert done.exit_code == 0, done.output
    summary = json.loads((out / "run.json").read_text())
    assert (summary["outcome"], summary["counts"]["candidates"]["total"]) == (BUDGET_SPENT, 0)
    while_scoring = run([*own, "--estimator", "llm"], tmp_path / "scored")
    assert while_scoring.exit_code == 1
    assert "budget spent before the first candidate: the generator took" in while_scoring.output
    # Scoring alone has no budget.
    scored = CliRunner().invoke(
        main,
        ["score", *command[1:4], "--estimator", "llm", "--out", str(tmp_path / "scores.parquet")],
    )
    assert scored.exit_code == 0, scored.output


def test_the_plan_says_what_a_budget_in_money_is_enough_for(
    command: list[str], server: FaultyServer, tmp_path: Path
) -> None:
    seen = []
    for amount in ("$4", "12 USD", "1000 USD"):
        told = CliRunner().invoke(main, [*command[:-1], amount, "--dry-run", "--json"])
        assert told.exit_code == 0, told.output
        plan = json.loads(told.stdout)
        assert plan["cost"] <= float(plan["budget"].split()[0]) or not plan["candidates"]
        seen.append((plan["budget"], plan["candidates"]))
    assert [budget for budget, _ in seen] == ["4 USD", "12 USD", "1000 USD"]
    assert [seen[0][1], seen[2][1]] == [0, 10 * 6]  # `per_parent` of each that is selected
    assert 0 < seen[1][1] < 60
    told = CliRunner().invoke(main, [*command[:-1], "12 USD", "--dry-run"])
    assert "12 USD to spend; about" in " ".join(told.output.split())


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
