"""The scripts that users copy, as they stand, on tiny models and few rows."""

import gzip
import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Dataset, load_dataset

from seamaug import expand
from seamaug.config import load_config
from seamaug.resources import resource
from tests.conftest import Asked
from tests.models.faulty_server import MODEL, FaultyServer
from tests.test_paid_generation import rewrite

FOLDER = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(FOLDER.glob("*.py"))
SMALL = {
    "select.share": 0.5,
    "generate.policy_samples": 0,
    "score.samples": 4,
    "keep.variance_prompts": 2,
    "keep.variance_samples": 2,
    "verify.min_similarity": -1,
    "diagnose.max_new_tokens": 4,
}
"""What the scripts leave to the defaults."""

Run = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a script as `python examples/NAME.py ARGUMENTS` would; what it printed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr(
        "seamaug.arguments.load_config",
        lambda path, overrides: load_config(path, {**SMALL, **overrides}),
    )

    def run_script(name: str, *arguments: object) -> str:
        script = FOLDER / f"{name}.py"
        monkeypatch.setattr(sys, "argv", [str(script), *map(str, arguments)])
        runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return run_script


def rows(count: int = 12) -> list[dict[str, str]]:
    return [
        {
            "prompt": f"What is {n} plus {n + 1}?",
            "chosen": f"{n} + {n + 1} = {2 * n + 1}, so it is {2 * n + 1}.",
            "rejected": f"It is {n}.",
        }
        for n in range(count)
    ]


def written(path: Path, found: list[dict[str, str]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    return path


@pytest.fixture
def prefs(tmp_path: Path) -> Path:
    return written(tmp_path / "prefs.jsonl", rows())


@pytest.fixture(scope="session")
def models(saved: Callable[..., str]) -> list[str]:
    """As options."""
    return ["--policy", saved("llama", "causal"), "--reward", saved("llama", "reward")]


def moved(before: str | Path, after: Path) -> bool:
    """Whether training changed the weights."""
    from safetensors.torch import load_file

    old, new = (load_file(Path(folder, "model.safetensors")) for folder in (before, after))
    return any((old[name].float() != new[name].float()).any() for name in old)


def test_expand_preferences(run: Run, prefs: Path, models: list[str], tmp_path: Path) -> None:
    said = run("expand_preferences", prefs, *models, "--budget", 4, "--out", "runs/it")
    assert "budget met: 4 of " in said
    assert len(load_dataset("runs/it", "preference", split="train")) == 4
    assert "load_dataset('runs/it', 'preference')" in said
    kept = pq.read_table("runs/it/provenance.parquet").to_pylist()
    best = max((row for row in kept if row["verdict"] == "kept"), key=lambda r: r["seam_before"])
    assert f"prompt, by {best['operator']}: {best['prompt'][-1]['content']}" in said


def test_train_reward_model(run: Run, prefs: Path, models: list[str], tmp_path: Path) -> None:
    reward = models[-1]
    expand(rows(), reward=reward, budget=4, out=tmp_path / "run", settings=SMALL)
    said = run(
        "train_reward_model", "run", "--reward", reward, "--test", prefs, "--rate", 0.01,
        "--out", "trained",
    )  # fmt: skip
    found = re.search(r"on 12 held-out pairs: ([\d.]+) before, ([\d.]+) after", said)
    assert found, said
    assert [float(each) for each in found.groups()] == [
        pytest.approx(accuracy(folder), abs=1e-3) for folder in (reward, "trained")
    ]
    assert moved(reward, tmp_path / "trained")


def accuracy(folder: str) -> float:
    """Share of the rows whose chosen response the model puts first, by transformers alone."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def reward(row: dict[str, str], side: str) -> float:
        turns = [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row[side]},
        ]
        tokens = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            return float(model(**tokens).logits[0, 0])

    return sum(reward(row, "chosen") > reward(row, "rejected") for row in rows()) / 12


def test_choose_reward_model(
    run: Run, prefs: Path, models: list[str], saved: Callable[..., str]
) -> None:
    other = saved("llama", "reward", initializer_range=0.5)
    said = run(
        "choose_reward_model", prefs, *models, "--reward", other, "--prompts", 4, "--samples", 2,
        "--judge", "checker",
    )  # fmt: skip
    found = json.loads(Path("diagnosis.json").read_text())
    ranking = found["ranking"][models[1]]
    assert sorted(ranking) == sorted([models[-1], other])
    assert re.findall(r"^\d\. (.+)$", said, re.M) == ranking
    assert said.count("teacher_score") == said.count("reward_variance") == 2


def test_filter_rl_prompts(run: Run, prefs: Path, models: list[str]) -> None:
    said = run("filter_rl_prompts", prefs, *models, "--drop", "25%", "--steps", 2)
    left = Dataset.from_json("runs/filtered/prompts.jsonl").to_list()
    assert len(left) == 9
    assert all(row in rows() for row in left)
    worst = re.findall(r"^SEAM [\d.]+: (.+)$", said, re.M)
    assert len(worst) == 3
    assert {row["prompt"] for row in rows()} - {row["prompt"] for row in left} == {*worst}
    assert "reward " in said
    assert moved(models[1], Path("runs/filtered/policy"))


def answer(body: dict[str, Any]) -> str:
    """An LLM that rewrites requests, and gets sums wrong where it is to be worse."""
    if "[BEGIN RIGHT RESPONSE" in (body["messages"][0]["content"]):
        from seamaug.models.engines import Request

        asked = Asked(Request("", body["messages"], 0, 1, 1.0))
        wrong = re.sub(r"= \d+", "= 9999", asked.texts["RIGHT RESPONSE"])
        return asked.reply(mistake="The sum.", response=wrong)
    return rewrite(body)


def test_own_operator_and_checker(run: Run, prefs: Path, models: list[str], tmp_path: Path) -> None:
    with FaultyServer(reply=answer) as server:
        config = {
            "policy": {"name": models[1]},
            "reward": {"name": models[3]},
            "generator": {"engine": "server", "url": server.url, "name": MODEL},
            "generate": {"operators": ["telegram"], "worse": ["llm"], "golden_rewrites": 0},
        }
        Path("llm.yaml").write_text(yaml.safe_dump(config))
        said = run("own_operator_and_checker", prefs, "--config", "llm.yaml", "--budget", 4)
        asked = [body["messages"][0]["content"] for body in server.bodies]
    assert any("no articles, STOP between sentences" in content for content in asked)
    kept = re.search(r"telegram: {.*'kept': (\d+)", said)
    assert kept, said
    name = "own_operator_and_checker:right_sums"
    assert f"{int(kept[1]):5} kept pairs vouched for by {name}" in said

    checker = runpy.run_path(str(FOLDER / "own_operator_and_checker.py"))["right_sums"]
    assert checker([], "3 + 4 = 7, 7*2=14, 14 - 1 = 12", "") == pytest.approx(2 / 3)
    assert checker([], "3 apples and 4 pears", "") is None


def test_own_keep_rule(run: Run, prefs: Path, models: list[str], tmp_path: Path) -> None:
    said = run("own_keep_rule", prefs, *models, "--out", tmp_path / "run", "--budget", 6)
    table = pq.read_table(tmp_path / "run" / "provenance.parquet").to_pylist()
    kept = [row["worth"] for row in table if row["verdict"] == "kept"]
    assert kept
    assert min(kept) > 0
    assert f"kept      {kept[0]:+7.3f} \n" in said
    wrong = [row["worth"] for row in table if row["reason"] == "judged rightly"]
    assert all(worth <= 0 for worth in wrong)


def test_own_checker_without_an_llm(run: Run, prefs: Path) -> None:
    said = run("own_operator_and_checker", prefs, "--budget", 2)
    assert "telegram: not run, for it needs an LLM" in said


def test_vllm_generator(
    run: Run, prefs: Path, models: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret-of-mine")
    with FaultyServer(reply=rewrite) as server:
        said = run(
            "vllm_generator", prefs, *models, "--url", server.url, "--model", MODEL,
            "--key", "MY_KEY", "--budget", 4,
        )  # fmt: skip
        assert server.keys == {"Bearer s3cret-of-mine"}
        requests = Path("runs/vllm/run.json").read_text()
    accounts = json.loads(requests)["generation"]
    assert "paraphrase" in accounts
    for operator, account in accounts.items():
        assert re.search(rf"^{operator} +{account['requests']} requests", said, re.M), said
    assert re.search(r": [1-4] kept of ", said), said
    assert "s3cret-of-mine" not in requests


def test_online_rlhf(run: Run, prefs: Path, models: list[str], tmp_path: Path) -> None:
    """The second cycle starts from what the first one trained."""
    said = run("online_rlhf", prefs, *models, "--out", "online", "--budget", 4, "--steps", 2)
    before = {"policy": models[1], "reward": models[3]}
    for cycle in (0, 1):
        assert f"cycle {cycle}: {{'seam/mean': " in said
        folder = tmp_path / "online" / f"cycle-{cycle}"
        summary = json.loads((folder / "policy/seam/step-2/run.json").read_text())
        assert summary["counts"]["candidates"]["kept"] > 0
        for role in ("policy", "reward"):
            assert moved(before[role], folder / role)
            before[role] = str(folder / role)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_each_is_short_and_says_how_it_is_run(script: Path) -> None:
    text = script.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 60
    assert f"    python examples/{script.name}" in text
    assert f"def test_{script.stem}(" in Path(__file__).read_text(encoding="utf-8")
    assert f"[{script.name}]({script.name})" in (FOLDER / "README.md").read_text(encoding="utf-8")
    ours = re.findall(r"(?:from|import) (seamaug[\w.]*)", text)
    assert {*ours} == {"seamaug"}, "public names alone"


def test_the_rows_are_bundled_ones_and_the_held_out_ones_apart() -> None:
    with gzip.open(resource("embedded", "seeds.jsonl.gz"), "rt", encoding="utf-8") as stream:
        bundled = [json.loads(line) for line in stream]
    fields = ("prompt", "chosen", "rejected", "source", "licence")
    known = {tuple(row[field] for field in fields) for row in bundled}
    taken = {}
    for name in ("prefs", "held_out"):
        with (FOLDER / f"{name}.jsonl").open(encoding="utf-8") as stream:
            found = [json.loads(line) for line in stream]
        assert {tuple(row[field] for field in fields) for row in found} <= known
        taken[name] = {" ".join(re.findall(r"\w+", row["prompt"].lower())) for row in found}
    assert not taken["prefs"] & taken["held_out"]
