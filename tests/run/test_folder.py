"""The run folder: whole parts only, one owner at a time, no mixing of runs."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from seamaug.errors import RunFolderError
from seamaug.run.folder import RunFolder, read_part, whole_file

IDENTITY = {"config": {"budget": 10, "select": {"share": 0.2}}}


def table(number: int) -> pa.Table:
    return pa.table({"n": [number]})


def test_a_part_is_made_once_and_read_afterwards(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", IDENTITY)
    assert not run.has_part("score", 0)
    assert run.part("score", 0, lambda: table(7)).to_pydict() == {"n": [7]}
    again = RunFolder(tmp_path / "run", IDENTITY)
    assert again.has_part("score", 0)
    assert again.part("score", 0, lambda: table(8)).to_pydict() == {"n": [7]}


def test_parts_come_in_the_order_of_their_numbers_past_five_digits(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", IDENTITY)
    for number in (100_000, 99_999, 3):
        run.part("score", number, lambda n=number: table(n))
    assert [part["n"][0].as_py() for part in run.parts("score")] == [3, 99_999, 100_000]


def test_other_settings_are_refused_with_the_difference(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", IDENTITY).part("score", 0, lambda: table(1))
    other = {"config": {"budget": 20, "select": {"share": 0.2}}}
    with pytest.raises(RunFolderError) as caught:
        RunFolder(tmp_path / "run", other)
    assert "config.budget: 10 -> 20" in str(caught.value)
    assert "share" not in str(caught.value)


def test_a_run_that_finished_nothing_does_not_block_a_corrected_command(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", IDENTITY)
    other = {"config": {"budget": 20}}
    RunFolder(tmp_path / "run", other)
    stored = json.loads((tmp_path / "run" / "stages" / "identity.json").read_text())
    assert stored == other


def test_what_a_run_found_out_it_goes_by(tmp_path: Path) -> None:
    """Before and after its first part; what another run found there before does not count."""
    run = RunFolder(tmp_path / "run", IDENTITY)
    assert run.recall("structured") is None
    run.remember("structured", True)
    run.remember("other", 3)
    again = RunFolder(tmp_path / "run", IDENTITY)
    assert (again.recall("structured"), again.recall("other")) == (True, 3)
    again = RunFolder(tmp_path / "run", {"config": {"budget": 20}})
    assert again.recall("structured") is None
    again.remember("structured", False)
    again.part("score", 0, lambda: table(1))
    assert RunFolder(tmp_path / "run", {"config": {"budget": 20}}).recall("structured") is False


def test_a_damaged_identity_and_a_damaged_part_are_named(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", IDENTITY)
    run.part("score", 0, lambda: table(1))
    part = tmp_path / "run" / "stages" / "score" / "00000.parquet"
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(RunFolderError, match=r"00000\.parquet is missing or damaged"):
        list(run.parts("score"))
    with pytest.raises(RunFolderError, match=r"00000\.parquet is missing or damaged"):
        run.stored("score", 0)
    with pytest.raises(RunFolderError, match=r"nowhere\.parquet is missing"):
        read_part(tmp_path / "nowhere.parquet")
    (tmp_path / "run" / "stages" / "identity.json").write_text("{")
    with pytest.raises(RunFolderError, match=r"identity\.json is damaged"):
        RunFolder(tmp_path / "run", IDENTITY)


def test_a_damaged_part_is_named_and_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunFolder(tmp_path / "run", IDENTITY)
    for number in range(4):
        run.part("score", number, lambda n=number: table(n))
        run.part("candidates", number, lambda n=number: table(n), chained=True)
    for stage in ("score", "candidates"):
        part = tmp_path / "run" / "stages" / stage / "00001.parquet"
        part.write_bytes(part.read_bytes().replace(b"PAR1", b"PAR2"))
    assert run.part("score", 1, lambda: table(7))["n"].to_pylist() == [7]
    assert f"{tmp_path / 'run/stages/score/00001.parquet'} is damaged" in caplog.text
    assert run.part("score", 2, lambda: table(7))["n"].to_pylist() == [2]
    # What follows from it goes with it.
    run.part("candidates", 1, lambda: table(7), chained=True)
    assert [part["n"][0].as_py() for part in run.parts("candidates")] == [0, 7]


def test_what_the_run_found_out_is_not_believed_where_it_is_damaged(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run", IDENTITY).remember("structured", True)
    found = tmp_path / "run" / "stages" / "found.json"
    found.write_text(found.read_text().replace("true", "null"))
    with pytest.raises(RunFolderError, match=r"found\.json is damaged .*delete it"):
        RunFolder(tmp_path / "run", IDENTITY).recall("structured")


def test_parts_without_an_identity_are_not_taken_for_this_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", IDENTITY)
    run.part("score", 0, lambda: table(1))
    (tmp_path / "run" / "stages" / "identity.json").unlink()
    with pytest.raises(RunFolderError, match=r"identity\.json is gone"):
        RunFolder(tmp_path / "run", IDENTITY)


def test_a_folder_that_was_removed_does_not_come_back_in_part(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", IDENTITY)
    run.part("score", 0, lambda: table(1))
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(RunFolderError, match="was removed, moved or unmounted"):
        run.part("score", 1, lambda: table(1))
    with pytest.raises(RunFolderError, match="was removed, moved or unmounted"):
        list(run.parts("score"))
    assert not (tmp_path / "run").exists()


def test_a_second_process_is_refused_while_the_first_is_at_work(tmp_path: Path) -> None:
    first, second = (RunFolder(tmp_path / "run", IDENTITY) for _ in range(2))
    with first, pytest.raises(RunFolderError, match="another process"), second:
        pass
    with second:  # the first is done
        assert second.path == tmp_path / "run"


def test_a_second_process_with_other_settings_does_not_take_the_folder_over(tmp_path: Path) -> None:
    """Before the first one's first part, when the folder is still free for other settings."""
    other = {"config": {"budget": 20}}
    with RunFolder(tmp_path / "run", IDENTITY):
        with pytest.raises(RunFolderError, match="another process"):
            RunFolder(tmp_path / "run", other)
        stored = json.loads((tmp_path / "run" / "stages" / "identity.json").read_text())
        assert stored == IDENTITY
    first = RunFolder(tmp_path / "run", IDENTITY)
    RunFolder(tmp_path / "run", other).part("score", 0, lambda: table(1))
    with pytest.raises(RunFolderError, match="other settings"), first:
        pass


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    with whole_file(target) as temporary:
        temporary.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half"

    def fail_midway() -> None:
        with whole_file(target) as temporary:
            temporary.write_text("other")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail_midway()
    assert target.read_text() == "half"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
