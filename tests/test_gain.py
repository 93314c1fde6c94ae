"""The experiment of examples/gain: its machinery on a handful of rows, never its effect."""

import gzip
import importlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from tests.models.faulty_server import MODEL, FaultyServer, rewrite

GAIN = Path(__file__).parents[1] / "examples" / "gain"


@pytest.fixture(scope="module")
def gain() -> Iterator[Any]:
    """Imports a module of the experiment, which is a folder of scripts."""
    sys.path.insert(0, str(GAIN))
    yield importlib.import_module
    sys.path.remove(str(GAIN))


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=GAIN.parents[1],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


ARMS = (
    "none",
    "random",
    "perplexity",
    "margin",
    "west-of-n",
    "seam on-policy",
    "seam on-policy, lookahead",
    "best + PM",
    "gold spread",
    "everything",
    "drop seam 40%",
    "random, drop seam 40%",
)
"""One of each kind; the others differ by settings alone."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of a tiny seed."""
    work = tmp_path_factory.mktemp("gain")
    run_quick(work)
    return work / "laptop-quick" / "laptop.jsonl"


def run_quick(work: Path) -> None:
    run(str(GAIN / "run.py"), "--quick", "--seeds", "3", "--work", str(work), "--arms", *ARMS)


def rows_of(results: Path) -> dict[str, Any]:
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert len({row["arm"] for row in rows}) == len(rows)
    return {row["arm"]: row for row in rows}


def test_every_arm_is_measured_at_equal_volume(results: Path, gain: Any) -> None:
    arms = gain("arms")
    assert {*ARMS} <= {*arms.ARMS, *arms.DROPS}
    rows = rows_of(results)
    assert list(rows) == list(ARMS)
    settings = yaml.safe_load((GAIN / "laptop.yaml").read_text(encoding="utf-8"))["quick"]
    seeds, variants = settings["sizes"]["seeds"], settings["variants"]
    assert rows["none"]["rows"] == rows["drop seam 40%"]["rows"] == 0
    assert rows["everything"]["rows"] == seeds * variants
    assert rows["random, drop seam 40%"]["rows"] == rows["random"]["rows"]
    few = {"seam on-policy, lookahead", "best + PM"}
    for arm in {
        *ARMS[1:-3]
    } - few:  # look-ahead may find too little that helps, in models this small
        assert rows[arm]["rows"] == round(0.2 * seeds) * variants, arm
    for arm, row in rows.items():
        assert 0 <= row["gold"] <= 1
        assert row["seed"] == 3
        assert row["seam_after"] >= 0
        assert row["rl_prompts"] == (18 if "drop" in arm else 30)
    assert rows["none"]["win_rate"] == 0.5
    runs = results.with_name("laptop-runs.jsonl").read_text(encoding="utf-8").splitlines()
    told = json.loads(runs[0])
    assert (told["scale"], told["quick"], told["seeds"]) == ("laptop", True, [3])
    assert told["arms"] == list(ARMS)
    assert {"date", "device", "versions"} < told.keys()


def test_what_is_done_is_not_done_again(results: Path) -> None:
    before = results.read_bytes()
    run_quick(results.parents[1])
    assert results.read_bytes() == before


def test_rows_go_on_where_the_models_of_earlier_ones_are_gone(
    results: Path, tmp_path: Path
) -> None:
    there = results.read_text(encoding="utf-8").splitlines(keepends=True)
    moved = tmp_path / "laptop-quick" / "laptop.jsonl"
    moved.parent.mkdir()
    moved.write_text("".join(there[:1]), encoding="utf-8")
    run(str(GAIN / "run.py"), "--quick", "--seeds", "3", "--work", str(tmp_path),
        "--arms", "none", "drop seam 40%")  # fmt: skip
    rows = rows_of(moved)
    assert list(rows) == ["none", "drop seam 40%"]
    assert rows["drop seam 40%"]["win_rate"] == rows_of(results)["drop seam 40%"]["win_rate"]


def test_the_page_says_what_the_rows_say(results: Path) -> None:
    pytest.importorskip("matplotlib")
    text = run(str(GAIN / "page.py"), "--results", str(results.parent))
    assert results.with_suffix(".md").read_text(encoding="utf-8").strip() == text.strip()
    assert f"| random | {rows_of(results)['random']['rows']} |" in text
    assert "<svg" in results.with_suffix(".svg").read_text(encoding="utf-8")


def test_policies_meet_reward_models_of_several_qualities(results: Path, gain: Any) -> None:
    work = results.parents[1]
    run(str(GAIN / "grid.py"), "--quick", "--seeds", "3", "--work", str(work))
    rows = [json.loads(line) for line in (results.parent / "laptop-grid.jsonl").open()]
    assert [(row["policy_share"], row["reward_share"]) for row in rows] == [(1.0, 0.5), (1.0, 1.0)]
    # A policy of two steps may say nothing right, and then there is no pair to put in order.
    assert all(row["mismatch"] is None or 0 <= row["mismatch"] <= 1 for row in rows)
    assert rows[0]["gold_sft"] == rows[1]["gold_sft"]  # the same policy


def test_steps_and_stability_are_looked_at(results: Path, gain: Any) -> None:
    work = results.parents[1]
    run(str(GAIN / "causes.py"), "--quick", "--seeds", "3", "--work", str(work))
    path = results.parent / "laptop-causes.jsonl"
    rows = [json.loads(line) for line in path.open()]
    assert [row.get("again", row.get("rl_steps")) for row in rows] == [
        "other samples", "other training", 1, 2
    ]  # fmt: skip
    assert all(-1 <= row["rank_correlation"] <= 1 for row in rows[:2])
    assert all(0 <= row["worst_shared"] <= 1 for row in rows[:2])
    # The protocol's own run has one step.
    assert rows[2]["gold"] == rows_of(results)["none"]["gold"]
    told = "\n".join(gain("page").causes(path))
    assert f"| none | {rows[2]['gold']:.3f}, {rows[2]['kl']:.2f} | {rows[3]['gold']:.3f}," in told
    assert f"| other training | {rows[1]['worst_shared']:.0%} (" in told


def test_saturation_is_read_by_share(tmp_path: Path, gain: Any) -> None:
    cell = {"seed": 1, "policy_share": 1.0, "gold_sft": 0.25}
    rows = [
        cell | {"reward_share": 0.5, "gold": 0.5, "mismatch": 0.25},
        cell | {"reward_share": 0.5, "gold": 0.75, "mismatch": None, "seed": 2},
        cell | {"reward_share": 1.0, "gold": 0.125, "mismatch": None},
    ]
    path = tmp_path / "grid.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    text = "\n".join(gain("page").saturation(path))
    assert "| 100% of demonstrations | 0.250 → 0.625, 0.25 | 0.250 → 0.125, – |" in text


def test_the_published_recipe_runs_on_stand_ins(tmp_path: Path) -> None:
    """Adapters, a chat template of its own, given judges: what the laptop's scale has not."""
    scale = ("--scale", "paper", "--quick", "--seeds", "1", "--arms", "none", "seam paper")
    run(str(GAIN / "run.py"), *scale, "--work", str(tmp_path))
    rows = rows_of(tmp_path / "paper-quick" / "paper.jsonl")
    assert list(rows) == ["none", "seam paper"]
    assert rows["seam paper"]["rows"] > 0
    assert 0 < rows["seam paper"]["gold"] < 1


@pytest.fixture
def corpora(tmp_path: Path, bundled: Any) -> Path:
    """The files that the scale `real` names, of few rows."""
    kept = ("prompt", "chosen", "rejected", "set")
    pairs = [{name: row[name] for name in kept} for row in bundled(300)]
    texts = [{"prompt": row["prompt"], "response": row["chosen"]} for row in pairs]
    for name, rows in (("preference-larger", pairs), ("sft-mixed", texts)):
        with gzip.open(tmp_path / f"{name}.jsonl.gz", "wt", encoding="utf-8") as out:
            out.writelines(f"{json.dumps(row)}\n" for row in rows)
    return tmp_path


def test_files_are_dealt_to_judges_and_arms(tmp_path: Path, corpora: Path) -> None:
    """The scale `real`: judges that nothing else sees, and pairs that a checker labelled."""
    scale = ("--scale", "real", "--quick", "--seeds", "1", "--arms", "random")
    run(str(GAIN / "run.py"), *scale, "--data", str(corpora), "--work", str(tmp_path))
    folder = tmp_path / "real-quick"
    rows = rows_of(folder / "real.jsonl")
    assert list(rows) == ["none", "random"]
    assert rows["random"]["rows"] > 0
    about = json.loads((folder / "seed-1" / "about.json").read_text(encoding="utf-8"))
    assert about["checkable"] > 0
    assert "judges_right" in about


def test_an_llm_on_a_server_writes(tmp_path: Path, corpora: Path) -> None:
    """The scale `real-llm`, in a file of one's own that names another server."""
    with FaultyServer(reply=rewrite) as server:
        generator = {"url": server.url, "name": MODEL, "structured": False}
        own = {"like": "real-llm", "seamaug": {"generator": generator}}
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
        scale = ("--scale", str(tmp_path / "mine.yaml"), "--quick", "--seeds", "1")
        arms = ("--arms", "random")
        run(str(GAIN / "run.py"), *scale, *arms, "--data", str(corpora), "--work", str(tmp_path))
    folder = tmp_path / "mine-quick"
    added = pq.read_table(folder / "seed-1" / "expand" / "random" / "provenance.parquet")
    kept = [row["template_hash"] for row in added.to_pylist() if row["verdict"] == "kept"]
    assert rows_of(folder / "mine.jsonl")["random"]["rows"] == len(kept)
    assert any(kept)  # an operator's template was filled in, and the server's reply is in the row


def test_judges_are_right_where_they_prefer_the_chosen_response(gain: Any) -> None:
    def judges(rows: list[Any], said: list[Any]) -> list[list[float]]:
        assert said == [[row["rejected"]] for row in rows]
        return [[{"a": 0.2, "b": 0.8, "c": 0.1}[row["rejected"]]] for row in rows]

    rows = [{"set": "sums", "rejected": text} for text in "abc"]
    parts = {"held_out": [*rows, {"set": "poems", "rejected": "d"}]}
    found = gain("corpora.world")._checked(judges, parts, {"checkable": "sums"})
    assert found == {"checkable": 3, "judges_right": pytest.approx(2 / 3)}
    assert gain("corpora.world")._checked(judges, parts, {}) == {}


def test_a_scale_may_be_like_another(gain: Any) -> None:
    own, other = map(gain("run").settings_of, ("laptop-mild", "laptop"))
    assert own["noise"] == [0.1, 0.5]
    assert own["training"]["rloo"]["beta"] == 0.6
    own["noise"], own["training"]["rloo"]["beta"] = other["noise"], 0.3
    assert own == other

    own, other = map(gain("run").settings_of, ("real-llm", "real"))
    assert own["seamaug"].pop("generator")["engine"] == "server"
    assert own == other


def test_kinds_of_task_are_drawn_where_the_scale_says_how_many(gain: Any) -> None:
    lots, scale = gain("laptop.world").Lots, gain("run").settings_of("laptop-few")
    drawn = [lots.draw(scale, random.Random(seed)) for seed in range(2)]
    for own in drawn:
        assert len(own.styles) == scale["kinds"] < len(gain("laptop.kinds").KINDS)
        assert own.styles.keys() == own.sft.keys() == own.pairs.keys() == own.noise.keys()
        assert sum(own.sft.values()) == pytest.approx(scale["sizes"]["sft"], abs=10)
    assert drawn[0].styles.keys() != drawn[1].styles.keys()


def test_what_leaves_prompts_out_is_compared_with_no_reinforcement_too(gain: Any) -> None:
    page = gain("page")
    none = {"arm": "none", "rows": 0, "gold": 0.5, "gold_sft": 0.4}
    drop = {"arm": "drop seam 20%", "rows": 0, "gold": 0.6}
    random = none | {"arm": "random", "gold": 0.4}
    both = drop | {"arm": "random, drop seam 20%"}
    rows = {row["arm"]: row for row in (none, random, drop, both)}
    text = "\n".join(page.tables({1: rows}))
    assert "| drop seam 20% | 0.600 | +20.0% [+20.0%, +20.0%] | +50.0% [+50.0%, +50.0%] |" in text
    assert "| none | 0.500 | – | +25.0% [+25.0%, +25.0%] |" in text
    assert "| random, drop seam 20% | 0.600 | +50.0% [" in text  # it has the models of `random`


def test_arms_of_some_seeds_have_a_table_of_their_own(tmp_path: Path, gain: Any) -> None:
    page = gain("page")
    base = {"rows": 0, "gold": 0.5, "win_rate": 0.5}
    rows = [{"seed": s, "arm": arm} | base for s in (1, 2) for arm in ("none", "random")]
    rows += [{"seed": 2, "arm": "margin"} | base | {"gold": 0.6}, {"seed": 3, "arm": "none"} | base]
    path = tmp_path / "laptop.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    by_seed = page.read(path)
    assert list(by_seed) == [1, 2]  # the third has no `random` to compare with
    assert page.arms_of(by_seed) == (["none", "random"], ["margin"])
    assert page.tables(by_seed)[0].startswith("2 seeds: 1, 2.")
    text = "\n".join(page.tables({2: by_seed[2]}))
    assert "| margin | 0 | 0.600 | +20.0% [+20.0%, +20.0%] |" in text
    assert page.some(by_seed, ["margin"])[-1] == (
        "| margin | 2 | 0.600 | +20.0% [+20.0%, +20.0%] |"
    )


def test_a_gain_is_relative_and_paired(gain: Any) -> None:
    page = gain("page")
    base = np.array([0.2, 0.4, 0.6])
    table = {"random": {"gold": base}, "seam": {"gold": 1.1 * base}}
    assert page.gain(table, "seam", "random", page.Bootstrap(3)) == "+10.0% [+10.0%, +10.0%]"


def test_tasks_know_right_from_wrong(gain: Any) -> None:
    tasks = gain("laptop.kinds")
    rng = random.Random(0)
    for kind in tasks.KINDS.values():
        for _ in range(50):
            task = kind.task(rng)
            assert task.said(1.0, rng) == task.answer
            assert task.said(0.0, rng) in task.mistakes
            assert task.answer not in task.mistakes
            other = task.reworded(rng)
            assert other.prompt != task.prompt
            assert other.answer == task.answer


def test_no_prompt_is_drawn_twice(gain: Any) -> None:
    tasks = gain("laptop.kinds")
    rng, known = random.Random(0), set()
    first = tasks.draw(list(tasks.KINDS), 300, rng, known)
    second = tasks.draw(list(tasks.KINDS), 300, rng, known)
    assert len({task.prompt for task in first + second}) == 600
    assert {task.kind for task in first} == tasks.KINDS.keys()
