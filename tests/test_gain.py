"""The experiment of examples/gain: its machinery on a handful of rows, never its effect."""

import importlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

GAIN = Path(__file__).parents[1] / "examples" / "gain"


@pytest.fixture(scope="module")
def gain() -> Iterator[Any]:
    """Imports a module of the experiment, which is a folder of scripts."""
    sys.path.insert(0, str(GAIN))
    yield importlib.import_module
    sys.path.remove(str(GAIN))


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of all arms of a tiny seed."""
    work = tmp_path_factory.mktemp("gain")
    run(str(GAIN / "run.py"), "--quick", "--seeds", "3", "--work", str(work))
    return work / "laptop-quick.jsonl"


def rows_of(results: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert len({row["arm"] for row in rows}) == len(rows)
    return {row["arm"]: row for row in rows}


def test_every_arm_is_measured_at_equal_volume(results: Path, gain: Any) -> None:
    arms = gain("arms")
    rows = rows_of(results)
    assert list(rows) == [*arms.ARMS, *arms.DROPS]
    settings = yaml.safe_load((GAIN / "laptop.yaml").read_text(encoding="utf-8"))["quick"]
    selected = round(0.2 * settings["sizes"]["seeds"])
    volumes = {arm: rows[arm]["rows"] for arm in arms.ARMS}
    assert volumes.pop("none") == 0
    assert volumes.pop("everything") == settings["sizes"]["seeds"] * settings["variants"]
    assert max(volumes.values()) == selected * settings["variants"]
    for row in rows.values():
        assert 0 <= row["gold"] <= 1
        assert row["seed"] == 3
    assert rows["none"]["win_rate"] == 0.5
    assert {arm: rows[arm]["rl_prompts"] for arm in arms.DROPS} == {
        "drop random 20%": 24,
        "drop perplexity 20%": 24,
        "drop seam 10%": 27,
        "drop seam 20%": 24,
        "drop seam 40%": 18,
    }


def test_what_is_done_is_not_done_again(results: Path) -> None:
    before = results.read_bytes()
    run(str(GAIN / "run.py"), "--quick", "--seeds", "3", "--work", str(results.parent))
    assert results.read_bytes() == before


def test_the_page_says_what_the_rows_say(results: Path) -> None:
    pytest.importorskip("matplotlib")
    text = run(str(GAIN / "page.py"), "--results", str(results))
    assert results.with_suffix(".md").read_text(encoding="utf-8").strip() == text.strip()
    assert f"| random | {rows_of(results)['random']['rows']} |" in text
    assert "<svg" in results.with_suffix(".svg").read_text(encoding="utf-8")


def test_a_gain_is_relative_and_paired(gain: Any) -> None:
    page = gain("page")
    base = np.array([0.2, 0.4, 0.6])
    table = {"random": {"gold": base}, "seam": {"gold": 1.1 * base}}
    assert page.gain(table, "seam", "random", page.Bootstrap(3)) == "+10.0% [+10.0%, +10.0%]"


def test_tasks_know_right_from_wrong(gain: Any) -> None:
    tasks = gain("laptop.tasks")
    rng = random.Random(0)
    for kind in tasks.KINDS.values():
        for _ in range(50):
            task = kind.task(rng)
            assert task.is_right(task.answer)
            assert task.mistakes
            assert not any(task.is_right(mistake) for mistake in task.mistakes)
            other = task.reworded(rng)
            assert other.prompt != task.prompt
            assert other.answer == task.answer


def test_no_prompt_is_drawn_twice(gain: Any) -> None:
    tasks = gain("laptop.tasks")
    rng, known = random.Random(0), set()
    first = tasks.draw(list(tasks.KINDS), 300, rng, known)
    second = tasks.draw(list(tasks.KINDS), 300, rng, known)
    assert len({task.prompt for task in first + second}) == 600
    assert {task.kind for task in first} == tasks.KINDS.keys()
