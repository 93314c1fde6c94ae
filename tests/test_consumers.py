"""The output as its users meet it: TRL trains on it, and a wheel carries all it needs."""

import json
import os
import subprocess
import sys
import venv
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from seamaug import ExpandResult
from seamaug.resources import resource
from tests.consumers.check import check, compare, export_for
from tests.consumers.seeded_run import make_run

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> ExpandResult:
    return make_run(tmp_path_factory.mktemp("runs") / "run")


def test_the_run_has_what_consumers_trip_over(result: ExpandResult) -> None:
    """System turns, earlier turns, and margins; without these the check would show little."""
    roles = {tuple(turn["role"] for turn in row["prompt"]) for row in result.prompts}
    assert ("system", "user") in roles
    assert any(turns[-3:] == ("user", "assistant", "user") for turns in roles)
    kept = result.provenance.filter(lambda row: row["verdict"] == "kept")
    assert None not in kept["mu"]
    assert len(set(kept["verifier"])) > 1


def test_trl_trains_on_every_form_by_the_exported_scripts(
    result: ExpandResult, tmp_path: Path
) -> None:
    """Each script runs as it is; the texts that it trained on are those of the run."""
    exported = export_for(result.path, "trl", tmp_path)
    checked = check("trl", result.path, exported, Path(sys.executable))
    assert not checked.problems, "\n".join(checked.problems)
    trained = {file["through"]: file["steps"] for file in checked.files if file["steps"]}
    names = ("SFT", "Reward", "DPO", "KTO", "GRPO", "RLOO")
    assert trained == {f"{name}Trainer": 5 for name in names}


def test_the_check_sees_a_lost_row_and_a_changed_text(result: ExpandResult, tmp_path: Path) -> None:
    exported = export_for(result.path, "axolotl", tmp_path)
    rows = pq.read_table(exported / "reward" / "train.parquet").to_pylist()
    texts = [
        [f"<|system|>{row['system']}" * bool(row["system"])
         + f"<|user|>{row['input']}<|assistant|>{row[which]}<|end|>"
         for which in ("chosen", "rejected")]
        for row in rows
    ]  # fmt: skip
    told = {"form": "reward", "side": "train", "kind": "pair", "through": "its code"}
    assert not list(compare(result.path, exported, {**told, "rows": texts}))
    assert list(compare(result.path, exported, {**told, "rows": texts[1:]}))
    assert list(compare(result.path, exported, {**told, "rows": []}))
    texts[0][0] += " "
    (problem,) = compare(result.path, exported, {**told, "rows": texts})
    assert problem.startswith(f"reward/train.parquet through its code: {len(rows)} rows")


def test_trl_sft_trains_one_step(result: ExpandResult, tmp_path: Path) -> None:
    from trl import SFTConfig, SFTTrainer

    arguments = SFTConfig(str(tmp_path), max_steps=1, use_cpu=True, bf16=False, report_to=[])
    trainer = SFTTrainer(str(resource("embedded", "policy")), arguments, train_dataset=result.sft)
    assert len(trainer.train_dataset) == len(result.sft)
    assert trainer.train().training_loss > 0


def test_trl_reward_trains_one_step(result: ExpandResult, tmp_path: Path) -> None:
    from trl import RewardConfig, RewardTrainer

    arguments = RewardConfig(str(tmp_path), max_steps=1, use_cpu=True, bf16=False, report_to=[])
    trainer = RewardTrainer(
        str(resource("embedded", "reward")), arguments, train_dataset=result.preference
    )
    assert len(trainer.train_dataset) == len(result.preference)
    assert trainer.train().training_loss > 0


def test_a_wheel_runs_outside_the_checkout(tmp_path: Path) -> None:
    """Built, installed without the checkout's path, and run from an empty folder.

    The wheel's dependencies come from this environment; that it names them is checked too.
    """
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    environment = tmp_path / "env"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(install, check=True)
    # The parent environment's packages, without its editable install of seamaug.
    site = next(path for path in sys.path if path.endswith("site-packages"))
    (environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}"
     / "site-packages" / "parent.pth").write_text(site)  # fmt: skip
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [environment / "bin" / "seamaug", "--quiet", "expand", "--budget", "3"]
    seeds = tmp_path / "seeds.jsonl"
    rows = [
        {"prompt": f"Name a {x}.", "chosen": f"A {x} is nice.", "rejected": "No."}
        for x in ("car", "tree", "dog", "cat", "sea")
    ]
    seeds.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = subprocess.run(
        [*command, str(seeds), "--out", "run"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (0, 3), done.stderr
    run = json.loads((empty / "run" / "run.json").read_text())
    assert run["counts"]["candidates"]["total"] > 0
    where = "import seamaug.resources as r; print(r.resource('prompts', 'paraphrase.jinja'))"
    found = subprocess.run([python, "-c", where], cwd=empty, capture_output=True, text=True)
    assert str(environment) in found.stdout
    shown = subprocess.run(
        [python, "-m", "pip", "show", "--files", "seamaug"], capture_output=True, text=True
    ).stdout
    for name in (
        "configs/small.yaml",
        "LICENSE",
        "DATA_LICENSES.md",
        "chat/question_answer.jinja",
        "prompts/operators.yaml",
        "report/page/page.html.jinja",
        "report/page/examples.js",
    ):
        assert name in shown
