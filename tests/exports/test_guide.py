"""What is written beside the data: it names files that are there, and reads as what it is."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from seamaug import export
from seamaug.exports.dialects import DIALECTS

Make = Callable[..., Any]
SCRIPTS = {
    "trl": {"sft.py", "reward.py", "dpo.py", "kto.py", "grpo.py", "rloo.py"},
    "openrlhf": {"sft.sh", "reward.sh", "dpo.sh", "rl.sh"},
    "verl": {"sft.sh", "grpo.sh"},
    "llamafactory": {"sft.yaml", "reward.yaml", "dpo.yaml", "kto.yaml", "dataset_info.json"},
    "axolotl": {"sft.yaml", "dpo.yaml", "reward.yaml", "kto.yaml"},
}
DATA = re.compile(r"\w+/(?:train|validation)\.parquet")


@pytest.mark.parametrize("validation", [None, "20%"])
@pytest.mark.parametrize("name", DIALECTS)
def test_scripts_name_the_files_that_are_there(
    name: str, validation: str | None, run: Path
) -> None:
    (done,) = export(run, to=name, validation=validation)
    written = {path.name for path in done.path.iterdir() if path.is_file()}
    assert written == SCRIPTS[name] | {"README.md", "provenance.parquet"}
    for script in SCRIPTS[name]:
        text = (done.path / script).read_text(encoding="utf-8")
        assert "{%" not in text
        assert "{{" not in text
        named = {Path(path) for path in DATA.findall(text)}
        assert all((done.path / path).is_file() for path in named)
        told_to_validate = any(path.stem == "validation" for path in named)
        assert told_to_validate == bool(validation and named), script
    for script in (done.path / "README.md").read_text(encoding="utf-8").split():
        if script.endswith((".sh", ".yaml")) and "=" not in script:
            assert (done.path / script.strip("`")).is_file(), script


@pytest.mark.parametrize("name", ["openrlhf", "verl"])
def test_shell_scripts_ask_for_a_model_and_hand_options_on(
    name: str, run: Path, tmp_path: Path
) -> None:
    (done,) = export(run, to=name, validation="20%")
    programs = tmp_path / "bin"
    programs.mkdir()
    for program in ("deepspeed", "python3", "torchrun"):
        (programs / program).write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n', encoding="utf-8")
        (programs / program).chmod(0o755)
    environment = {"PATH": f"{programs}:/usr/bin:/bin"}
    for script in SCRIPTS[name]:
        alone = subprocess.run(
            ["bash", script], cwd=done.path, env=environment, capture_output=True, text=True
        )
        assert alone.returncode != 0
        assert "a folder or hub id" in alone.stderr
        models = ["my policy", "my-rm"] if script in ("rl.sh", "grpo.sh") else ["my policy"]
        told = subprocess.run(
            ["bash", script, *models, "--extra", "a b"],
            cwd=done.path,
            env=environment,
            capture_output=True,
            text=True,
        )
        assert told.returncode == 0, told.stderr
        arguments = told.stdout.splitlines()
        assert arguments[-2:] == ["--extra", "a b"]
        for model in models:
            assert sum(argument.endswith(model) for argument in arguments) == 1


def test_llamafactory_s_datasets_have_columns_and_tags_of_the_files(run: Path) -> None:
    (done,) = export(run, to="llamafactory", validation="20%")
    told = json.loads((done.path / "dataset_info.json").read_text(encoding="utf-8"))
    sides = ("", "_validation")
    forms = ("sft", "preference", "kto")
    assert set(told) == {f"seamaug_{form}{side}" for form in forms for side in sides}
    for name, entry in told.items():
        form = name.split("_")[1]
        assert entry.get("ranking", False) is (form == "preference")
        assert entry["formatting"] == "sharegpt"
        assert entry["tags"]["observation_tag"] == "tool"
        wanted = {
            "sft": {"messages": "messages"},
            "preference": {
                "messages": "conversations",
                "chosen": "chosen",
                "rejected": "rejected",
            },
            "kto": {"messages": "messages", "kto_tag": "label"},
        }
        assert entry["columns"] == wanted[form]
    for stage, script in {"sft": "sft", "rm": "reward", "dpo": "dpo", "kto": "kto"}.items():
        config = yaml.safe_load((done.path / f"{script}.yaml").read_text(encoding="utf-8"))
        assert config["stage"] == stage
        assert config["dataset"] in told
        assert config["eval_dataset"] == f"{config['dataset']}_validation"


def test_axolotl_s_configs_name_the_strategy_of_their_columns(run: Path) -> None:
    (done,) = export(run, to="axolotl", validation="20%")
    strategies = {
        "sft": ("sft", "chat_template"),
        "dpo": ("preference", "chat_template.argilla_chat"),
        "reward": ("reward", "bradley_terry.chat_template"),
        "kto": ("kto", "chatml.argilla_chat"),
    }
    for script, (form, strategy) in strategies.items():
        config = yaml.safe_load((done.path / f"{script}.yaml").read_text(encoding="utf-8"))
        for key, side in (("datasets", "train"), ("test_datasets", "validation")):
            (entry,) = config[key]
            assert entry["path"] == f"{form}/{side}.parquet"
            assert entry["type"] == strategy
        assert (config.get("rl"), config.get("reward_model")) == (
            script if script in ("dpo", "kto") else None,
            True if script == "reward" else None,
        )


def test_a_form_without_rows_has_no_script_and_no_file(finished: Make, candidate: Make) -> None:
    turns = [{"role": role, "content": role} for role in ("user", "assistant", "user")]
    run = finished("run", [candidate(n, prompt=turns) for n in range(3)])
    (done,) = export(run, to="axolotl")
    assert not (done.path / "reward").exists()
    assert not (done.path / "reward.yaml").exists()
    text = (done.path / "README.md").read_text(encoding="utf-8")
    assert "reward.yaml" not in text
    assert "config_name: reward" not in text
    assert "- Left out of `reward`: 3, each has several turns" in text
