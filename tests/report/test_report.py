"""What the page says, against the run that it is about."""

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from seamaug.cli import main
from seamaug.errors import ConfigError, RunFolderError
from seamaug.report import candidates, charts, payload
from seamaug.report.responses import Correlation
from seamaug.reporting import report
from seamaug.run.seal import seal

Rows = list[dict[str, Any]]


def data_of(page: Path) -> dict[str, Rows]:
    """The tables of a page's scripts."""
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    tables = json.loads(found[1])
    return {
        name: [dict(zip(table["fields"], row, strict=True)) for row in table["rows"]]
        for name, table in tables.items()
    }


@pytest.fixture(scope="module")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report(run, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def rows(run: Path) -> Rows:
    found: Rows = pq.read_table(run / "provenance.parquet").to_pylist()
    return found


def test_a_small_run_is_shown_whole_with_its_numbers(page: Path, rows: Rows, run: Path) -> None:
    data = data_of(page)
    shown = {example["id"]: example for example in data["examples"]}
    assert shown.keys() == {row["id"] for row in rows}
    prompts = data["prompts"]
    made = Counter(row["parent"] for row in rows)
    assert {p["id"]: p["made"] for p in prompts if p["made"]} == made
    for row in rows:
        example = shown[row["id"]]
        assert prompts[example["prompt"]]["id"] == row["parent"]
        assert (example["verdict"], example["reason"]) == (row["verdict"], row["reason"])
        if row["seam_after"] is not None:
            assert example["after"] == pytest.approx(row["seam_after"], rel=1e-3)
    assert "Shown: " not in page.read_text(encoding="utf-8")
    seeds = json.loads((run / "run.json").read_text())["counts"]["seeds"]["total"]
    assert len(data["seeds"]) == seeds
    assert page.stat().st_size < 10e6


def test_what_is_misjudged_adds_up_to_the_seam_of_its_prompt(page: Path) -> None:
    data = data_of(page)
    assert len(data["responses"]) < payload.SEEDS  # all of them
    weights: Counter[int] = Counter()
    for response in data["responses"]:
        weights[response["position"]] += response["weight"]
        assert (response["weight"] > 0) <= (response["margin"] > 0)
    for seed in data["seeds"]:
        assert seed["seam"] is not None
        assert weights[seed["position"]] == pytest.approx(seed["seam"], abs=2e-3)


def test_the_same_run_gives_the_same_bytes(page: Path, run: Path, tmp_path: Path) -> None:
    assert report(run, tmp_path / "again.html").read_bytes() == page.read_bytes()


def test_the_command_writes_into_the_run_folder_and_says_where(copy: Path) -> None:
    result = CliRunner().invoke(main, ["report", str(copy)])
    assert result.exit_code == 0, result.output
    assert Path(result.stdout.strip()) == copy / "report.html"
    assert "What this shows." in (copy / "report.html").read_text(encoding="utf-8")


def test_what_is_no_longer_in_the_folder_is_said_and_left_out(copy: Path) -> None:
    shutil.rmtree(copy / "stages")
    page = report(copy)
    text = page.read_text(encoding="utf-8")
    assert text.count("no longer in the run folder") == 2
    assert len(data_of(page)["examples"]) > 5
    (copy / "provenance.parquet").write_bytes(b"no table")
    with pytest.raises(RunFolderError, match="missing or damaged"):
        report(copy)


def test_a_page_replaces_only_another_one(copy: Path, tmp_path: Path) -> None:
    seeds = tmp_path / "seeds.jsonl"
    seeds.write_text('{"prompt": "q"}')
    with pytest.raises(ConfigError, match="exists and is no page"):
        report(copy, seeds)
    assert seeds.read_text() == '{"prompt": "q"}'
    first = report(copy).read_bytes()
    assert report(copy).read_bytes() == first


def test_what_is_no_finished_run_is_refused_by_name(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(RunFolderError, match="not a run folder"):
        report(tmp_path)
    summary = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    del summary["spending"]
    (copy / "run.json").write_text(json.dumps(summary), encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"lacks spending.*another version"):
        report(copy)


def test_nothing_kept_and_no_look_ahead_are_said(copy: Path) -> None:
    path = copy / "provenance.parquet"
    table = pq.read_table(path)
    verdicts = pa.array(["rejected"] * table.num_rows)
    place = table.schema.get_field_index("verdict")
    pq.write_table(table.set_column(place, "verdict", verdicts), path)
    seal(path)
    summary = json.loads((copy / "run.json").read_text(encoding="utf-8"))
    summary["foreseen"] = {}
    summary["kept"] = {"rejected_sources": {}, "seam_before": None, "seam_after": None}
    (copy / "run.json").write_text(json.dumps(summary), encoding="utf-8")
    text = report(copy).read_text(encoding="utf-8")
    assert "Nothing was kept" in text
    assert "the guard was off" in text


def test_a_sample_has_each_reason_and_some_of_each_prompt(run: Path, rows: Rows) -> None:
    parents = sorted({row["parent"] for row in rows})[:3]
    found = candidates.read_candidates(run, parents, 6)
    assert found.total == len(rows)
    kept = [row for row in rows if row["verdict"] == "kept"]
    assert sorted(found.before) == sorted(row["seam_before"] for row in kept)
    assert found.made == Counter(row["parent"] for row in rows)
    shown = {row["id"] for row in found.sample}
    for parent in parents:
        for verdict in (True, False):
            family = [row for row in rows if row["parent"] == parent]
            own = [row["id"] for row in family if (row["verdict"] == "kept") == verdict]
            assert not own or min(own) in shown
    assert {row["reason"] for row in found.sample} == {row["reason"] for row in rows}


def test_a_run_too_large_for_a_page_is_sampled_and_the_page_says_so(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PROMPTS", "SEEDS", "EXAMPLES"):
        monkeypatch.setattr(payload, name, 4)
    monkeypatch.setattr(candidates, "_OF_EACH_REASON", 1)
    monkeypatch.setitem(payload._SIZES, "responses", 1000)
    page = report(copy)
    text = page.read_text(encoding="utf-8")
    data = data_of(page)
    total = pq.read_metadata(copy / "provenance.parquet").num_rows
    assert f"Shown: {len(data['examples'])} of {total} candidates, a sample." in text
    assert len(data["examples"]) < total
    for what in ("responses", "seeds"):
        assert re.search(rf"Shown: \d+ of \d+ {what}", text), what


def test_no_text_is_long_enough_to_make_the_page_too_large(copy: Path) -> None:
    path = copy / "provenance.parquet"
    table = pq.read_table(path)
    count = 4000
    table = table.take(pa.array([n % table.num_rows for n in range(count)]))
    for name, values in {
        "id": [f"{n * 0x9E3779B97F4A7C15 % 2**64:016x}" for n in range(count)],
        "chosen": ["<&>" * 2000] * count,
        "rejected": ["\u2028漢" * 2000] * count,
    }.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    pq.write_table(table, path)
    seal(path)
    page = report(copy)
    assert 5e6 < page.stat().st_size < 10e6
    shown = len(data_of(page)["examples"])
    text = page.read_text(encoding="utf-8")
    assert f"Shown: {shown:,} of 4,000 candidates, a sample." in text


def test_show_draws_the_same_funnel(run: Path, page: Path) -> None:
    result = CliRunner().invoke(main, ["show", str(run), "--examples", "0"], terminal_width=200)
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    counts = json.loads((run / "run.json").read_text())["counts"]["candidates"]
    text = page.read_text(encoding="utf-8")
    assert "█" in result.stdout
    for reason, count in counts["rejected"].items():
        assert f"rejected {count} {reason.split()[0]}" in said
        assert f'<td class="number">{count}</td>' in text
        assert f'<td class="note">{reason}</td>' in text


def test_a_narrow_terminal_keeps_the_funnels_numbers(run: Path) -> None:
    result = CliRunner().invoke(
        main, ["show", str(run), "--examples", "0"], env={"COLUMNS": "40"}, terminal_width=40
    )
    counts = json.loads((run / "run.json").read_text())["counts"]["candidates"]
    lines = result.stdout.splitlines()
    assert any("candidates" in line and f"{counts['total']:,}" in line for line in lines)
    assert any("kept" in line and f" {counts['kept']:,} " in line for line in lines[2:])


@pytest.mark.parametrize("scale", [1e-6, 1.0, 37.5, 1e6])
def test_ticks_are_round_and_within_the_axis(scale: float) -> None:
    found = charts.ticks(-0.3 * scale, scale)
    values = np.array([value for value, _ in found])
    assert 3 <= len(found) <= 8
    assert values.min() >= -0.3 * scale
    assert values.max() <= scale * (1 + 1e-9)
    assert np.allclose(np.diff(values), values[1] - values[0])
    assert len({text for _, text in found}) == len(found)


def test_a_flat_line_and_equal_values_have_a_chart() -> None:
    flat = charts.Series("flat", "after", [(0, 1.0), (1, 1.0)])
    chart = charts.line_chart("t", ("x", "y"), [flat], "r", from_zero=False)
    assert "nan" not in chart.series[0].line


def test_correlation_of_a_stream_is_that_of_the_whole() -> None:
    draw = np.random.default_rng(0)
    x, noise = draw.normal(size=(2, 300))
    y = 0.5 * x + noise
    stream = Correlation()
    for start in range(0, 300, 70):
        stream.add(x[start : start + 70], y[start : start + 70])
    assert stream.r == pytest.approx(np.corrcoef(x, y)[0, 1])
    same = Correlation()
    same.add(np.full(5, 0.1), y[:5])
    assert same.r is None


def test_a_reading_follows_the_numbers(run: Path, page: Path, rows: Rows) -> None:
    kept = [row for row in rows if row["verdict"] == "kept"]
    before, after = (
        np.array([row[name] for row in kept]) for name in ("seam_before", "seam_after")
    )
    text = page.read_text(encoding="utf-8")
    assert f"Mean SEAM is {before.mean():.3f} for the parents and {after.mean():.3f}" in text
    longer = sum(len(row["chosen"]) > len(row["rejected"]) for row in kept)
    assert f"In {100 * longer / len(kept):.0f}\N{NO-BREAK SPACE}% of the kept examples" in text
