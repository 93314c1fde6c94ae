"""A real run over texts that try to be more than text, and a browser to look at its report."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seamaug import expand
from seamaug.reporting import report
from seamaug.run.seal import seal

HOSTILE = [
    "<script>window.hacked = 1</script>",
    "</script><img src=x onerror='window.hacked = 1'>",
    "javascript:window.hacked=1",
    "<!--<script>]]></style></textarea>",
    '" onmouseover="window.hacked=1" x="',
    "red \x1b[31m bell \x07 and bidi \u202egnp.exe\u2066 and \u2028 end",
    "{{ 7*7 }}{% raw %}${7*7}`",
]
"""What a page might take for markup, code or orders."""
_CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SETTINGS = {
    "score.samples": 4,
    "select.share": 0.9,
    "generate.per_round": 3,
    "generate.policy_samples": 0,
    "generate.policy_max_new_tokens": 4,
    "keep.probes": 8,
    "keep.near": 2,
    "keep.variance_prompts": 4,
    "keep.variance_samples": 2,
}


@pytest.fixture(scope="session")
def hostile() -> list[str]:
    return HOSTILE


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, bundled: Callable[..., Any]) -> Path:
    """A finished run, to be read only: bundled seeds, and hostile ones among them."""
    rows = bundled(9) + [
        {
            "prompt": f"What is this: {text}",
            "chosen": f"It is {text}, number {n}.",
            "rejected": f"Number {n} is no {text}",
            "source": text,
            "licence": text,
        }
        for n, text in enumerate(HOSTILE)
    ]
    rows = [
        {name: row[name] for name in ("prompt", "chosen", "rejected", "source", "licence")}
        for row in rows
    ]
    out = tmp_path_factory.mktemp("runs") / "run <script>alert(1)"
    return expand(rows, budget=24, out=out, settings=_SETTINGS).path


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """A copy of the run that a test may spoil."""
    return Path(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture(scope="session")
def hostile_page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the run, once all its names are hostile too."""
    spoilt = Path(shutil.copytree(run, tmp_path_factory.mktemp("hostile") / "run"))
    table = pq.read_table(spoilt / "provenance.parquet")
    for name, values in {
        "operator": [HOSTILE[n % len(HOSTILE)] for n in range(table.num_rows)],
        "verifier": [HOSTILE[(n + 1) % len(HOSTILE)] for n in range(table.num_rows)],
        "reply": [HOSTILE[(n + 2) % len(HOSTILE)] for n in range(table.num_rows)],
    }.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    pq.write_table(table, spoilt / "provenance.parquet")
    seal(spoilt / "provenance.parquet")
    summary = json.loads((spoilt / "run.json").read_text(encoding="utf-8"))
    account = next(iter(summary["spending"]["operators"].values()))
    summary["spending"]["operators"] |= dict.fromkeys(HOSTILE, account)
    used = {"requests": 1, "unreadable": 0, "failed": 0, "prompt_tokens": 9, "new_tokens": 9,
            "cost": 0.01}  # fmt: skip
    summary["generation"] = dict.fromkeys(HOSTILE, used)
    summary["config"]["seeds"]["paths"] = HOSTILE
    summary["outcome"] = summary["models"]["policy"]["name"] = HOSTILE[0]
    summary["counts"]["candidates"]["rejected"][HOSTILE[1]] = 3
    (spoilt / "run.json").write_text(json.dumps(summary), encoding="utf-8")
    return report(spoilt)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A real headless Chromium; where there is none, tests that need one are skipped and say so.

    Of a module: while it is open, an event loop runs, beside which other tests could start none.
    """
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _CHROMIUM)), None)
    if program is None:
        pytest.skip("no Chromium: install one (apt-get install chromium), or name it in CHROMIUM")
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", "--no-first-run"]  # fmt: skip
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=program, args=arguments, timeout=300_000
        )
        yield started
        started.close()


SLOW = 120_000  # milliseconds: a busy machine is no fault of the page


class Visit:
    """A page, and all that it complained of or asked for."""

    def __init__(self, page: Any, path: Path) -> None:
        self.page = page
        self.said: list[str] = []
        self.asked: list[str] = []
        page.set_default_timeout(SLOW)
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: (self.said.append(dialog.message), dialog.dismiss()))
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(path.as_uri())

    def shown(self, selector: str) -> str:
        return str(self.page.locator(selector).inner_text())


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Visit]]:
    contexts = []

    def go(path: Path, width: int = 1200, scheme: str = "light") -> Visit:
        size = {"width": width, "height": 900}
        contexts.append(browser.new_context(viewport=size, color_scheme=scheme))
        return Visit(contexts[-1].new_page(), path)

    yield go
    for context in contexts:
        context.close()
