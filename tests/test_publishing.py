"""A run goes to the hub: what is uploaded, who may see it, and what is said when it fails."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import huggingface_hub
import pyarrow.parquet as pq
import pytest
import yaml

from seamaug import expand, push_to_hub
from seamaug.errors import ConfigError, HubError, RunFolderError
from seamaug.write.card import write_card
from tests.stand_in_hub import TOKEN, StandInHub

UPLOADED = {
    "README.md",
    "provenance.parquet",
    "sft/train.parquet",
    "preference/train.parquet",
    "prompts/train.parquet",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, saved: Callable[..., str]) -> Path:
    """Made with a policy in a folder, whose path is nobody's business."""
    rows = [
        {
            "prompt": f"What is {n} plus {n + 1}?",
            "golden": f"It is {2 * n + 1}.",
            "source": f"book {n}",
            "licence": "MIT",
        }
        for n in range(8)
    ]
    settings = {"select.share": 0.5, "generate.policy_samples": 0, "score.samples": 3}
    out = tmp_path_factory.mktemp("runs") / "run"
    policy = saved("llama", "causal")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("seamaug.finish._SOURCES", 2)
        return expand(rows, policy=policy, budget=4, out=out, settings=settings).path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    found = StandInHub()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", found.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield found
    found.close()


def test_what_is_uploaded_is_what_the_run_wrote(run: Path, hub: StandInHub) -> None:
    assert push_to_hub(run, "me/sums") == f"{hub.url}/datasets/me/sums"
    repo = hub.repos["me/sums"]
    assert repo["private"]
    assert repo["commits"] == 1
    assert repo["files"].keys() == UPLOADED
    for name, content in repo["files"].items():
        assert content == (run / name).read_bytes()
    assert pq.read_table(io.BytesIO(repo["files"]["preference/train.parquet"])).num_rows > 0


def test_no_path_of_the_machine_is_uploaded(run: Path, hub: StandInHub) -> None:
    folder = json.loads((run / "run.json").read_text())["models"]["policy"]["name"]
    push_to_hub(run, "sums")
    card = hub.repos["me/sums"]["files"]["README.md"].decode()
    assert f"| policy | {Path(folder).name} " in card
    for content in hub.repos["me/sums"]["files"].values():
        assert str(Path(folder).parent).encode() not in content
        assert str(run.parent).encode() not in content


def test_the_cards_head_is_what_the_hub_reads(run: Path) -> None:
    front = yaml.safe_load((run / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    huggingface_hub.DatasetCardData(**front)
    assert front["license"] == "mit"
    assert [config["config_name"] for config in front["configs"]] == [
        "sft",
        "preference",
        "prompts",
    ]


@pytest.mark.parametrize(
    ("stated", "license", "name"),
    [
        (["MIT", "mit"], "mit", None),
        (["CC BY-NC 4.0"], "cc-by-nc-4.0", None),
        (["MIT", "Apache-2.0"], "other", "apache-2.0-and-mit"),
        (["MIT", ""], "other", "mit-and-not-stated"),
        (["MIT(upstream)"], "other", "mit-upstream"),
        (["a", "b", "c", "d"], "other", "mixed"),
        (["<b>: x\n- y"], "other", "b-x-y"),
    ],
)
def test_a_licence_is_named_where_it_holds_for_all(
    run: Path, tmp_path: Path, stated: list[str], license: str, name: str | None
) -> None:
    summary = json.loads((run / "run.json").read_text(encoding="utf-8"))
    rows = [{"source": "", "licence": one, "seeds": 1, "kept": 0} for one in stated]
    write_card(tmp_path, {**summary, "licences": rows})
    front = yaml.safe_load((tmp_path / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    assert (front["license"], front.get("license_name")) == (license, name)


def test_every_seed_and_kept_example_is_under_a_source(run: Path) -> None:
    summary = json.loads((run / "run.json").read_text(encoding="utf-8"))
    sources = summary["licences"]
    assert len(sources) == 3
    assert sources[-1]["source"] == "other sources"
    assert sum(line["seeds"] for line in sources) == summary["counts"]["seeds"]["total"]
    assert sum(line["kept"] for line in sources) == summary["counts"]["candidates"]["kept"]


def test_public_only_where_asked_for(run: Path, hub: StandInHub) -> None:
    push_to_hub(run, "me/open", public=True)
    assert not hub.repos["me/open"]["private"]
    for public in (False, True):
        hub.add("me/there", private=public)
        with pytest.raises(HubError, match=r"me/there exists and is p.*--public"):
            push_to_hub(run, "me/there", public=public)
        assert not hub.repos["me/there"]["files"]


def test_to_a_repository_that_is_there_and_private(run: Path, hub: StandInHub) -> None:
    hub.add("me/sums", private=True)
    push_to_hub(run, "me/sums")
    assert hub.repos["me/sums"]["files"].keys() == UPLOADED


def test_without_a_token_nothing_is_asked(
    run: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(HubError, match="set HF_TOKEN, or run `hf auth login`"):
        push_to_hub(run, "me/sums")
    assert not hub.asked


@pytest.mark.parametrize("repo", ["a/b/c", "has space", "me/..", "-x", ""])
def test_a_name_that_no_repository_has(run: Path, hub: StandInHub, repo: str) -> None:
    with pytest.raises(ConfigError, match="Write USER/NAME"):
        push_to_hub(run, repo)
    assert not hub.asked


def test_a_token_that_the_hub_does_not_know(
    run: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    with pytest.raises(HubError, match="does not know the token") as caught:
        push_to_hub(run, "me/sums")
    assert "hf_another" not in str(caught.value)


def test_a_token_that_may_not_write_there(run: Path, hub: StandInHub) -> None:
    with pytest.raises(HubError, match="may not write to others/sums"):
        push_to_hub(run, "others/sums")


@pytest.mark.parametrize("path", ["preupload/main", "commit/main"])
def test_a_busy_hub_is_asked_again(
    run: Path, hub: StandInHub, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fault = lambda method, asked, attempt: 503 * (asked.endswith(path) and attempt < 2)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    push_to_hub(run, "me/sums")
    assert hub.asked["POST", f"/api/datasets/me/sums/{path}"] == 3
    assert hub.repos["me/sums"]["files"].keys() == UPLOADED


def test_a_hub_that_refuses_says_why(run: Path, hub: StandInHub) -> None:
    hub.fault = lambda method, path, attempt: 402 * path.endswith("commit/main")
    with pytest.raises(HubError, match=r"did not take me/sums: .*402"):
        push_to_hub(run, "me/sums")


def test_a_hub_that_is_not_there(
    run: Path, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(HubError, match="cannot be reached"):
        push_to_hub(run, "me/sums")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(HubError, match="HF_HUB_OFFLINE"):
        push_to_hub(run, "me/sums")


def test_a_run_that_is_not_whole_stays_at_home(run: Path, hub: StandInHub, tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="is not a run folder"):
        push_to_hub(tmp_path, "me/sums")
    for name in ("run.json", *UPLOADED - {"sft/train.parquet"}):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes((run / name).read_bytes())
    with pytest.raises(RunFolderError, match=r"files of .* are missing"):
        push_to_hub(tmp_path, "me/sums")
    assert not hub.asked


def test_the_command_tells_the_address_and_never_the_token(run: Path, hub: StandInHub) -> None:
    command = [sys.executable, "-m", "seamaug.cli", "export", str(run), "--push-to-hub", "me/sums"]
    home = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "0", "HF_TOKEN": TOKEN}
    environment: dict[str, Any] = {**os.environ, **home}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{hub.url}/datasets/me/sums (private)" in done.stdout
    assert hub.repos["me/sums"]["files"].keys() == UPLOADED
    assert TOKEN not in done.stdout + done.stderr
    files = [path for path in run.rglob("*") if path.is_file()]
    assert files
    assert not any(TOKEN.encode() in path.read_bytes() for path in files)
