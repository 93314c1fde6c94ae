"""A diagnosis as a page and as a section of a run's report, in a real browser."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from seamaug.diagnosis.result import FIGURES, Advice, Cell, Diagnosis, LeftOut, Prompt
from seamaug.diagnosis.statistics import Figure
from seamaug.errors import InputError
from seamaug.printable import printable
from seamaug.report.diagnosis_page import write_page
from seamaug.reporting import report

SIZE = 10_000_000


def diagnosis(policies: list[str], rewards: list[str], texts: list[str]) -> Diagnosis:
    """As of a grid; what a user or a model can name is one of the texts."""
    value = Figure(0.5, 0.25, 0.75, 4, (0.0, 0.1, 0.2, 0.3, 0.4))
    figures = dict.fromkeys(FIGURES, value) | {"conflict": Figure(missing=texts[0])}
    cells = [
        Cell(policy, reward, figures, False, {name: [0.1] * len(texts) for name in FIGURES})
        for policy in policies
        for reward in rewards
    ]
    return Diagnosis(
        policies=policies,
        rewards=rewards,
        prompt_count=len(texts),
        samples=3,
        cells=cells,
        advice=[Advice(p, r, texts[0], texts[-1], "a paper") for p in policies for r in rewards],
        judged={policy: dict.fromkeys(texts, 1200) for policy in policies},
        floor=0.05,
        prompts=[Prompt(str(n), text, text) for n, text in enumerate(texts)],
        left_out=[LeftOut(text, text, text) for text in texts],
        warnings=texts,
    )


@pytest.fixture
def found(hostile: list[str]) -> Diagnosis:
    return diagnosis(["embedded", hostile[0]], ["embedded", hostile[1]], hostile)


def is_clean(seen: Any, path: Path, scripts: int) -> None:
    """No complaint, no request, no text that has become markup."""
    counts = seen.page.evaluate(
        "['script', 'style', 'img', 'iframe', 'base', 'link', 'a[href]:not([href^=\"#\"])']"
        ".map(name => document.querySelectorAll(name).length)"
    )
    assert counts == [scripts, 1, 0, 0, 0, 0, 0]
    assert seen.page.evaluate("window.hacked") is None
    assert (seen.said, seen.asked) == ([], [path.as_uri()])


def test_the_page_of_a_diagnosis(
    visit: Callable[..., Any], found: Diagnosis, hostile: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "page.html"
    write_page(found, path)
    seen = visit(path)
    is_clean(seen, path, scripts=0)
    shown = " ".join(seen.shown("main").split())
    assert all(" ".join(printable(text).split()) in shown for text in hostile)
    assert seen.page.locator("svg.heat").count() == 5
    assert "0.50 [0.25, 0.75]" in shown
    phone = visit(path, width=360, scheme="dark")
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 360
    ground = phone.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(15, 20, 27)"


def test_a_report_holds_the_diagnosis(
    visit: Callable[..., Any], run: Path, found: Diagnosis, hostile: list[str], tmp_path: Path
) -> None:
    """By way of the JSON that the command prints."""
    told = tmp_path / "teacher.json"
    told.write_text(json.dumps(found.to_dict()), encoding="utf-8")
    path = report(run, tmp_path / "report.html", diagnosis=told)
    assert path.stat().st_size < SIZE
    seen = visit(path)
    is_clean(seen, path, scripts=2)
    seen.page.click("nav a[href='#teacher']")
    shown = " ".join(seen.shown("#teacher").split())
    assert all(" ".join(printable(text).split()) in shown for text in hostile)
    assert "other models than this run" not in shown
    assert seen.page.locator("#teacher svg.heat").count() == 5
    phone = visit(path, width=360)
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_report_says_that_a_diagnosis_is_of_other_models(run: Path, tmp_path: Path) -> None:
    path = report(run, tmp_path / "r.html", diagnosis=diagnosis(["embedded"], ["rm-2"], ["x"]))
    text = path.read_text(encoding="utf-8")
    assert "It names other models than this run: reward embedded of the run is not in it." in text
    assert "#teacher" not in report(run, tmp_path / "plain.html").read_text(encoding="utf-8")


def test_json_gives_the_diagnosis_back(found: Diagnosis) -> None:
    told = json.loads(json.dumps(found.to_dict()))
    back = Diagnosis.from_dict(told)
    assert back.to_dict() == found.to_dict()
    assert back.cell("embedded", "embedded") == replace(
        found.cell("embedded", "embedded"), per_prompt={}
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda told: told.pop("cells"),
        lambda told: told["cells"].pop(),
        lambda told: told["cells"][0]["figures"].pop("conflict"),
        lambda told: told["cells"][0]["figures"].update(conflict={"value": 1.0}),
        lambda told: told["cells"][0].update(figures=[]),
        lambda told: told.update(judged={}),
        lambda told: told.update(prompts="many"),
        lambda told: told.update(advice=[{"policy": 1}]),
    ],
)
def test_what_is_no_diagnosis_is_refused(
    run: Path, found: Diagnosis, tmp_path: Path, spoil: Callable[[dict[str, Any]], Any]
) -> None:
    told = found.to_dict()
    spoil(told)
    path = tmp_path / "teacher.json"
    for text in (json.dumps(told), "[]", "{", "null"):
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match="is no diagnosis: give what"):
            report(run, tmp_path / "report.html", diagnosis=path)
    with pytest.raises(InputError, match="cannot be read"):
        report(run, tmp_path / "report.html", diagnosis=tmp_path / "none.json")
    assert not (tmp_path / "report.html").exists()
