"""Texts that could break out of where they are put come through the whole flow as text."""

import csv
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result
from datasets import Dataset, load_dataset
from markdown_it import MarkdownIt

from seamaug.cli import main
from seamaug.config import SeedsConfig
from seamaug.errors import InputError
from seamaug.models.engines import Request
from seamaug.printable import printable
from seamaug.records import user_message
from seamaug.run.seal import seal
from seamaug.scoring.table import read_scores
from seamaug.seeds import read_seeds
from seamaug.write.card import write_card
from seamaug.write.table import write_table
from tests.conftest import Asked
from tests.models.faulty_server import MODEL, FaultyServer
from tests.models.test_control_tokens import TOKENS

Row = dict[str, Any]
CORPUS = Path(__file__).parent / "data" / "untrusted.jsonl"
ITEMS = [json.loads(line) for line in CORPUS.read_text(encoding="utf-8").splitlines()]
REFUSED = {"lone-surrogate", "low-surrogate"}
"""No UTF-8 can hold these, so no file that we write could."""
TEXTS = [item["text"] for item in ITEMS if item["id"] not in REFUSED]
SEEDS: list[Row] = [
    {
        "prompt": text,
        "chosen": f"A good answer to number {i}:\n{text}",
        "rejected": f"bad: {text}",
        "source": text,
        "licence": f"licence {text}",
    }
    for i, text in enumerate(TEXTS)
]
TRANSCRIPT = next(item["text"] for item in ITEMS if item["id"] == "transcript")
TURNS = [
    {"role": "user", "content": "what is a mole?"},
    {"role": "assistant", "content": "a small mammal"},
    {"role": "user", "content": "and in chemistry?"},
]
QUICK = (
    "score: {batch_seeds: 32, samples: 4, on_policy: {max_new_tokens: 6}}\n"
    "select: {share: 0.5}\n"
    "generate: {per_round: 3, policy_max_new_tokens: 6}\n"
)
STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff]")


def prompt_of(text: str) -> list[Any]:
    return TURNS if text == TRANSCRIPT else user_message(text)


def write_jsonl(path: Path, rows: list[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_raw_jsonl(path: Path, rows: list[Row]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def write_csv(path: Path, rows: list[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path: Path, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), path)


def read_jsonl(path: Path) -> list[Row]:
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def read_csv(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def read_parquet(path: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


READERS = {".jsonl": read_jsonl, ".csv": read_csv, ".parquet": read_parquet}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("config") / "quick.yaml"
    path.write_text(QUICK, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def seeds_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("seeds") / "seeds.jsonl"
    write_jsonl(path, SEEDS)
    return str(path)


def seamaug(*arguments: object) -> Result:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code in (0, 3), result.output
    assert not STEERING.search(result.output)
    return result


@pytest.fixture(scope="module")
def run(seeds_file: str, settings: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    seamaug("expand", seeds_file, "--budget", 60, "--out", out, "--config", settings)
    return out


@pytest.fixture(scope="module")
def scores(seeds_file: str, settings: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores by both estimators whose responses are texts of others, in Parquet."""
    out = tmp_path_factory.mktemp("scores") / "scores.parquet"
    seamaug(
        "score", seeds_file, "--out", out, "--responses", out.with_name("responses.jsonl"),
        "--estimator", "contrast", "--estimator", "on-policy", "--config", settings,
    )  # fmt: skip
    return out


def test_the_corpus_is_what_it_says() -> None:
    assert len(ITEMS) >= 50
    assert len({item["id"] for item in ITEMS}) == len({item["text"] for item in ITEMS})
    for item in ITEMS:
        assert list(item) == ["id", "kind", "text", "why"]


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("seeds.jsonl", write_jsonl), ("raw.jsonl", write_raw_jsonl), ("seeds.csv", write_csv),
        ("seeds.parquet", write_parquet),
    ],
)  # fmt: skip
def test_each_text_is_read_as_it_stands(
    name: str, write: Callable[[Path, list[Row]], None], tmp_path: Path
) -> None:
    write(tmp_path / name, SEEDS)
    seeds = list(read_seeds(SeedsConfig(paths=[str(tmp_path / name)])).at(range(len(SEEDS))))
    for seed, row in zip(seeds, SEEDS, strict=True):
        assert seed.prompt == prompt_of(row["prompt"])
        assert (seed.golden, seed.worse) == (row["chosen"], [row["rejected"]])
        assert (seed.source, seed.licence) == (row["source"], row["licence"])


@pytest.mark.parametrize("field", ["prompt", "chosen", "rejected"])
def test_what_utf8_cannot_hold_is_refused_by_name(field: str, tmp_path: Path) -> None:
    for item in ITEMS:
        if item["id"] in REFUSED:
            write_jsonl(tmp_path / "seeds.jsonl", [*SEEDS[:5], {**SEEDS[5], field: item["text"]}])
            with pytest.raises(InputError) as caught:
                read_seeds(SeedsConfig(paths=[str(tmp_path / "seeds.jsonl")]))
            assert f"seeds.jsonl:6: field {field!r} holds a lone surrogate" in str(caught.value)


def test_every_seed_is_scored(scores: Path) -> None:
    rows = read_parquet(scores)
    assert [row["prompt"] for row in rows] == [prompt_of(text) for text in TEXTS]
    assert [row["golden"] for row in rows] == [row["chosen"] for row in SEEDS]
    goldens = {row["chosen"] for row in SEEDS}
    for row in rows:
        assert row["error"] is None
        assert row["contrast_worst_response"] in goldens
        assert row["golden_logprob"] < 0


def test_responses_are_listed_as_they_stand(scores: Path) -> None:
    goldens = {row["chosen"] for row in SEEDS}
    found = read_jsonl(scores.with_name("responses.jsonl"))
    of_others = [row["response"] for row in found if row["estimator"] == "contrast"]
    assert of_others
    assert set(of_others) <= goldens


@pytest.mark.parametrize("suffix", READERS)
def test_selected_rows_are_written_as_they_were_read(
    suffix: str, seeds_file: str, scores: Path, tmp_path: Path
) -> None:
    out = tmp_path / f"rows{suffix}"
    seamaug("select", seeds_file, "--scores", scores, "--drop-worst", "1%", "--out", out)
    rows = READERS[suffix](out)
    assert len(rows) >= len(SEEDS) - 1
    wanted = {row["prompt"]: row for row in SEEDS}
    assert [wanted[row["prompt"]] for row in rows] == rows


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_a_table_of_scores_holds_each_text(
    suffix: str, seeds_file: str, settings: str, tmp_path: Path
) -> None:
    out = tmp_path / f"scores{suffix}"
    seamaug("score", seeds_file, "--out", out, "--config", settings)
    rows = READERS[suffix](out)
    prompts = [row["prompt"] for row in rows]
    if suffix == ".csv":  # nested values are JSON there
        prompts = [json.loads(prompt) for prompt in prompts]
    assert prompts == [prompt_of(text) for text in TEXTS]
    assert [row["golden"] for row in rows] == [row["chosen"] for row in SEEDS]


def test_variants_keep_the_responses_to_the_letter(run: Path, tmp_path: Path) -> None:
    """Operators rewrite prompts; responses stay what they were, or are the policy's."""
    goldens = {row["chosen"] for row in SEEDS}
    bad = {row["rejected"] for row in SEEDS}
    provenance = read_parquet(run / "provenance.parquet")
    kept = [row for row in provenance if row["verdict"] == "kept"]
    assert kept
    for row in provenance:
        assert row["chosen"] in goldens
        assert row["verdict"] in ("kept", "rejected"), row["reason"]
    assert {row["rejected"] for row in kept if row["rejected_source"] == "given"} <= bad
    preference, sft = (
        load_dataset(str(run), name, split="train", cache_dir=str(tmp_path))
        for name in ("preference", "sft")
    )
    messages = sft["messages"]
    for row, pair, conversation in zip(kept, preference, messages, strict=True):
        answers = [{"role": "assistant", "content": row[name]} for name in ("chosen", "rejected")]
        assert pair["chosen"] == conversation == [*row["prompt"], answers[0]]
        assert pair["rejected"] == [*row["prompt"], answers[1]]


def test_parents_are_the_seeds_to_the_letter(run: Path) -> None:
    parents = [row for part in (run / "stages" / "parents").glob("*") for row in read_parquet(part)]
    wanted = {row["chosen"]: prompt_of(row["prompt"]) for row in SEEDS}
    assert len(parents) > len(SEEDS) / 3
    for row in parents:
        assert row["prompt"] == wanted[row["golden"]]
        assert not row["error"]


def test_the_terminal_shows_texts_as_text(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in which every text is shown: as prompt, responses, operator and reason."""
    monkeypatch.setenv("COLUMNS", "2000")  # no line is wrapped
    folder = Path(shutil.copytree(run, run.parent / "shown"))
    table = pq.read_table(folder / "provenance.parquet")
    one = next(row for row in table.to_pylist() if row["verdict"] == "kept")
    texts = [re.sub(r"[\n\r]+", " ", text) for text in TEXTS]
    rows = [
        {**one, "parent": f"{i}", "operator": text, "prompt": user_message(text), "chosen": text}
        for i, text in enumerate(texts)
    ]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), folder / "provenance.parquet")
    seal(folder / "provenance.parquet")
    summary = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    clusters = [{**summary["spending"]["clusters"][0], "cluster": text} for text in texts]
    summary["spending"]["clusters"] = clusters
    summary["counts"]["seeds"]["set_aside"] = dict.fromkeys(texts, 1)
    summary["counts"]["candidates"]["rejected"] = dict.fromkeys(texts, 1)
    (folder / "run.json").write_text(json.dumps(summary), encoding="utf-8")
    output = seamaug("show", folder, "--examples", len(rows)).output
    shown = " ".join(output.split())
    for text in texts:
        whole = " ".join(printable(text).split())
        # Prompt, chosen and the title; set aside and rejected. White space is rich's own matter.
        assert shown.count(whole) >= 5, text


@pytest.mark.parametrize("mapped", [False, True])
def test_errors_and_messages_name_columns_without_their_escapes(
    mapped: bool, tmp_path: Path
) -> None:
    """Unknown columns are listed in the error; those mapped are logged, and then miss a row."""
    column = "\x1b[31m\u202eprompt\x07"
    write_jsonl(tmp_path / "seeds.jsonl", [{"golden": "yes", column: f"text {i}"} for i in (1, 2)])
    mapping = ["--column", "golden=golden", "--column", f"prompt={column}"] if mapped else []
    arguments = ["score", str(tmp_path / "seeds.jsonl"), "--out", str(tmp_path / "out.csv")]
    result = CliRunner().invoke(main, [*arguments, *mapping])
    assert result.exit_code == 1
    assert printable(column) in result.output
    assert not STEERING.search(result.output)


def cells(markdown: str) -> list[list[str]]:
    """Rows of all tables, each cell as a reader sees it; fails where a cell holds markup."""
    rows: list[list[str]] = []
    parser = MarkdownIt("gfm-like", {"html": True, "linkify": False}).enable("table")
    for token in parser.parse(markdown.split("---\n", 2)[2]):
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline" and token.level > 3:
            kinds = {child.type for child in token.children or []}
            assert kinds <= {"text", "text_special", "code_inline"}, token.content
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


def test_the_card_shows_sources_as_text(run: Path) -> None:
    summary = json.loads((run / "run.json").read_text(encoding="utf-8"))
    summary["licences"] = [
        {"source": row["source"], "licence": row["licence"], "seeds": 1, "kept": i}
        for i, row in enumerate(SEEDS, 1)
    ]
    folder = run.parent / "card"
    write_card(folder, summary)
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert not STEERING.search(text)
    assert load_front(text) == load_front((run / "README.md").read_text(encoding="utf-8"))
    shown = {tuple(row[:2]) for row in cells(text) if len(row) == 4}
    for row in SEEDS:
        names = (row["source"], row["licence"])
        if all(name.isprintable() and name.isascii() for name in names):
            assert tuple(" ".join(name.split()) for name in names) in shown
    assert {len(row) for row in cells(text)} == {2, 4, 6}
    assert len(cells(text)) >= len(SEEDS)
    assert "://e" not in text  # which many renderers make a link of


def load_front(text: str) -> str:
    return text.split("---\n", 2)[1]


def test_cells_that_a_spreadsheet_would_compute_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    harmless = [{"prompt": "1 + 1 =", "n": -1}, {"prompt": "a@b", "n": 2}]
    write_table(Dataset.from_list(harmless), tmp_path / "a.csv")
    assert "formula" not in caplog.text
    texts = ["=1+1", "+1", "-1", "@SUM(A1)", " \t=HYPERLINK(0)", "\tx", "＝1"]
    rows = [*harmless, *({"prompt": text, "n": 0} for text in texts)]
    write_table(Dataset.from_list(rows), tmp_path / "b.csv")
    assert "7 cells begin like a formula (columns prompt): do not open" in caplog.text
    with (tmp_path / "b.csv").open(encoding="utf-8", newline="") as stream:
        assert [row["prompt"] for row in csv.DictReader(stream)][2:] == texts
    caplog.clear()
    write_table(Dataset.from_list([{"=A1": "x"}]), tmp_path / "c.csv")
    assert "1 cells begin like a formula (columns =A1)" in caplog.text


def test_scores_as_csv_hold_no_formula_and_are_read_again(tmp_path: Path) -> None:
    texts = ["=cmd|' /C calc'!A0", "-1", "@x", "'=1", "1 - 1", "\r=1"]
    rows = [{"id": f"{i:016x}", "golden": text, "seam": -i / 7} for i, text in enumerate(texts)]
    path = tmp_path / "scores.csv"
    write_table(Dataset.from_list(rows), path, guard=True)
    with path.open(encoding="utf-8", newline="") as stream:
        found = [row["golden"] for row in csv.DictReader(stream)]
    assert found == ["'=cmd|' /C calc'!A0", "'-1", "'@x", "'=1", "1 - 1", "'\r=1"]
    assert read_scores(path, "seam") == {row["id"]: row["seam"] for row in rows}


# --- an LLM on a server that is shown all of it

WITH_LLM: dict[str, Any] = {
    "score": {"batch_seeds": 32, "samples": 3, "estimators": ["llm"]},
    "select": {"top": len(TEXTS)},
    "generate": {
        "operators": ["paraphrase", "change_entity"],
        "worse": ["llm", "scored"],
        "policy_samples": 0,
        "per_parent": 2,
        "rounds": 1,
        "allocation": "uniform",
    },
    "verify": {"min_similarity": -1},
}


OVERRATED = "I have no comment"
"""What the bundled reward model likes better than the golden response of any of the seeds, so that
all of them have a discrepancy and are selected."""


def echo(body: Row) -> str:
    """What it was shown with a word more, or what is worse, in the form that was asked for."""
    if "[BEGIN" not in body["messages"][0]["content"]:
        return '{"hello": true}'
    asked = Asked(Request("", body["messages"], 0, 1, 1.0, body.get("response_format")))
    if "better" in asked.fields:  # the new golden response is the longer one
        longer = len(asked.texts["RESPONSE A"]) > len(asked.texts["RESPONSE B"])
        return asked.reply(better="A" if longer else "B")
    request = f"{asked.texts['REQUEST']} again"
    golden = f"{asked.texts.get('RIGHT RESPONSE')} indeed"
    return asked.reply(request=request, response=OVERRATED if "mistake" in asked.fields else golden)


@pytest.mark.parametrize("structured", [False, True])
def test_an_llm_is_shown_each_text_and_writes_it_as_it_stands(
    structured: bool, seeds_file: str, tmp_path: Path
) -> None:
    with FaultyServer(reply=echo) as server:
        own = {"name": MODEL, "engine": "server", "url": server.url, "structured": structured}
        (tmp_path / "llm.yaml").write_text(yaml.safe_dump({**WITH_LLM, "generator": own}))
        arguments = ["--config", tmp_path / "llm.yaml", "--budget", 500, "--out", tmp_path / "run"]
        seamaug("expand", seeds_file, *arguments)
        asked = [body["messages"][0]["content"] for body in server.bodies]
    assert not [content for content in asked if any(token in content for token in TOKENS)]
    rows = read_parquet(tmp_path / "run" / "provenance.parquet")
    wanted = {row["chosen"]: prompt_of(row["prompt"])[-1]["content"] for row in SEEDS}
    wanted |= {f"{golden} indeed".strip(): text for golden, text in wanted.items()}
    assert Counter(row["verdict"] for row in rows)["failed"] == 0
    for row in rows:
        assert row["prompt"][-1]["content"] == f"{wanted[row['chosen']]} again".strip()
        assert row["chosen"].endswith(" indeed") or row["operator"] == "paraphrase"
    assert {wanted[row["chosen"]] for row in rows} == set(wanted.values())
    accounts = json.loads((tmp_path / "run" / "run.json").read_text())["generation"]
    assert accounts.keys() == {
        "paraphrase", "change_entity", "golden_rewrite", "judge", "worse_by_aspect",
        "worse_like_overrated",
    }  # fmt: skip
    assert {account["unreadable"] for account in accounts.values()} == {0}
