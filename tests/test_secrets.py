"""Keys, tokens and passwords that are planted where they may be are found nowhere else."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from seamaug import stand_in
from seamaug.cli import main
from seamaug.models import retries
from seamaug.printable import without_userinfo
from tests.models.faulty_server import FaultyServer, rewrite

KEY, TOKEN, PASSWORD = "sk-planted-0123456789", "hf_planted9876543210", "planted-pa55word"
WANDB = "0123456789abcdef0123456789abcdef01234567"
SECRETS = (KEY, TOKEN, PASSWORD, WANDB)
CONFIG = """
score: {{samples: 3, batch_seeds: 8}}
select: {{share: 0.5}}
generate: {{per_round: 3, policy_samples: 0}}
generator:
  {{engine: server, url: '{url}', name: served, api_key_env: PLANTED_KEY, attempts: 2,
   engine_options: {{user: someone}}}}
"""


def fault(prompt: str, attempt: int) -> str:
    """Some requests fail for good, some once; all faults repeat the key."""
    kind = sum(prompt.encode()) % 4
    if prompt == "Say hello." or kind == 3 or (kind == 2 and attempt):
        return ""
    return f"{'500' if kind == 2 else '400'} no good with {KEY}, Bearer {KEY}"


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    monkeypatch.setattr(retries, "PAUSE", 0.01)
    monkeypatch.setenv("PLANTED_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("https_proxy", f"http://me:{PASSWORD}@127.0.0.1:9")
    before = os.umask(0o077)
    with FaultyServer(fault=fault, reply=lambda body: "a reply that cannot be read") as server:
        yield server
    os.umask(before)


class Commands:
    """Runs commands, and keeps what they said."""

    def __init__(self) -> None:
        self.said = ""

    def __call__(self, *arguments: object, codes: tuple[int, ...] = (0,)) -> None:
        result = CliRunner().invoke(main, ["--debug", *map(str, arguments)])
        assert result.exit_code in codes, result.output
        self.said += result.output


@pytest.fixture
def seamaug() -> Commands:
    return Commands()


@pytest.fixture
def seeds(bundled: Any, tmp_path: Path) -> Path:
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in bundled(12)), encoding="utf-8")
    return path


@pytest.fixture
def config(planted: FaultyServer, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(url=planted.url), encoding="utf-8")
    return path


def contents(path: Path) -> str:
    """A file's bytes as text, and what its compression hides."""
    table = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else ""
    return path.read_bytes().decode("latin-1") + table


def no_secret(said: str, folder: Path) -> list[Path]:
    """The files of the folder, none of which holds a secret, nor does what was said."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for secret in SECRETS:
        assert secret not in said
        for path in files:
            assert secret not in contents(path), path
    return files


def test_no_file_and_no_output_holds_a_secret_or_is_more_open_than_the_umask_says(
    planted: FaultyServer, seamaug: Commands, seeds: Path, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(CONFIG.format(url="http://127.0.0.1:9/v1"), encoding="utf-8")
    budget = ("--budget", 8)
    seamaug("expand", seeds, "--config", config, *budget, "--out", out, codes=(0, 3))
    assert planted.keys == {f"Bearer {KEY}"}
    assert any(count > 1 for count in planted.asked.values())
    for command in (["show", out], ["report", out], ["export", out, "--to", "trl"], ["doctor"]):
        seamaug(*command, codes=(0, 1))
    seamaug("expand", seeds, "--config", wrong, *budget, "--out", tmp_path / "no", codes=(1,))
    planted.fault = lambda prompt, attempt: f"401 {KEY} is wrong"
    seamaug("expand", seeds, "--config", config, *budget, "--out", tmp_path / "not", codes=(1,))
    assert "Traceback" in seamaug.said
    assert "***" in seamaug.said
    for url in (f"https://me:{PASSWORD}@127.0.0.1:9/s.jsonl", f"hf://me:{PASSWORD}@127.0.0.1/s"):
        seamaug("score", url, "--out", tmp_path / "scores.csv", codes=(1,))
        assert "://***@127.0.0.1" in seamaug.said

    files = no_secret(seamaug.said, tmp_path)
    assert {"run.json", "provenance.parquet", "report.html", "README.md", "replies.sqlite"} <= {
        path.name for path in files
    }
    provenance = pq.read_table(out / "provenance.parquet").to_pylist()
    assert any("no good with ***, Bearer ***" in str(row) for row in provenance)
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_nor_does_what_other_commands_make_with_a_key(
    planted: FaultyServer, seamaug: Commands, seeds: Path, config: Path, tmp_path: Path
) -> None:
    planted.reply = rewrite
    llm = ("--config", config, "--estimator", "llm")
    both = ("--out", tmp_path / "scores.parquet", "--responses", tmp_path / "responses.csv")
    seamaug("score", seeds, *llm, *both)
    half = ("--keep-worst", "50%", "--out", tmp_path / "worst.jsonl")
    seamaug("select", seeds, *llm, *half)
    llm = (
        "--config",
        config,
        "--judge",
        "llm",
        "--samples",
        2,
        "--prompts",
        3,
        "--work",
        tmp_path / "work",
    )
    seamaug("diagnose", seeds, *llm, "--json", "--out", tmp_path / "page.html")
    assert planted.keys == {f"Bearer {KEY}"}
    planted.fault = lambda prompt, attempt: f"401 {KEY} is wrong"
    seamaug("score", seeds, "--config", config, "--estimator", "llm", "--out",
            tmp_path / "none.csv", codes=(1,))  # fmt: skip
    assert "***" in seamaug.said
    no_secret(seamaug.said, tmp_path)


SERVED = """
{role}: {{engine: server, url: '{url}', name: '{name}', served_name: served,
  api_key_env: PLANTED_KEY}}
"""


def test_nor_does_what_trainings_and_votes_make(
    planted: FaultyServer, seamaug: Commands, seeds: Path, tmp_path: Path
) -> None:
    """Their servers are the policy whose samples MetaRM looks at, and a reward model that votes."""
    model = stand_in("reward")
    few = tmp_path / "few.yaml"
    few.write_text("trainer: {max_steps: 2, save_steps: 1, report_to: tensorboard}\n")
    seamaug("train-rm", seeds, "--model", model, "--config", few, "--out", tmp_path / "rm")
    few.write_text("ensemble: {heads: 2, trainer: {max_steps: 2}}\n")
    seamaug("strength", seeds, "--model", model, "--config", few, "--out", tmp_path / "votes")

    planted.fault = lambda prompt, attempt: f"401 {KEY} is wrong"
    served = tmp_path / "served.yaml"
    for command, role, more, said in (
        ("train-rm", "policy", ("--meta-step", 0.01), "401: *** is wrong"),
        ("strength", "reward", ("--reward", model, "--reward", tmp_path / "rm"), "serves served"),
    ):
        planted.keys.clear()
        served.write_text(SERVED.format(role=role, url=planted.url, name=stand_in(role)))
        out = tmp_path / f"refused-{command}"
        seamaug(command, seeds, "--config", served, *more, "--out", out, codes=(1,))
        assert said in seamaug.said
        assert planted.keys == {f"Bearer {KEY}"}
    no_secret(seamaug.said, tmp_path)


@pytest.mark.parametrize("tracker", ["tensorboard", "wandb"])
def test_nor_does_what_a_tracker_keeps(
    tracker: str,
    planted: FaultyServer,
    seamaug: Commands,
    seeds: Path,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if tracker == "wandb":
        pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_API_KEY", WANDB)
    out = tmp_path / "run"
    seamaug("expand", seeds, "--config", config, "--budget", 4, "--track", tracker, "--out", out,
            codes=(0, 3))  # fmt: skip
    files = no_secret(seamaug.said, tmp_path)
    assert any(tracker in path.relative_to(out).parts for path in files if out in path.parents)


def test_what_stands_before_a_host_is_hidden() -> None:
    text = "from http://me:pa55@host:1/a?b=c@d, s3://KEY:SECRET@bucket/x and a@b.c, https://h/u@v"
    assert without_userinfo(text) == (
        "from http://***@host:1/a?b=c@d, s3://***@bucket/x and a@b.c, https://h/u@v"
    )
    assert without_userinfo("/x/hf:/me:pa55@h") == "/x/hf:/***@h"
