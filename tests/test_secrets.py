"""Keys, tokens and passwords that are planted where they may be are found nowhere else."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from seamaug.cli import main
from seamaug.models import retries
from seamaug.printable import without_userinfo
from tests.models.faulty_server import FaultyServer

KEY, TOKEN, PASSWORD = "sk-planted-0123456789", "hf_planted9876543210", "planted-pa55word"
SECRETS = (KEY, TOKEN, PASSWORD)
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


def contents(path: Path) -> str:
    """A file's bytes as text, and what its compression hides."""
    table = str(pq.read_table(path).to_pylist()) if path.suffix == ".parquet" else ""
    return path.read_bytes().decode("latin-1") + table


def test_no_file_and_no_output_holds_a_secret_or_is_more_open_than_the_umask_says(
    planted: FaultyServer, bundled: Any, tmp_path: Path
) -> None:
    seeds, config, out = (tmp_path / name for name in ("seeds.jsonl", "config.yaml", "run"))
    seeds.write_text("".join(json.dumps(row) + "\n" for row in bundled(12)), encoding="utf-8")
    config.write_text(CONFIG.format(url=planted.url), encoding="utf-8")
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(CONFIG.format(url="http://127.0.0.1:9/v1"), encoding="utf-8")
    said = ""

    def seamaug(*arguments: object, codes: tuple[int, ...] = (0,)) -> None:
        nonlocal said
        result = CliRunner().invoke(main, ["--debug", *map(str, arguments)])
        assert result.exit_code in codes, result.output
        said += result.output

    budget = ("--budget", 8)
    seamaug("expand", seeds, "--config", config, *budget, "--out", out, codes=(0, 3))
    assert planted.keys == {f"Bearer {KEY}"}
    assert any(count > 1 for count in planted.asked.values())
    for command in (["show", out], ["report", out], ["export", out, "--to", "trl"], ["doctor"]):
        seamaug(*command, codes=(0, 1))
    seamaug("expand", seeds, "--config", wrong, *budget, "--out", tmp_path / "no", codes=(1,))
    planted.fault = lambda prompt, attempt: f"401 {KEY} is wrong"
    seamaug("expand", seeds, "--config", config, *budget, "--out", tmp_path / "not", codes=(1,))
    assert "Traceback" in said
    assert "***" in said
    for url in (f"https://me:{PASSWORD}@127.0.0.1:9/s.jsonl", f"hf://me:{PASSWORD}@127.0.0.1/s"):
        seamaug("score", url, "--out", tmp_path / "scores.csv", codes=(1,))
        assert "://***@127.0.0.1" in said

    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"run.json", "provenance.parquet", "report.html", "README.md", "replies.sqlite"} <= {
        path.name for path in files
    }
    provenance = pq.read_table(out / "provenance.parquet").to_pylist()
    assert any("no good with ***, Bearer ***" in str(row) for row in provenance)
    for secret in SECRETS:
        assert secret not in said
        for path in files:
            assert secret not in contents(path), path
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)


def test_what_stands_before_a_host_is_hidden() -> None:
    text = "from http://me:pa55@host:1/a?b=c@d, s3://KEY:SECRET@bucket/x and a@b.c, https://h/u@v"
    assert without_userinfo(text) == (
        "from http://***@host:1/a?b=c@d, s3://***@bucket/x and a@b.c, https://h/u@v"
    )
    assert without_userinfo("/x/hf:/me:pa55@h") == "/x/hf:/***@h"
