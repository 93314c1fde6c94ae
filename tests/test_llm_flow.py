"""The LLM's operators through the whole flow: a real tiny model, and a scripted one for faults."""

import json
import math
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from seamaug import expand, score
from seamaug.cli import main
from seamaug.errors import RunFolderError
from seamaug.generate.llm.operators import load_operators
from seamaug.models.engines import Reply, Request
from seamaug.resources import resource

MODEL = str(resource("embedded", "policy"))
SMALL = {
    "score.batch_seeds": 8,
    "score.samples": 4,
    "select.share": 0.4,
    "generate.batch_parents": 3,
    "generate.per_round": 4,
    "generate.policy_samples": 0,
    "generate.allocation": "uniform",  # what is scripted is not worth learning from
    "generate.rounds": 1,
}
NEW = "An entirely new answer about zebras."


@pytest.fixture
def rows(bundled: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = bundled(16)
    return found


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "telegram.jinja").write_text("As a telegram:\n\n{{ prompt }}", encoding="utf-8")
    (folder / "operators.yaml").write_text(
        "telegram:\n  kind: paraphrase\n  preserves: [meaning, numbers, answer]\n",
        encoding="utf-8",
    )
    return folder


@pytest.fixture
def llm(asked: Any) -> Callable[[Request], Reply | str]:
    """An LLM that does as it is told, but for every second formal text."""

    def respond(request: Request) -> Reply | str:
        own = asked(request)
        if request.operator == "judge":
            better = next((n for n, text in own.texts.items() if text == NEW), "RESPONSE T")
            return own.reply(better=better[-1])
        if request.operator == "formal" and request.seed % 2 == 0:
            return "I would rather not."
        if request.operator.startswith("worse"):
            return own.reply(response="Bananas, I suppose.")
        if request.operator == "golden_rewrite":
            return own.reply(response=f"{own.texts['RIGHT RESPONSE']} Indeed.")
        return own.reply(request=f"{own.texts['REQUEST']} ({request.seed % 97})", response=NEW)

    return respond


@pytest.fixture
def use(has_writer: Callable[[Any], None], scripted: Any) -> Callable[..., Any]:
    def scripted_by(respond: Callable[[Request], Reply | str], **how: Any) -> Any:
        engine = scripted(respond, **how)
        has_writer(engine)
        return engine

    return scripted_by


def run(rows: Any, out: Path, **settings: Any) -> Any:
    return expand(rows, budget=24, generator=MODEL, out=out, settings=SMALL | settings)


def parents(out: Path) -> list[dict[str, Any]]:
    files = sorted((out / "stages" / "parents").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


OWN = {"generate.operators": ["formal", "change_entity", "telegram", "closing"]}


@pytest.mark.parametrize("structured", [False, True])
def test_every_row_is_accounted_for_and_says_what_made_it(
    rows: Any, mine: Path, llm: Any, use: Any, tmp_path: Path, structured: bool
) -> None:
    engine = use(llm, structured=structured)
    result = run(rows, tmp_path / "run", **OWN, **{"generate.operators_from": str(mine)})
    table = result.provenance.to_list()
    counts = result.summary["counts"]["candidates"]
    assert (
        counts["kept"] + sum(counts["rejected"].values()) + sum(counts["failed"].values())
        == (counts["total"])
    )
    operators = load_operators(str(mine))
    assert {row["operator"] for row in table} == {"formal", "change_entity", "telegram", "closing"}
    for row in table:
        own = operators.get(row["operator"])
        assert row["kind"] == (own.kind if own else "rule")
        assert row["template_hash"] == (own.template.hash if own else "")
        assert (row["chosen_source"] == "new_golden") == (row["operator"] == "change_entity")
        rewritten = row["chosen_source"] == "golden_rewrite"
        rewrite = f"golden_rewrite@{operators['golden_rewrite'].template.hash}"
        assert row["chosen_template"] == (rewrite if rewritten else "")
        score = row["chosen_verifier_score"]
        if rewritten:
            assert row["chosen_verifier"] == "reference overlap"
            assert 0.5 <= score < 1
        elif row["chosen_source"] == "golden":
            assert (row["chosen_verifier"], score) == ("given", None)
        else:
            judged = row["seam_after"] is not None
            assert (row["chosen_verifier"], score) == (("judge", 1.0) if judged else ("", None))
        unread = row["reason"].startswith("generate: ")
        assert bool(row["reply"]) == unread == (row["verdict"] == "failed")
        if unread:
            assert row["reply"] == "I would rather not."
            assert row["operator"] == "formal"
    assert "golden_rewrite" in {row["chosen_source"] for row in table}
    kept = [row for row in table if row["verdict"] == "kept"]
    scored = {row["operator"] for row in table if row["seam_after"] is not None}
    assert scored == {row["operator"] for row in table}
    assert "change_entity" in {row["operator"] for row in kept}
    for row in kept:
        if row["operator"] == "change_entity":
            assert row["chosen"] == NEW
            assert row["rejected"] != NEW
    assert any(row["verdict"] == "failed" for row in table)
    assert {p for own in parents(result.path) for p in own["worse_sources"]} >= {"llm"}
    shown = " ".join(CliRunner().invoke(main, ["show", str(result.path)]).output.split())
    (query,) = re.findall(r'stages/replies.sqlite "(.+?)"', shown)
    with closing(sqlite3.connect(result.path / "stages" / "replies.sqlite")) as replies:
        assert set(replies.execute(query)) == {("formal", "I would rather not.")}
    # The LLM was told what is overrated, and by how much.
    worse = [r.messages[0]["content"] for r in engine.asked if r.operator == "worse_like_overrated"]
    first = parents(result.path)[0]["misjudged"]
    told = f"{first['margin']:.1f} standard deviations above the right one (place {first['rank']}"
    assert first["margin"] > 0
    assert any(first["text"] in content and told in content for content in worse)


@pytest.mark.parametrize(
    "source",
    [
        {"generate.worse": ["llm"]},
        {"generate.worse": ["scored"], "score.estimators": ["llm"], "score.llm.per_call": 1},
    ],
)
def test_a_worse_response_says_which_template_it_is_from(
    rows: Any, asked: Any, use: Any, tmp_path: Path, source: dict[str, Any]
) -> None:
    worse = {row["chosen"]: row["rejected"] for row in rows}

    def respond(request: Request) -> Reply | str:
        own = asked(request)
        if request.operator.startswith("worse"):
            return own.reply(response=worse[own.texts["RIGHT RESPONSE"]])
        return own.reply(request=f"{own.texts['REQUEST']} ({request.seed % 97})", response=NEW)

    use(respond)
    settings = {"generate.operators": ["formal"], **source}
    table = run(rows, tmp_path / "run", **settings).provenance.to_list()
    operators = load_operators()
    scored = [row for row in table if row["seam_after"] is not None]
    assert scored
    for row in scored:
        name, _, template = row["rejected_template"].partition("@")
        assert (row["rejected_source"], row["rejected"]) == ("llm", worse[row["chosen"]])
        assert operators[name].kind == "worse"
        assert template == operators[name].template.hash


def changed(result: Any) -> list[dict[str, Any]]:
    table = result.provenance.to_list()
    assert {row["operator"] for row in table} == {"change_entity"}
    return table


def test_a_changed_answer_gets_worse_responses_of_its_own(
    rows: Any, llm: Any, use: Any, tmp_path: Path
) -> None:
    """What is worse for the parent answers another request."""
    use(llm)
    settings = {"generate.operators": ["change_entity"], "generate.policy_max_new_tokens": 8}
    result = run(rows, tmp_path / "run", **settings, **{"generate.policy_samples": 2})
    scored = [row for row in changed(result) if row["seam_after"] is not None]
    assert scored
    of_parents = {text for parent in parents(result.path) for text in parent["worse"]}
    for row in scored:
        assert row["rejected_source"] == "policy"
        assert row["rejected"] not in of_parents
        assert row["verifier"]
    # Without samples the parent's have to do.
    without = run(rows, tmp_path / "without", **settings, **{"generate.policy_samples": 0})
    scored = [row for row in changed(without) if row["seam_after"] is not None]
    assert {row["rejected"] for row in scored} <= of_parents | {
        text for parent in parents(without.path) for text in parent["worse"]
    }


def all_right(prompt: Any, response: str, golden: str) -> bool:
    return golden == NEW


def test_a_changed_answer_that_the_policy_knows_is_rejected(
    rows: Any, llm: Any, use: Any, tmp_path: Path
) -> None:
    use(llm)
    result = run(
        rows,
        tmp_path / "run",
        **{"generate.operators": ["change_entity"], "generate.policy_samples": 2},
        **{"verify.worse.by": "function", "verify.worse.function": f"{__name__}:all_right"},
    )
    reasons = {row["reason"] for row in changed(result)}
    assert reasons - {"duplicate", "near duplicate"} == {"no worse response of its own"}


def test_parents_say_why_they_are_parents(rows: Any, llm: Any, use: Any, tmp_path: Path) -> None:
    """The misjudged response and its place, worked out anew from the stored scores."""
    use(llm)
    result = run(rows, tmp_path / "run", **{"generate.operators": ["closing"]})
    scale = result.summary["reward_scores"]
    files = sorted((result.path / "stages" / "score-contrast").glob("*.parquet"))
    scored = [row for file in files for row in pq.read_table(file).to_pylist()]
    for parent in parents(result.path):
        row, found = scored[parent["position"]], parent["misjudged"]
        rewards = [(r - scale["means"][0]) / scale["stds"][0] for r in row["rewards"][0]]
        logprobs = [total / n for total, n in zip(row["logprobs"], row["tokens"], strict=True)]
        worse = [row["worse"][i] for i in row["kept"]]
        weights = [
            math.exp(logprob) * max(reward - rewards[0], 0)
            for reward, logprob in zip(rewards[1:], logprobs[1:], strict=True)
        ]
        i = weights.index(max(weights))
        assert found["text"] == worse[i]
        assert found["margin"] == pytest.approx(rewards[i + 1] - rewards[0])
        assert found["rank"] == sorted(rewards[1:], reverse=True).index(rewards[i + 1]) + 1
        assert found["among"] == len(worse)
        assert found["logprob"] == pytest.approx(logprobs[i + 1])
        assert found["golden_logprob"] == pytest.approx(logprobs[0])


def test_a_new_golden_response_that_the_judge_does_not_prefer_is_rejected(
    rows: Any, llm: Any, use: Any, tmp_path: Path, asked: Any
) -> None:
    def tie(request: Request) -> Reply | str:
        return asked(request).reply(better="T") if request.operator == "judge" else llm(request)

    use(tie)
    result = run(rows, tmp_path / "run", **{"generate.operators": ["blend", "multi_part"],
                                            "generate.per_parent": 4})  # fmt: skip
    reasons = Counter(row["reason"] for row in result.provenance)
    assert set(reasons) <= {"new golden response not verified", "a worse response may be right",
                            "duplicate", "language drift"}  # fmt: skip
    assert reasons["new golden response not verified"] > 0
    assert result.summary["counts"]["candidates"]["kept"] == 0


@pytest.mark.parametrize("settings", [{}, {"verify.worse.by": "judge"}])
def test_a_new_golden_response_whose_judge_fails_is_a_failure(
    rows: Any, llm: Any, use: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    def fails(request: Request) -> Reply | str:
        if request.operator == "judge" and NEW in request.messages[0]["content"]:
            return Reply(error="the server answered 500: overloaded")
        return llm(request)

    use(fails)
    result = run(rows, tmp_path / "run", **{"generate.operators": ["change_entity"],
                                            "generate.per_parent": 4, **settings})  # fmt: skip
    failed = [row for row in result.provenance if row["verdict"] == "failed"]
    assert failed
    assert {row["reason"] for row in failed} == {"verify: the server answered 500"}
    assert {row["reply"] for row in failed} == {"the server answered 500: overloaded"}
    reasons = {row["reason"] for row in result.provenance}
    assert not reasons & {"new golden response not verified", "a worse response may be right"}
    assert result.summary["generation"]["judge"]["failed"] > 0


def test_a_seed_none_of_whose_samples_was_judged_fails(
    rows: Any, use: Any, asked: Any, tmp_path: Path
) -> None:
    silenced = rows[3]["prompt"]

    def fails(request: Request) -> Reply | str:
        if silenced in request.messages[0]["content"]:
            return Reply(error="the server answered 500: overloaded")
        return asked(request).reply(better="T")

    use(fails)
    how = {"score.samples": 2, "score.on_policy.max_new_tokens": 4, "verify.worse.by": "judge"}
    table = score(rows[:6], generator=MODEL, estimator="on-policy", work=tmp_path, settings=how)
    for row in table:
        error = "verify: 2 of 2 samples could not be judged: the server answered 500: overloaded"
        assert row["error"] == (error if row["prompt"][0]["content"] == silenced else None)
        assert row["seam"] == (None if row["error"] else 0)


@pytest.mark.parametrize("by", ["overlap", "function"])
def test_one_rule_for_what_an_llm_wrote_to_be_worse(
    rows: Any,
    llm: Any,
    use: Any,
    asked: Any,
    tmp_path: Path,
    by: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Most of the golden response's words: too near for a sample, not for what is meant wrong.

    The same in a SEAM and in a parent, by the same check.
    """

    def respond(request: Request) -> Reply | str:
        if not request.operator.startswith("worse"):
            return llm(request)
        golden = asked(request).texts["RIGHT RESPONSE"]
        near, far = f"{golden} Not so, by a long way.", "Bananas, I suppose."
        return asked(request).reply(
            response=[near, far, golden] if asked(request).numbers else near
        )

    use(respond)
    checks = {"verify.worse.by": by, "score.estimators": "llm", "generate.worse": ["llm"],
              "generate.operators": ["closing"], "score.samples": 3}  # fmt: skip
    if by == "function":
        text = "def value(prompt, response, golden): return 'Not so' not in response\n"
        (tmp_path / "own_check.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        checks["verify.worse.function"] = "own_check:value"
    result = run(rows, tmp_path / "run", **checks)
    verifier = checks.get("verify.worse.function", "reference overlap")
    worse = [row for row in parents(result.path) if not row["error"]]
    files = sorted((result.path / "stages" / "score-llm").glob("*.parquet"))
    scored = [row for file in files for row in pq.read_table(file).to_pylist()]
    assert worse
    for row in (*worse, *scored):
        assert any(text.endswith("by a long way.") for text in row["worse"])
        assert set(row["verifiers"]) == {verifier}
        assert ("Bananas, I suppose." in row["worse"]) == (by == "overlap" and row in scored)


def test_what_an_operator_preserves_is_what_is_checked(
    rows: Any, use: Any, asked: Any, tmp_path: Path
) -> None:
    """Rewrites without the numbers and on another subject: not all operators may write such."""

    def respond(request: Request) -> Reply | str:
        if request.operator == "judge":
            return asked(request).reply(better="T")
        return asked(request).reply(request=f"Tell me about bees, {request.seed}.", response=NEW)

    use(respond)
    seeds = [row | {"prompt": f"{i}: {row['prompt']}"} for i, row in enumerate(rows, 1000)]
    operators = ["formal", "persona", "change_entity", "closing"]
    result = run(seeds, tmp_path / "numbers", **{"generate.operators": operators})
    reasons: dict[str, set[str]] = {}
    for row in result.provenance:
        reasons.setdefault(row["operator"], set()).add(row["reason"])
    assert reasons["formal"] == reasons["persona"] == {"number lost"}
    assert not reasons["change_entity"] & {"number lost", "meaning drift"}
    result = run(rows, tmp_path / "meaning", **{"generate.operators": operators})
    drifted = {row["operator"] for row in result.provenance if row["reason"] == "meaning drift"}
    assert drifted == {"formal"}


def test_a_real_model_that_cannot_do_it_fails_row_by_row(
    rows: Any, mine: Path, tmp_path: Path
) -> None:
    """The embedded policy is no LLM: no reply of it is in the form asked for."""
    settings = {
        "generate.operators": ["telegram", "closing"],
        "generate.operators_from": str(mine),
        "generate.per_parent": 4,
        "generator.max_new_tokens": 12,
        "generator.max_length": 1024,
    }
    result = run(rows, tmp_path / "run", **settings)
    by_llm = [row for row in result.provenance if row["operator"] == "telegram"]
    assert by_llm
    for row in by_llm:
        assert row["verdict"] == "failed"
        assert row["reason"].split(":")[0] == "generate"
        assert row["reply"]
    assert any(row["verdict"] == "kept" for row in result.provenance)


def contents(folder: Path) -> dict[str, bytes]:
    names = ("provenance.parquet", "sft/train.parquet", "preference/train.parquet", "README.md")
    return {name: (folder / name).read_bytes() for name in names}


class Killed(BaseException):
    """Ends the process in the middle of a batch."""


def test_a_run_that_was_stopped_ends_with_the_same_bytes(
    rows: Any, mine: Path, llm: Any, use: Any, tmp_path: Path
) -> None:
    own = OWN | {"generate.operators_from": str(mine)}
    engine = use(llm)
    whole = run(rows, tmp_path / "whole", **own)
    total = len(engine.asked)
    left = total // 3

    def killed(request: Request) -> Reply | str:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed
        return llm(request)

    for allowed in (total // 3, total // 3):
        left = allowed
        use(killed)
        with pytest.raises(Killed):
            run(rows, tmp_path / "run", **own)
    use(llm)
    assert contents(run(rows, tmp_path / "run", **own).path) == contents(whole.path)

    # A folder that was moved is the same folder; a changed template or entry is not.
    moved = Path(shutil.copytree(mine, tmp_path / "moved"))
    again = OWN | {"generate.operators_from": str(moved)}
    assert run(rows, tmp_path / "run", **again).summary["outcome"] == whole.summary["outcome"]
    (moved / "telegram.jinja").write_text("Otherwise: {{ prompt }}", encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"templates\.telegram"):
        run(rows, tmp_path / "run", **again)


def test_the_list_of_operators(mine: Path) -> None:
    shown = CliRunner().invoke(main, ["operators", "--from", str(mine)])
    assert shown.exit_code == 0, shown.output
    lines = [line.strip() for line in shown.stdout.splitlines()]
    assert "paraphrase, preserves meaning, numbers, answer" in lines
    for name in (*load_operators(), "telegram", "closing"):
        assert any(line.split()[:1] == [name] for line in lines), name
    (mine / "operators.yaml").write_text("telegram: {kind: poem}", encoding="utf-8")
    refused = CliRunner().invoke(main, ["operators", "--from", str(mine)])
    assert refused.exit_code == 1
    assert "operators.yaml: `telegram.kind`: Input should be" in refused.stderr


def test_misaimed_operators_are_refused_before_any_work(tmp_path: Path, rows: Any) -> None:
    settings = tmp_path / "config.yaml"
    settings.write_text(
        f"generator: {{name: {json.dumps(MODEL)}}}\ngenerate: {{operators: [judge]}}\n",
        encoding="utf-8",
    )
    done = CliRunner().invoke(
        main, ["expand", "--config", str(settings), "--out", str(tmp_path / "run")]
    )
    assert done.exit_code == 1
    assert "`generate.operators`: unknown operator 'judge'" in done.stderr
    assert not (tmp_path / "run").exists()
