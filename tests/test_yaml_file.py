"""YAML of settings and operators, within bounds."""

from pathlib import Path
from typing import Any

import pytest

from seamaug.config import load_config
from seamaug.errors import ConfigError
from seamaug.generate.llm.operators import load_operators
from seamaug.yaml_file import read_yaml
from tests.fuzz.targets import BOMB


def test_a_few_aliases_that_stand_for_too_much_are_refused(tmp_path: Path) -> None:
    for name, load in (("config.yaml", load_config), ("operators.yaml", load_operators)):
        path = tmp_path / name
        path.write_bytes(BOMB)
        assert len(BOMB) < 1000
        with pytest.raises(ConfigError, match=r"\.yaml: its aliases stand for more than 100,000"):
            load(str(path) if name == "config.yaml" else str(tmp_path))  # type: ignore[operator]


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}"])
def test_what_holds_itself_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match="for one that holds itself"):
        read_yaml(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# nothing", None),
        ("a: &a {b: [1, x]}\nc: {<<: *a, d: *a}", {
            "a": {"b": [1, "x"]}, "c": {"b": [1, "x"], "d": {"b": [1, "x"]}},
        }),
        ("a: []\nb: {}\nc: ''", {"a": [], "b": {}, "c": ""}),
    ],
)  # fmt: skip
def test_what_is_sound_is_read(tmp_path: Path, text: str, value: Any) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    assert read_yaml(path) == value


def test_a_long_wrong_value_is_not_spelt_out(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"engine: {'x' * 100_000}")
    with pytest.raises(ConfigError, match="engine") as raised:
        load_config(path)
    assert len(str(raised.value)) < 1000
