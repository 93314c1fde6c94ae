"""`seamaug diagnose` as a user meets it, and what it refuses."""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from datasets import Dataset

from seamaug import diagnose
from seamaug.cli import main
from seamaug.errors import ConfigError, ModelError, RunFolderError
from seamaug.resources import resource

Rows = list[dict[str, Any]]
QUICK: dict[str, Any] = {"diagnose.max_new_tokens": 6, "diagnose.batch_prompts": 4}
HOSTILE = "<script>alert(1)</script> {{ 7 * 7 }} \x1b[31mred"


@pytest.fixture(autouse=True)
def _terminal_logging_stays_here() -> Iterator[None]:
    logger = logging.getLogger("seamaug")
    before = (list(logger.handlers), logger.level)
    yield
    logger.handlers, logger.level = before


def says(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def rows(bundled: Callable[[int], Rows]) -> Rows:
    found = [{name: row[name] for name in ("prompt", "chosen", "rejected")} for row in bundled(8)]
    return [{**found[0], "prompt": HOSTILE}, *found[1:]]


@pytest.fixture(scope="module")
def seeds(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seeds") / "seeds.jsonl"
    Dataset.from_list(rows).to_json(path)
    return path


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "quick.yaml"
    path.write_text("diagnose: {max_new_tokens: 6, batch_prompts: 4}\n")
    return path


def test_json_table_and_page_say_the_same_and_resume(
    seeds: Path, quick: Path, tmp_path: Path
) -> None:
    page, work = tmp_path / "page.html", tmp_path / "work"
    common = ["diagnose", seeds, "--config", quick, "--samples", "3", "--work", work]
    result = says(*common, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["prompts"] == 8
    assert found["ranking"] == {"embedded": ["embedded"]}
    figures = found["cells"][0]["figures"]
    assert figures["reward_variance"]["value"] > 0
    assert figures["mismatch_rate"]["value"] is None
    assert "give --policy twice" in figures["mismatch_rate"]["missing"]
    parts = {path: path.stat().st_mtime_ns for path in work.rglob("*.parquet")}
    assert len(parts) == 8  # two each of samples, verdicts and both kinds of rewards

    again = says("--quiet", *common, "--out", page)
    assert again.exit_code == 0, again.output
    assert {path: path.stat().st_mtime_ns for path in work.rglob("*.parquet")} == parts
    variance = f"{figures['reward_variance']['value']:.2f} ["
    assert variance in again.stdout
    assert "not computed: mismatch_rate: it needs a second policy" in again.stdout
    assert "What to do" in again.stdout
    text = page.read_text(encoding="utf-8")
    assert variance in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{ 7 * 7 }}" in text
    assert "<script" not in text
    assert "\x1b" not in text + again.stdout
    with pytest.raises(RunFolderError, match=r"config\.diagnose\.samples: 3 -> 2"):
        diagnose(str(seeds), samples=2, work=work, settings=QUICK)


def test_help_names_every_figure() -> None:
    from seamaug.diagnosis.result import FIGURES

    shown = says("diagnose", "--help").output
    assert all(name in shown for name in FIGURES)


def test_a_page_needs_a_name_of_its_kind(seeds: Path) -> None:
    result = says("diagnose", seeds, "--out", "page.pdf")
    assert result.exit_code == 2
    assert "must end in .html" in result.output


def test_one_response_has_no_variance(rows: Rows) -> None:
    with pytest.raises(ConfigError, match="a variance needs two responses per prompt"):
        diagnose(rows, samples=1)


def test_a_model_is_named_once(rows: Rows) -> None:
    with pytest.raises(ConfigError, match="a reward model is named twice"):
        diagnose(rows, reward=["embedded", "embedded"])
    with pytest.raises(ConfigError, match="names a policy twice"):
        diagnose(rows, policy=["embedded", "embedded"])


def test_an_llm_judges(
    rows: Rows, has_writer: Callable[[Any], None], tmp_path: Path, scripted: Any, asked: Any
) -> None:
    golden = {row["chosen"].strip() for row in rows}
    requests = []

    def prefers_golden(request: Any) -> str:
        requests.append(request)
        first = asked(request).texts["RESPONSE A"].strip()
        return str(asked(request).reply(better="A" if first in golden else "B"))

    has_writer(scripted(prefers_golden))
    found = diagnose(
        rows, samples=2, judge="llm", generator=str(resource("embedded", "policy")),
        settings=QUICK, work=tmp_path / "work",
    )  # fmt: skip
    assert len(requests) == 32  # every sample in both orders
    assert found.judged == {"embedded": {"judge": 16}}
    figures = found.cells[0].figures
    assert figures["hack_rate"].prompts == 8
    assert "tells no two samples of a prompt apart" in figures["on_policy_accuracy"].missing


def test_a_policy_that_cannot_end_a_response_is_refused(rows: Rows, saved: Any) -> None:
    endless = saved("llama", "causal", eos_token_id=None)
    with pytest.raises(ModelError, match="names no token that ends a response"):
        diagnose(rows, policy=endless, samples=2, settings=QUICK)


def test_a_policy_without_a_chat_template_is_refused(rows: Rows, saved: Any) -> None:
    bare = saved("llama", "causal", tokens={"chat_template": None})
    with pytest.raises(ModelError, match=r"no chat template; set `policy\.chat_template`"):
        diagnose(rows, policy=bare, samples=2, settings=QUICK)


def test_other_chat_templates_are_warned_of(rows: Rows, caplog: pytest.LogCaptureFixture) -> None:
    settings = {**QUICK, "reward.chat_template": "question_answer"}
    found = diagnose(rows, samples=2, settings=settings)
    assert "have different chat templates" in found.warnings[0]
    assert "scores other texts, and these figures then do not hold" in caplog.text


def test_prompts_alone_give_what_needs_no_label(rows: Rows, saved: Any) -> None:
    prompts = [{"prompt": row["prompt"]} for row in rows]
    found = diagnose(prompts, samples=3, settings=QUICK)
    figures = found.cells[0].figures
    assert (figures["reward_variance"].value or 0) > 0
    for name in ("on_policy_accuracy", "seam_prob", "hack_rate"):
        assert "no sample was judged" in figures[name].missing
    assert "give pairs" in figures["off_policy_accuracy"].missing
    assert found.judged == {"embedded": {"unknown": 24}}
    judge = saved("llama", "reward")
    judged = diagnose(prompts, samples=3, judge=judge, settings=QUICK)
    assert judged.cells[0].figures["on_policy_accuracy"].prompts == 8
    assert judged.judged == {"embedded": {"vote": 24}}


def test_a_function_judges(rows: Rows, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "my_judge.py").write_text("def shorter(prompt, text, golden): return -len(text)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = diagnose(rows, samples=4, judge="my_judge:shorter", settings=QUICK)
    assert found.judged["embedded"].keys() <= {"my_judge:shorter", "unknown"}
    assert (found.cells[0].figures["on_policy_accuracy"].prompts) >= 6


def test_a_prompt_that_leaves_no_room_is_named(rows: Rows) -> None:
    long = [{**rows[0], "prompt": "word " * 3000}, *rows[1:]]
    found = diagnose(long, samples=2, settings=QUICK, policy=str(resource("embedded", "policy")))
    assert [(item.where, item.reason) for item in found.left_out if "policy" in item.of] == [
        ("row 1", "the prompt leaves the policy no room for a response")
    ]
    assert found.cells[0].figures["reward_variance"].prompts == 7


def test_a_judge_that_is_none_is_refused_before_anything_is_sampled(
    rows: Rows, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"(?s)^judge '/nowhere/at/all'.*also `checker`, `llm` or"):
        diagnose(rows, judge="/nowhere/at/all", work=tmp_path / "work", settings=QUICK)
    assert not (tmp_path / "work").exists()
