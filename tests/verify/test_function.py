"""A user's function as a check: what it returns, what it raises, where it is looked for."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seamaug.errors import ConfigError
from seamaug.records import Evidence, Failure, Seed, user_message
from seamaug.user_code import function_mark, load_function
from seamaug.verify.function import SETTING, UserFunction

Write = Callable[[str], str]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Makes a module of its own; returns the path of its function `check`."""
    names: list[str] = []

    def write(body: str) -> str:
        name = f"user_checks_{len(names)}_{tmp_path.name.replace('-', '_')}"
        names.append(name)
        (tmp_path / f"{name}.py").write_text(body, encoding="utf-8")
        return f"{name}:check"

    monkeypatch.syspath_prepend(tmp_path)
    yield write
    for name in names:
        sys.modules.pop(name, None)


def seed(golden: str = "4", where: str = "seeds.jsonl:7") -> Seed:
    return Seed("id", user_message("2 + 2?"), golden, [], "", "", where)


def test_a_lower_value_than_the_golden_response_s_is_worse(written: Write) -> None:
    path = written(
        "def check(prompt, response, golden):\n"
        "    assert prompt == [{'role': 'user', 'content': '2 + 2?'}]\n"
        "    return response.strip() == golden\n"
    )
    found = UserFunction(path)([(seed(), ["4", "5", " 4 "]), (seed("5"), ["4"]), (seed(), [])])
    right, wrong = Evidence(path, 0.0, worse=False), Evidence(path, 1.0)
    assert found == [[right, wrong, right], [wrong], []]


def test_numbers_and_none(written: Write) -> None:
    path = written(
        "def check(prompt, response, golden):\n"
        "    return {'g': 3, 'a': 2.5, 'b': 3.0, 'c': 9, 'd': None}[response]\n"
    )
    found = UserFunction(path)([(seed("g"), ["a", "b", "c", "d"]), (seed("d"), ["a", "b"])])
    assert found[0] == [
        Evidence(path, 0.5),
        Evidence(path, 0.0, worse=False),
        Evidence(path, -6.0, worse=False),
        None,
    ]
    assert found[1] == [None, None]  # of a golden response that it cannot judge it tells nothing


def test_what_it_raises_is_named_and_proves_nothing(
    written: Write, caplog: pytest.LogCaptureFixture
) -> None:
    path = written(
        "def check(prompt, response, golden):\n"
        "    if response.startswith('bad'):\n"
        "        raise KeyError('no such answer')\n"
        "    return response == golden\n"
    )
    check = UserFunction(path)
    found = check([(seed(where="a.csv:3"), ["bad 1", "5", "4"]), (seed("bad"), ["5"])])
    failed = Failure(f"{path}: KeyError: 'no such answer'")
    assert found == [[failed, Evidence(path, 1.0), Evidence(path, 0.0, worse=False)], [failed]]
    first = caplog.records[0].getMessage()
    assert path in first
    assert "a.csv:3" in first
    assert "KeyError: 'no such answer'" in first
    assert len(caplog.records) == 2


def test_a_function_that_always_fails_does_not_flood_the_log(
    written: Write, caplog: pytest.LogCaptureFixture
) -> None:
    check = UserFunction(
        written("def check(p, r, g):\n    if r != g:\n        raise ValueError\n    return 1\n")
    )
    check([(seed(), [str(i) for i in range(50)])])
    assert len(caplog.records) == 5
    assert "further ones are not shown" in caplog.records[-1].getMessage()


@pytest.mark.parametrize("value", ["'yes'", "[1]", "float('nan')", "object()", "'1'"])
def test_a_value_that_is_no_number_ends_the_run(written: Write, value: str) -> None:
    path = written(f"def check(prompt, response, golden):\n    return {value}\n")
    with pytest.raises(ConfigError, match=r"must return a bool, a number or None") as caught:
        UserFunction(path)([(seed(where="a.csv:3"), ["5"])])
    assert path in str(caught.value)
    assert "a.csv:3" in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_package:check", "ModuleNotFoundError.*PYTHONPATH"),
        ("json:no_such_name", "AttributeError"),
        ("json.decoder:NaN", "is not callable"),
    ],
)
def test_a_function_that_cannot_be_had(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_function(path, SETTING)


def test_a_module_that_fails_to_import_is_named(written: Write) -> None:
    with pytest.raises(ConfigError, match=r"RuntimeError: at import"):
        load_function(written("raise RuntimeError('at import')\n"), SETTING)


def test_another_version_of_the_module_has_another_mark(written: Write) -> None:
    same = "def check(*a):\n    return True\n"
    first, again = function_mark(written(same), SETTING), function_mark(written(same), SETTING)
    other = function_mark(written("def check(*a):\n    return False\n"), SETTING)
    assert first == again != other
    assert function_mark("math:sqrt", SETTING) == "no source"
