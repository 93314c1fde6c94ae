"""The report in a real browser: it loads, search and clicks work, and hostile text stays text."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from seamaug.printable import printable
from seamaug.reporting import report


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(run, tmp_path_factory.mktemp("page") / "report.html")


def test_it_loads_without_a_complaint_and_asks_for_nothing(
    visit: Callable[..., Any], page: Path
) -> None:
    seen = visit(page)
    assert seen.page.locator("#example-rows tr.summary").count() > 5
    drawn = (
        "id => { const c = document.getElementById(id); const d = c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data; return d.some(v => v > 0); }"
    )
    for canvas in ("response-plot", "prompt-plot"):
        assert seen.page.evaluate(drawn, canvas), canvas
    assert seen.asked == [page.as_uri()]
    assert seen.said == []


def test_no_script_of_the_page_reaches_a_network(visit: Callable[..., Any], page: Path) -> None:
    seen = visit(page)
    asked = "fetch('http://127.0.0.1:9/x').then(() => 'reached', error => error.message)"
    with seen.page.expect_console_message() as told:
        assert "reached" not in seen.page.evaluate(asked)
    assert "Content Security Policy" in told.value.text


def test_search_finds_a_prompt_and_a_click_leads_to_its_examples(
    visit: Callable[..., Any], page: Path
) -> None:
    seen = visit(page)
    row = seen.page.evaluate("prompts.findIndex(prompt => prompt.kept && prompt.made > 1)")
    prompt = seen.page.evaluate("row => prompts[row]", row)
    words = prompt["text"].split()
    seen.page.fill("#prompt-search", " ".join([words[-1], words[0]]).upper())
    seen.page.locator(f"#prompt-list button[data-row='{row}']").click()
    assert " ".join(words) in " ".join(seen.shown("#prompt").split())
    seen.page.click("#prompt button")
    assert f"{prompt['made']} of" in seen.shown("#example-count")
    assert seen.page.locator("#example-rows tr.summary").count() == prompt["made"]
    seen.page.click("#chosen-prompt button")
    assert f"{prompt['made']} of" not in seen.shown("#example-count")
    seen.page.fill("#prompt-search", "no prompt says this")
    assert seen.shown("#prompt-count").startswith("0 of")
    assert seen.said == []


@pytest.mark.parametrize("plot", ["prompt", "response"])
def test_a_click_on_a_dot_shows_what_it_stands_for(
    visit: Callable[..., Any], page: Path, plot: str
) -> None:
    seen = visit(page)
    seen.page.locator(f"#{plot}-plot").scroll_into_view_if_needed()
    rank = "dot => dot.prompt !== null" if plot == "prompt" else "dot => dot.worst"
    found = seen.page.evaluate(
        f"(() => {{ const dot = {plot}Plot.dots.filter({rank}).sort((a, b) => b.x - a.x)[0];"
        f"const [x, y] = {plot}Plot.place(dot);"
        "return {x, y, text: dot.text ?? prompts[dot.prompt].text}; })()"
    )
    seen.page.click(f"#{plot}-plot", position={"x": found["x"], "y": found["y"]})
    assert " ".join(found["text"].split()) in " ".join(seen.shown(f"#{plot}").split())


def test_examples_are_filtered_ordered_paged_and_opened(
    visit: Callable[..., Any], page: Path
) -> None:
    seen = visit(page)
    total = seen.page.evaluate("examples.length")
    kept = seen.page.evaluate("examples.filter(row => row.verdict === 'kept').length")
    assert 0 < kept < total
    seen.page.click("#next")
    assert seen.shown("#page").startswith("2 of")
    seen.page.select_option("#verdict", "kept")
    assert seen.shown("#example-count").startswith(f"{kept} of {total}")
    assert seen.shown("#page").startswith("1 of")
    seen.page.select_option("#order", "lowest SEAM after")
    values = [
        float(text) for text in seen.page.locator("tr.summary td:nth-child(4)").all_inner_texts()
    ]
    assert values == sorted(values)
    seen.page.locator("#example-rows button.open").first.focus()
    seen.page.keyboard.press("Enter")
    opened = seen.page.locator(".example")
    assert opened.count() == 1
    assert seen.page.locator("#example-rows button.open").first.get_attribute("aria-expanded")
    parts = seen.page.evaluate(
        "(() => { const box = document.querySelector('.example .text');"
        "return ['ins', 'del'].map(tag => box.querySelectorAll(tag).length); })()"
    )
    assert sum(parts) > 0


def test_the_other_axis_shows_the_golden_responses_too(
    visit: Callable[..., Any], page: Path
) -> None:
    seen = visit(page)
    before = seen.page.evaluate("responsePlot.dots.length")
    seen.page.check("input[value=reward]")
    golden = seen.page.evaluate("responses.filter(dot => dot.golden).length")
    assert seen.page.evaluate("responsePlot.dots.length") == before + golden > before


def test_all_operators_are_a_click_away(visit: Callable[..., Any], page: Path) -> None:
    seen = visit(page)
    rows = seen.page.locator("#operators [aria-label=Operators] tbody tr:visible")
    assert rows.count() == 12
    seen.page.click("#all-operators")
    assert rows.count() > 12


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_it_without_scrolling_sideways(
    visit: Callable[..., Any], page: Path, scheme: str
) -> None:
    seen = visit(page, width=360, scheme=scheme)
    seen.page.locator("#example-rows button.open").first.click()
    seen.page.locator("#prompt-list button").first.click()
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= 360
    ground = seen.page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, ground.removeprefix("rgb(").removesuffix(")").split(","))) > 384
    assert light == (scheme == "light")


def test_whoever_sees_nothing_is_told_everything(visit: Callable[..., Any], page: Path) -> None:
    seen = visit(page)
    nameless = seen.page.evaluate(
        "[...document.querySelectorAll('input, select, button, canvas, svg[role], section')]"
        ".filter(e => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')"
        " || e.labels?.length || e.textContent.trim())).map(e => e.outerHTML)"
    )
    assert nameless == []
    loose = "[...document.querySelectorAll('svg:not([role]):not([aria-hidden])')].length"
    assert seen.page.evaluate(loose) == 0
    levels = seen.page.evaluate(
        "[...document.querySelectorAll('h1, h2, h3')].map(e => Number(e.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))


def test_hostile_text_stays_text(
    visit: Callable[..., Any], hostile: list[str], hostile_page: Path
) -> None:
    seen = visit(hostile_page)
    seen.page.click("#all-operators")
    for button in ("#prompt-list button", "#worst button", "#example-rows button.open"):
        for place in range(min(8, seen.page.locator(button).count())):
            seen.page.locator(button).nth(place).click()
    found = 0
    for text in hostile:
        seen.page.fill("#example-search", printable(text))
        words = " ".join(printable(text).split())
        assert words in " ".join(seen.shown("#example-rows").split())
        assert words in " ".join(seen.shown("#operators").split())
        seen.page.fill("#prompt-search", printable(text))
        found += not seen.shown("#prompt-count").startswith("0 of")
    assert found > len(hostile) / 2  # those that were selected
    assert seen.page.evaluate("window.hacked") is None
    counts = seen.page.evaluate(
        "['script', 'style', 'img', 'iframe', 'base', 'link', 'a[href]:not([href^=\"#\"])']"
        ".map(name => document.querySelectorAll(name).length)"
    )
    assert counts == [2, 1, 0, 0, 0, 0, 0]
    handlers = (
        "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
        ".filter(name => name.startsWith('on') || name === 'style')"
    )
    assert seen.page.evaluate(handlers) == []
    steering = seen.page.evaluate("document.body.textContent.match(/[\\x1b\\x07\\u202e\\u2066]/)")
    assert steering is None
    assert seen.said == []
    assert seen.asked == [hostile_page.as_uri()]
