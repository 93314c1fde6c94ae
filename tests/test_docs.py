"""Every code block of the README and the guide runs as it stands, but with tiny models and budgets.

A block that cannot run has `<!-- not run: why -->` before it. Blocks of one page share a folder and
their Python names; yaml blocks whose first line names a file are that file.
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner

import seamaug
from seamaug import config
from seamaug.cli import main
from seamaug.config import Section, load_config
from seamaug.resources import resource
from tests.models.faulty_server import MODEL, FaultyServer
from tests.test_paid_generation import rewrite

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r"(?P<why><!-- not run: [^>]+ -->\n)?^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.M | re.S
)
SMALLER = {
    r"--budget \w+": "--budget 2",
    r"budget=[\d_]+": "budget=2",
    r"--max-cost \d+": "--max-cost 0.001",
    r"--validation 5%": "--validation 50%",  # of so few parents
    r"--ratio 4:1": "--ratio 1:1",
    r"diagnose prefs.jsonl": "diagnose prefs.jsonl --prompts 4 --samples 2",
    r"https://api\.example\.com/v1": "{url}",
    r"name: some-model": f"name: {MODEL}",
}
SETTINGS = {
    "score.samples": 4,
    "score.on_policy.max_new_tokens": 4,
    "generate.policy_samples": 0,
    "generate.per_parent": 8,
    "keep.rule": "discrepant",
}
"""What the blocks leave to the defaults."""

LONG = ("strength", "train-rm")
"""Commands that train models: here they are parsed, and tests of their own run them."""


class Code(NamedTuple):
    """A fenced block."""

    language: str
    text: str


def blocks(page: Path) -> list[Code]:
    """The blocks of a page that are to run."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [Code(block["language"], block["code"]) for block in found if not block["why"]]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with FaultyServer(reply=rewrite) as running:
        yield running.url


@pytest.fixture
def sandbox(
    tmp_path: Path,
    bundled: Any,
    saved: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    url: str,
) -> Callable[[str], str]:
    """A folder with what the texts name; makes budgets small and addresses local."""
    for name, folder in {
        "my-sft": saved("llama", "causal"),
        "my-rm": saved("llama", "reward"),
        "rm-a": saved("llama", "reward", initializer_range=0.3),
        "rm-b": saved("llama", "reward", initializer_range=0.5),
        "rm-gold": saved("llama", "reward", initializer_range=0.4),
        "sentence-transformers/all-MiniLM-L6-v2": resource("embedded", "embedder"),
    }.items():
        shutil.copytree(folder, tmp_path / name)
    rows = [{"prompt": r["prompt"], "chosen": r["chosen"], "rejected": "No."} for r in bundled(8)]
    (tmp_path / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "seamaug.arguments.load_config",
        lambda path, overrides: load_config(path, {**SETTINGS, **overrides}),
    )
    # TRL computes in bfloat16 unless told otherwise, and refuses that without a GPU.
    monkeypatch.setattr("transformers.training_args.is_torch_bf16_gpu_available", lambda: True)
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def smaller(text: str) -> str:
        for long, short in SMALLER.items():
            text = re.sub(long, short.replace("{url}", url), text, flags=re.M)
        return text

    return smaller


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_code_blocks(page: Path, sandbox: Callable[[str], str]) -> None:
    names: dict[str, Any] = {"__name__": "docs"}
    todo = [Code(block.language, sandbox(block.text)) for block in blocks(page)]
    for code in todo:
        if code.language == "yaml":
            Path(code.text.split()[1]).write_text(code.text)
    for code in todo:
        for folder in re.findall(r"out[ =]\"?(runs/\w+)", code.text):
            shutil.rmtree(folder, ignore_errors=True)  # blocks name one folder for different runs
        RUNNERS[code.language](code.text, names)


def run_python(text: str, names: dict[str, Any]) -> None:
    exec(compile(text, "<block>", "exec"), names)


def run_bash(text: str, names: dict[str, Any]) -> None:
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            command, *arguments = words
            COMMANDS[command](arguments)


def run_yaml(text: str, names: dict[str, Any]) -> None:
    load_config(text.split()[1])


def run_json(text: str, names: dict[str, Any]) -> None:
    for line in text.splitlines():
        json.loads(line)


def run_seamaug(arguments: list[str]) -> None:
    if arguments[0] in LONG:
        main.commands[arguments[0]].make_context(arguments[0], arguments[1:])
        return
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (0, 3), (arguments, result.output, result.exception)
    if "--json" in arguments:
        json.loads(result.stdout)


def check_make(targets: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), f"there is no target {target}"


def test_each_environment_of_the_makefile_is_asked_for_whole_requirements() -> None:
    """A comma ends an argument of make's `call`: where one was meant, nothing was installed."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    asked = re.findall(r"^\t\$\(call install,(.*)\)$", makefile, re.M)
    assert asked
    assert [arguments.count(",") for arguments in asked] == [1] * len(asked)


def check_pip(arguments: list[str]) -> None:
    """That the extras exist: the packages are those of this environment."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    for extra in re.findall(r"\[([\w,]+)\]", " ".join(arguments)):
        assert set(extra.split(",")) <= extras.keys()


def find_script(arguments: list[str]) -> None:
    """That an earlier command wrote it: the exports' own tests run such scripts."""
    assert Path(arguments[0]).is_file(), arguments[0]


def export(assignments: list[str]) -> None:
    os.environ.update(assignment.split("=", 1) for assignment in assignments)


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "seamaug": run_seamaug,
    "make": check_make,
    "pip": check_pip,
    "export": export,
    "python": find_script,
}
RUNNERS: dict[str, Callable[[str, dict[str, Any]], None]] = {
    "python": run_python,
    "bash": run_bash,
    "yaml": run_yaml,
    "json": run_json,
}


def test_the_readme_and_the_guide_have_code() -> None:
    """What finds no block would pass."""
    assert {page.stem for page in PAGES if blocks(page)} >= {
        "README",
        "start",
        "formats",
        "training",
        "scaling",
        "scripts",
        "config",
    }


def test_public_names_are_typed_and_say_what_they_do() -> None:
    assert (Path(seamaug.__file__).parent / "py.typed").is_file()
    for name in set(seamaug.__all__) - {"__version__"}:
        assert len(getattr(seamaug, name).__doc__) > 30, name


def test_the_site_has_every_name_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    """Strict: a link or reference that leads nowhere is an error."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    api, settings, cli = (
        (tmp_path / "reference" / f"{name}.html").read_text(encoding="utf-8")
        for name in ("api", "config", "cli")
    )
    for name in set(seamaug.__all__) - {"__version__", "Config"}:
        assert re.search(rf'<h2 id="seamaug[\w.]*\.{name}"', api), name
    shared = {"Section", "ModelConfig", "LanguageModelConfig"}
    for name in set(config.__all__) - shared:
        kind = getattr(config, name)
        if isinstance(kind, type) and issubclass(kind, Section):
            assert f'id="{kind.__module__}.{name}"' in settings, name
            for field in kind.model_fields:
                assert f'id="{kind.__module__}.{name}.{field}"' in settings, (name, field)
    for name in main.commands:
        assert f"seamaug {name}" in cli
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|iframe)[^>]+src="([^"]+)|<link[^>]+href="([^"]+)',
            page.read_text(encoding="utf-8"),
        )
        assert not [pair for pair in loaded if re.match(r"(https?:)?//", "".join(pair))], page
