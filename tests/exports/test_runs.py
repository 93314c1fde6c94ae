"""Several runs exported together: what one repeats of another is there once."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from seamaug import export
from seamaug.config import SeedsConfig
from seamaug.errors import ConfigError, InputError, RunFolderError
from seamaug.exports.example import original_examples
from seamaug.records import user_message
from seamaug.seeds.columns import Layouts

Make = Callable[..., Any]
WORDS = "write a short story about {} lighthouse keepers who count the ships of the bay every night"


def say(number: int, tail: str = "") -> list[dict[str, str]]:
    """Prompts that share no three words in a row with another number's, long enough to be near."""
    text = " ".join(f"{word}-{number}" for word in (WORDS * 3).split())
    return [{"role": "user", "content": f"{text}{tail}"}]


def sft(folder: Path) -> list[str]:
    table = pq.read_table(folder / "sft" / "train.parquet")
    return [row["messages"][-1]["content"] for row in table.to_pylist()]


@pytest.fixture
def two(finished: Make, candidate: Make) -> list[Path]:
    """Of prompt 1 the first run's variant reduced SEAM more, of prompt 2 the second run's."""
    first = [
        candidate(0, prompt=say(0), chosen="a0"),
        candidate(1, prompt=say(1), chosen="a1", seam_after=0.1),
        candidate(2, prompt=say(2), chosen="a2", seam_after=0.4),
        candidate(3, prompt=say(2, " again"), chosen="a3", seam_after=0.4),  # near it, but its own
    ]
    second = [
        candidate(11, prompt=say(1, " please"), chosen="b1"),
        candidate(12, prompt=say(2, " please"), chosen="b2"),
        candidate(13, prompt=say(3), chosen="b3"),
    ]
    return [finished("a", first), finished("b", second)]


def test_of_near_duplicates_the_one_stands_that_reduced_seam_most(
    two: list[Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "seamaug"):
        (done,) = export(two, to="trl", out=tmp_path / "out")
    assert sft(tmp_path / "out" / "trl") == ["a0", "a1", "b2", "b3"]
    assert done.rows["sft/train.parquet"] == {"augmented": 4}
    assert f"2 of 4 examples of {two[0]} are left out" in caplog.text
    assert f"1 of 3 examples of {two[1]} are left out" in caplog.text
    told = pq.read_table(tmp_path / "out" / "trl" / "provenance.parquet").to_pylist()
    runs = [row["run"] for row in told if row["file"] == "sft/train.parquet"]
    assert runs == [str(two[number]) for number in (0, 0, 1, 1)]


def test_alone_a_run_keeps_all_that_it_kept(two: list[Path], tmp_path: Path) -> None:
    export(two[0], to="trl", out=tmp_path / "out")
    assert sft(tmp_path / "out" / "trl") == ["a0", "a1", "a2", "a3"]


@pytest.mark.parametrize("changed", ["weighting", "reward"])
def test_where_seams_cannot_be_compared_the_first_run_stands(
    two: list[Path], tmp_path: Path, changed: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = two[1] / "run.json"
    summary = json.loads(path.read_text())
    if changed == "weighting":
        summary["weighting"] = "paper"
    else:
        summary["models"]["reward"]["fingerprint"] = "another"
    path.write_text(json.dumps(summary))
    export(two, to="trl", out=tmp_path / "out")
    assert sft(tmp_path / "out" / "trl") == ["a0", "a1", "a2", "a3", "b3"]
    assert "cannot be compared: of near duplicates the one of the run named first" in caplog.text


def test_without_near_duplicates_only_equal_words_are_repeats(
    two: list[Path], tmp_path: Path
) -> None:
    path = two[0] / "run.json"
    summary = json.loads(path.read_text())
    summary["config"]["verify"]["duplicates"]["near"] = None
    path.write_text(json.dumps(summary))
    export(two, to="trl", out=tmp_path / "out")
    assert len(sft(tmp_path / "out" / "trl")) == 7


def test_originals_are_mixed_with_all_runs(two: list[Path], tmp_path: Path) -> None:
    rows = [{"prompt": f"Seed {n}?", "chosen": f"yes {n}", "rejected": "no"} for n in range(8)]
    (done,) = export(two, to="trl", out=tmp_path / "out", merge_with=rows, ratio="1:1")
    assert done.rows["sft/train.parquet"] == {"original": 4, "augmented": 4}


def test_what_repeats_a_seed_of_another_shard_is_left_out(
    finished: Make, candidate: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A variant may be like its own parent, and like what this is like."""
    texts = [say(number)[0]["content"] for number in range(3)]
    rows = [
        {"prompt": text, "chosen": "yes", "rejected": "no"} for text in (*texts, texts[1] + "!")
    ]
    ids = [
        example.parent
        for example in original_examples(SeedsConfig(), rows, Layouts({}), margin=False)
    ]
    first = [
        candidate(0, parent=ids[0], prompt=say(0, " please"), chosen="like its parent"),
        candidate(1, parent=ids[1], prompt=say(1, " please"), chosen="like its parent's like"),
        candidate(2, parent=ids[0], prompt=say(2, " please"), chosen="like another"),
    ]
    second = [candidate(3, parent="not there", prompt=say(9), chosen="like none")]
    runs = [finished("a", first), finished("b", second)]
    with caplog.at_level("INFO", "seamaug"):
        export(runs, to="trl", out=tmp_path / "out", merge_with=rows)
    assert sorted(set(sft(tmp_path / "out" / "trl"))) == [
        "like its parent", "like its parent's like", "like none", "yes",
    ]  # fmt: skip
    assert f"1 of 3 examples of {runs[0]} are left out" in caplog.text
    assert "near duplicates of an original row's" in caplog.text
    export(runs[0], to="trl", out=tmp_path / "alone", merge_with=rows)
    assert "like another" in sft(tmp_path / "alone" / "trl")


def test_what_repeats_an_original_row_makes_nothing_else_fall(
    finished: Make, candidate: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The second variant is like the first, and not enough like the row.
    text, near, less = (" ".join(f"word-{n}" for n in range(size)) for size in (200, 215, 231))
    row = {"prompt": text, "chosen": "yes", "rejected": "no"}
    best = candidate(0, prompt=user_message(near), chosen="the best", seam_after=0.0)
    runs = [
        finished("a", [best]),
        finished("b", [candidate(1, prompt=user_message(less), chosen="the next")]),
    ]
    export(runs, to="trl", out=tmp_path / "alone")
    assert sft(tmp_path / "alone" / "trl") == ["the best"]
    export(runs, to="trl", out=tmp_path / "out", merge_with=[row])
    assert sorted(sft(tmp_path / "out" / "trl")) == ["the next", "yes"]
    assert "1 of 1 seeds that the runs made variants of are not among" in caplog.text


def test_where_nothing_stands_there_is_nothing_to_merge(
    finished: Make, candidate: Make, tmp_path: Path
) -> None:
    row = {"prompt": say(0)[0]["content"], "chosen": "yes", "rejected": "no"}
    runs = [finished(name, [candidate(0, prompt=say(0))]) for name in "ab"]
    with pytest.raises(InputError, match="nothing to merge: does --merge-with name"):
        export(runs, to="trl", out=tmp_path / "out", merge_with=[row])
    assert not (tmp_path / "out").exists()


def test_several_runs_need_a_folder_and_are_each_a_run_of_their_own(
    two: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="several runs are exported together: say where to"):
        export(two, to="trl")
    with pytest.raises(ConfigError, match="is named twice"):
        export([two[0], two[1], two[0]], to="trl", out=tmp_path / "out")
    with pytest.raises(RunFolderError, match="nowhere is not a run folder"):
        export([two[0], tmp_path / "nowhere"], to="trl", out=tmp_path / "out")
    with pytest.raises(ConfigError, match="lies in the run folder"):
        export(two, to="trl", out=two[1])
    assert not (tmp_path / "out").exists()
