"""The names that `from seamaug import ...` promises."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

import seamaug
from seamaug import expand, score, stand_in
from seamaug.cli import main
from seamaug.errors import ConfigError


def test_every_public_name_is_what_it_says_also_after_its_modules_are_imported() -> None:
    """A subpackage of the same name would take a function's place once it is imported."""
    check = (
        "from seamaug import expand, export, score, select, ExpandResult\n"
        "import seamaug, types\n"
        "for name in seamaug.__all__:\n"
        "    assert not isinstance(getattr(seamaug, name), types.ModuleType), name\n"
        "assert callable(score) and callable(select) and callable(expand) and callable(export)\n"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {"expand", "export", "score", "select"} <= set(seamaug.__all__)


def test_stand_ins_are_folders_that_other_libraries_load() -> None:
    policy = AutoModelForCausalLM.from_pretrained(stand_in("policy"))
    reward = AutoModelForSequenceClassification.from_pretrained(stand_in("reward"))
    assert policy.config.vocab_size > 1000
    assert reward.config.num_labels == 1
    with pytest.raises(ConfigError, match="no stand-in for 'judge'"):
        stand_in("judge")


def test_a_result_prints_what_the_command_shows(
    bundled: Callable[[int], list[dict[str, Any]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = {"select.share": 0.5, "keep.rule": "discrepant", "score.samples": 2}
    result = expand(bundled(6), budget=2, out=tmp_path / "run", settings=settings)
    capsys.readouterr()
    result.show(1)
    said = capsys.readouterr().out
    shown = CliRunner().invoke(main, ["show", str(tmp_path / "run"), "--examples", "1"])
    assert shown.exit_code == 0
    assert said == shown.stdout
    assert "2 of 2 examples kept" in said


def test_other_chat_templates_are_warned_of(
    bundled: Callable[[int], list[dict[str, Any]]],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    settings = {"reward.chat_template": "question_answer", "keep.rule": "discrepant"}
    message = "policy embedded and reward model embedded have different chat templates"
    score(bundled(4), settings=settings)
    assert caplog.text.count(message) == 1
    expand(bundled(4), budget=1, out=tmp_path / "run", settings=settings | {"score.samples": 2})
    assert caplog.text.count(message) == 2
    expand(bundled(4), budget=1, out=tmp_path / "other", settings={"score.samples": 2})
    assert caplog.text.count(message) == 2
