"""`seamaug score` and `select` with several estimators, as a user meets them."""

import logging
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from datasets import Dataset

from seamaug import score, select
from seamaug.cli import main
from seamaug.config import load_config
from seamaug.errors import ConfigError, InputError, ModelError, RunFolderError
from seamaug.plan import _scored
from seamaug.plan_requests import Asked, asked_of_a_seed
from seamaug.resources import resource
from seamaug.write.table import write_table

Rows = list[dict[str, Any]]
POLICY = str(resource("embedded", "policy"))


@pytest.fixture(autouse=True)
def _terminal_logging_stays_here() -> Iterator[None]:
    logger = logging.getLogger("seamaug")
    before = (list(logger.handlers), logger.level)
    yield
    logger.handlers, logger.level = before


def says(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def said(result: Result) -> str:
    return " ".join(result.output.split())


def refused(*arguments: str | Path, code: int = 1) -> str:
    result = says("--quiet", *arguments)
    assert isinstance(result.exception, SystemExit), result.exception
    assert (result.exit_code, result.stdout) == (code, "")
    return " ".join(result.stderr.split())


@pytest.fixture(scope="module")
def rows(bundled: Callable[[int], Rows]) -> Rows:
    return bundled(20)


@pytest.fixture(scope="module")
def seeds(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("seeds") / "seeds.jsonl"
    Dataset.from_list(rows).to_json(path)
    return path


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("config") / "quick.yaml"
    path.write_text(
        "score: {batch_seeds: 8, on_policy: {max_new_tokens: 6},"
        " adversarial: {calls: 10, proposals: 5}}\ngenerator: {max_new_tokens: 12}\n"
    )
    return path


@pytest.fixture(scope="module")
def scores(seeds: Path, quick: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scores") / "both.parquet"
    result = says(
        "score", seeds, "--config", quick, "--out", out, "--responses", out.with_suffix(".csv"),
        "--estimator", "contrast", "--estimator", "on-policy", "--samples", "5",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    shown = said(result)
    assert "contrast seam prob" in shown
    assert "on policy hack rate" in shown
    assert "of the worst 20% by contrast," in shown
    assert "are among the worst 20% by on_policy (by chance 20%)" in shown
    assert "20 seeds scored, 0 failed" in shown
    assert not out.with_name("both.parquet.work").exists()
    return out


# --- help


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("score", ["--estimator", "--weighting", "--samples", "--responses", "--generator",
                   "contrast", "llm", "adversarial", "on-policy", "seam_low", "hack_rate",
                   "repeat it for an ensemble", "higher = worse"]),
        ("select", ["--scores", "--compare", "--by", "--column", "--estimator", "--drop-worst",
                    "--keep-worst", "FIELD=NAME", "on_policy_seam_paper"]),
    ],
)  # fmt: skip
def test_help(command: str, words: list[str]) -> None:
    result = says(command, "--help")
    assert result.exit_code == 0
    for word in words:
        assert word in said(result)


def test_no_option_has_two_meanings() -> None:
    for command in main.commands.values():  # type: ignore[attr-defined]
        names = [name for option in command.params for name in option.opts]
        assert len(names) == len(set(names))


# --- score


def test_score_writes_both_files(scores: Path, rows: Rows) -> None:
    table = pq.read_table(scores).to_pylist()
    assert [row["golden"] for row in table] == [row["chosen"] for row in rows]
    assert {row["on_policy_error"] for row in table} == {None}
    assert max(row["on_policy_seam_prob"] for row in table) > 0
    responses = scores.with_suffix(".csv").read_text(encoding="utf-8")
    assert responses.startswith(
        "id,estimator,role,response,kind,verifier,verifier_score,count,logprob"
    )
    assert "reference overlap" in responses


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--estimator", "contrat"], 2, "is not one of 'contrast', 'llm', 'adversarial'"),
        (["--weighting", "papr"], 2, "is not one of 'prob', 'paper'"),
        (["--samples", "0"], 2, "0 is not in the range x>=1"),
        (["--estimator", "contrast", "--estimator", "contrast"], 1, "an estimator is named twice"),
        (["--estimator", "llm"], 1, "need an LLM: give `generator.name` (--generator MODEL)"),
        (["--reward", "embedded", "--reward", "/no/such"], 1, "there is no folder /no/such"),
        (["--responses", "x.txt"], 1, "--responses x.txt: the name must end in one of"),
        (["--max-tokens", "none"], 2, "is not a number of tokens"),
        (["--max-cost", "0"], 2, "0 is not in the range x>0"),
        (["--max-tokens", "1M"], 1, "`max_tokens` limits what an LLM writes, and there is none"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_score_command(
    tmp_path: Path, seeds: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int,
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert message in refused("score", seeds, *arguments, "--out", "out.csv", code=code)
    assert list(tmp_path.iterdir()) == []


def test_the_two_files_must_differ(tmp_path: Path, seeds: Path) -> None:
    same = tmp_path / "x.csv"
    message = refused("score", seeds, "--out", same, "--responses", same, code=2)
    assert "--out and --responses must be two files" in message
    same.write_text("precious")
    message = refused("score", seeds, "--out", tmp_path / "y.csv", "--responses", same)
    assert f"--responses {same} exists" in message
    assert same.read_text() == "precious"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"verify.worse.by": "vote"}, "the check `vote` needs `judges`"),
        (
            {"verify.worse.by": "number", "verify.worse.judges": ["a"]},
            "the check `vote` needs `judges`",
        ),
        ({"verify.worse.by": "function"}, "the check `function` needs `function`"),
        ({"verify.worse.function": "a:b"}, "the check `function` needs `function`"),
        ({"verify.worse.answer": "a"}, "only the check `match` reads `answer`"),
        ({"verify.worse": {"by": "match", "answer": "(a"}}, "is no regular expression"),
        ({"verify.worse": {"by": "match", "answer": "(a)(b)"}}, "at most one group"),
        ({"verify.worse.by": ["number", "number"]}, "a check is named twice"),
        (
            {"verify.worse.by": "vote", "verify.worse.judges": ["embedded"]},
            "names the reward model under test, embedded",
        ),
        (
            {"verify.worse.by": ["number", "judge"]},
            "need an LLM: give `generator.name`",
        ),
    ],
)
def test_a_verifier_that_lacks_something(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        load_config(None, settings)


# --- real models as judges and writers


def test_a_vote_of_other_reward_models(rows: Rows, saved: Callable[..., str]) -> None:
    judges = [saved(kind, "reward", max_position_embeddings=2048) for kind in ("llama", "qwen2")]
    settings = {
        "verify.worse": {"by": ["vote"], "judges": judges},
        "score.on_policy.max_new_tokens": 6,
    }
    table = score(rows[:8], estimator="on-policy", samples=6, settings=settings)
    kinds = list(table["on_policy_hack_set"])
    assert 0 < sum(kinds) < 48  # neither all nor none are outvoted
    assert set(table["error"]) == {None}


def test_an_llm_that_writes_rubbish_ends_in_one_message(
    tmp_path: Path, seeds: Path, quick: Path
) -> None:
    out = tmp_path / "out.csv"
    message = refused(
        "score", seeds, "--config", quick, "--out", out, "--samples", "4",
        "--estimator", "llm", "--estimator", "contrast", "--generator", POLICY,
    )  # fmt: skip
    assert "none of the 20 seeds could be scored (llm), the first one because: " in message
    assert "the LLM wrote no usable worse answer: 0 were not worse" in message
    assert not out.exists()
    # The other estimator did not take its time first.
    assert not (tmp_path / "out.csv.work" / "stages" / "score-contrast").exists()


@pytest.fixture
def undecided(has_writer: Callable[[Any], None], scripted: Any, asked: Any) -> None:
    """The generator, as a judge, finds both responses alike."""
    judge = scripted(lambda request: asked(request).reply(better="T"))
    has_writer(judge)


@pytest.mark.usefixtures("undecided")
def test_an_undecided_judge_shows_nothing_to_be_worse(rows: Rows) -> None:
    settings = {"verify.worse.by": "judge", "score.on_policy.max_new_tokens": 4}
    table = score(rows[:4], estimator="on-policy", samples=2, generator=POLICY, settings=settings)
    # No sample is shown to be worse, and SEAM is 0, no error.
    assert list(table["seam"]) == [0.0] * 4
    assert set(table["error"]) == {None}


def test_worse_answers_of_an_llm_are_scored(
    rows: Rows, has_writer: Callable[[Any], None], tmp_path: Path, scripted: Any, asked: Any
) -> None:
    answers = ["No idea.", "Forty-two bananas", "", ""]

    def respond(request: Any) -> str:
        # Every second seed gets rubbish, the second time too.
        odd = [row["prompt"] for row in rows[:6]].index(asked(request).texts["REQUEST"]) % 2
        return "rubbish" if odd else asked(request).reply(response=answers)

    has_writer(scripted(respond))
    responses = tmp_path / "r.parquet"
    table = score(
        rows[:6], estimator=["contrast", "llm"], samples=4, generator=POLICY, responses=responses
    )
    assert [bool(error) for error in table["llm_error"]] == [False, True] * 3
    assert [row is None for row in table["llm_seam_prob"]] == [False, True] * 3
    assert set(table["error"]) == {None}  # under the estimator that decides
    kinds = {r["kind"] for r in pq.read_table(responses).to_pylist() if r["estimator"] == "llm"}
    assert kinds == {"golden", "a factual error", "a misread question"}


def test_expand_takes_its_worse_responses_from_the_estimator(rows: Rows, tmp_path: Path) -> None:
    from seamaug import expand

    settings = {
        "score.estimators": ["on-policy"],
        "score.samples": 6,
        "score.on_policy.max_new_tokens": 8,
        "generate.worse": ["scored"],
        "select.share": 0.5,
    }
    result = expand(rows, budget=3, out=tmp_path / "run", settings=settings)
    kept = [row for row in result.provenance if row["verdict"] == "kept"]
    assert kept
    assert {row["rejected_source"] for row in kept} == {"on-policy"}
    again = expand(rows, budget=3, out=tmp_path / "run", settings=settings)
    assert again.summary == result.summary


# --- identity


@pytest.fixture(scope="module")
def work(rows: Rows, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work") / "w"
    score(rows[:6], samples=3, work=folder, settings=BASE)
    return folder


BASE: dict[str, Any] = {"score.batch_seeds": 4}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"estimator": ["contrast", "on-policy"]}, "config.score.estimators"),
        ({"samples": 4}, "config.score.samples"),
        ({"reward": ["embedded", "embedded"]}, "config.reward.others"),
        ({"settings": {**BASE, "verify.reference_overlap": 0.9}}, "verify.reference_overlap"),
        ({"settings": {**BASE, "score.contrast.low": 0.1}}, "config.score.contrast.low"),
        ({"estimator": "llm", "generator": POLICY}, "config.generator: null -> "),
    ],
)
def test_what_changes_the_scores_is_refused(
    rows: Rows, work: Path, changes: dict[str, Any], named: str
) -> None:
    arguments: dict[str, Any] = {"samples": 3, "settings": BASE, **changes}
    with pytest.raises(RunFolderError, match="holds a run with other settings") as caught:
        score(rows[:6], work=work, **arguments)
    assert named in str(caught.value)


def test_what_does_not_change_the_scores_is_let_through(
    rows: Rows, work: Path, tmp_path: Path
) -> None:
    mine = Path(shutil.copytree(work, tmp_path / "w"))
    before = score(rows[:6], samples=3, work=mine, settings=BASE).to_list()
    (mine / "stages" / "score-contrast" / "00001.parquet").unlink()
    settings = {**BASE, "policy.batch_tokens": 64, "reward.batch_tokens": 64, "keep.margin": 0.5,
                "policy.dtype": "auto", "generator.temperature": 0.1}  # fmt: skip
    after = score(rows[:6], samples=3, work=mine, settings=settings).to_list()
    assert [row["seam"] for row in after] == pytest.approx([r["seam"] for r in before], abs=0.05)


@pytest.mark.usefixtures("undecided")
def test_a_changed_template_is_another_run_only_where_it_is_used(
    rows: Rows, work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**BASE, "verify.worse.by": "judge", "score.on_policy.max_new_tokens": 2}
    arguments: dict[str, Any] = {"estimator": "on-policy", "samples": 1, "generator": POLICY,
                                 "settings": settings, "work": tmp_path / "w"}  # fmt: skip
    score(rows[:4], **arguments)
    monkeypatch.setattr("seamaug.generate.templates.Template.hash", "changed")
    with pytest.raises(RunFolderError, match=r"templates\.judge"):
        score(rows[:4], **arguments)
    score(rows[:6], samples=3, work=work, settings=BASE)


# --- select


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_select_by_scores_of_every_format(
    tmp_path: Path, seeds: Path, rows: Rows, scores: Path, suffix: str
) -> None:
    path = tmp_path / f"scores{suffix}"
    table = Dataset.from_parquet(str(scores), cache_dir=str(tmp_path / "cache"))
    write_table(table, path, guard=True)
    out = tmp_path / "rest.parquet"
    result = says("select", seeds, "--scores", path, "--drop-worst", "25%", "--out", out)
    assert result.exit_code == 0, result.output
    assert "20 prompts: 5 worst, 15 others, 0 not scored; 15 of 20 rows selected" in said(result)
    seam = {row["golden"]: row["seam"] for row in pq.read_table(scores).to_pylist()}
    left = [row["chosen"] for row in pq.read_table(out).to_pylist()]
    assert left == [row["chosen"] for row in rows if row["chosen"] in left]
    assert max(seam[g] for g in left) <= min(seam[g] for g in seam.keys() - set(left))
    assert not path.with_name("rest.parquet.work").exists()


def test_select_by_another_column_and_with_a_column_of_the_seeds(
    tmp_path: Path, rows: Rows, scores: Path
) -> None:
    mine = tmp_path / "mine.jsonl"
    Dataset.from_list([{"q": r["prompt"], "a": r["chosen"]} for r in rows]).to_json(mine)
    out = tmp_path / "worst.jsonl"
    columns = ["--column", "prompt=q", "--column", "golden=a"]
    result = says("select", mine, *columns, "--scores", scores, "--by", "on_policy_seam_paper",
                  "--keep-worst", "20%", "--out", out)  # fmt: skip
    assert result.exit_code == 0, result.output
    table = sorted(pq.read_table(scores).to_pylist(), key=lambda r: -r["on_policy_seam_paper"])
    found = Dataset.from_json(str(out), cache_dir=str(tmp_path / "cache"))["a"]
    assert set(found) == {row["golden"] for row in table[:4]}


def test_overlap_with_other_scores(tmp_path: Path, seeds: Path, scores: Path) -> None:
    turned = pq.read_table(scores).to_pylist()
    for row in turned:
        row["seam"] = -row["seam"]
    other = tmp_path / "turned.csv"
    write_table(Dataset.from_list(turned), other)
    result = says("select", seeds, "--scores", scores, "--compare", scores, "--compare", other,
                  "--drop-worst", "20%", "--out", tmp_path / "rest.csv")  # fmt: skip
    assert result.exit_code == 0, result.output
    shown = said(result).replace("\n", "")
    assert f"100% of the worst 20% are among the worst 20% of {scores} (by chance 20%)" in shown
    assert f" 0% of the worst 20% are among the worst 20% of {other} (by chance 20%)" in shown


def test_scores_of_other_seeds_are_refused(
    tmp_path: Path, seeds: Path, scores: Path, rows: Rows
) -> None:
    few = tmp_path / "few.parquet"
    write_table(Dataset.from_list(pq.read_table(scores).to_pylist()[3:]), few)
    line = f"3 of 20 prompts are not in {few}, the first one at {seeds}:1; score these seeds first"
    common = ["select", seeds, "--drop-worst", "20%", "--out", tmp_path / "x.csv"]
    assert line in refused(*common, "--scores", few)
    assert line in refused(*common, "--scores", scores, "--compare", few)
    # More seeds than asked for are no harm.
    part = select(rows[:10], scores=scores, keep_worst=0.5, compare=scores)
    assert len(part) == 5


def test_select_refuses_what_would_have_no_effect(
    tmp_path: Path, seeds: Path, scores: Path
) -> None:
    common = ["select", seeds, "--drop-worst", "20%", "--out", tmp_path / "x.csv"]
    message = refused(*common, "--scores", scores, "--weighting", "paper", "--policy", "mine")
    assert "finished scores are given, so policy, weighting would have no effect" in message
    message = refused(*common, "--scores", scores, "--by", "llm_seam_prob")
    assert "has no column llm_seam_prob; columns with SEAM: seam, seam_low, seam_high" in message
    assert "on_policy_seam_paper" in message
    message = refused(*common, "--scores", scores, "--by", "golden")
    assert "column golden does not hold numbers" in message
    assert "no such file of scores" in refused(*common, "--scores", tmp_path / "none.csv")
    # Without finished scores, before any are made.
    message = refused(*common, "--by", "on_policy_seam_prob")
    assert "no column on_policy_seam_prob to select by, but seam and contrast_..." in message
    assert list(tmp_path.iterdir()) == []


def test_select_scores_by_the_weighting(rows: Rows) -> None:
    twelve = rows[:12]
    worst = {}
    for weighting in ("prob", "paper"):
        table = score(twelve, samples=5, weighting=weighting)
        found = select(twelve, keep_worst=0.25, samples=5, weighting=weighting)
        best = sorted(table, key=lambda row: -row["seam"])[:3]
        assert set(found["chosen"]) == {row["golden"] for row in best}
        worst[weighting] = set(found["chosen"])
    by_column = select(twelve, keep_worst=0.25, samples=5, column="contrast_seam_paper")
    assert set(by_column["chosen"]) == worst["paper"]


def test_prompts_without_a_score_are_not_the_worst(rows: Rows) -> None:
    table = score(rows[:8], samples=4).to_list()
    failed = {row["golden"] for row in table[:3]}
    for row in table[:3]:
        row["seam"] = None
    scores = Dataset.from_list(table)
    assert failed <= set(select(rows[:8], scores=scores, drop_worst=0.6)["chosen"])
    assert not failed & set(select(rows[:8], scores=scores, keep_worst=0.6)["chosen"])
    with pytest.raises(InputError, match="holds no number"):
        select(rows[:8], scores=scores.map(lambda row: {"seam": None}), keep_worst=0.6)


# --- arguments


def test_an_argument_that_is_not_given_leaves_the_settings_alone(rows: Rows) -> None:
    settings = {"score.estimators": "adversarial", "score.weighting": "paper", "score.samples": 2,
                "score.adversarial.calls": 5, "policy.name": "/no/such/folder"}  # fmt: skip
    with pytest.raises(ModelError, match="/no/such/folder"):
        score(rows[:4], settings=settings)
    table = score(rows[:4], policy="embedded", settings=settings)  # what is given goes before
    assert max(table["adversarial_hack_set"]) == 2
    assert list(table["seam"]) == list(table["adversarial_seam_paper"])


# --- plan


def test_a_plan_counts_what_the_estimators_need() -> None:
    config = load_config(None, {"score.samples": 7, "score.adversarial.calls": 50})
    assert _scored("contrast", config, 5) == 5
    assert _scored("contrast", config, 100) == _scored("on-policy", config, 5) == 8
    assert _scored("adversarial", config, 5) == 58
    assert asked_of_a_seed(config) == Asked(0, 0)
    judged = {"verify.worse.by": "judge", "generator.name": "some-llm",
              "score.estimators": ["llm", "on-policy"], "score.samples": 7}  # fmt: skip
    # 7 answers in two replies, and 7 samples; each of these in both orders
    assert asked_of_a_seed(load_config(None, judged)) == Asked(2 + 14 + 14, 7 + 14 + 14)
