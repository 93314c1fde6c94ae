"""One writer at a time, where there are no locks."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from seamaug.errors import RunFolderError
from seamaug.run.lease import LOCK, Lease
from seamaug.run.mirror import opened_run
from seamaug.storage import Remote, remote

Machine = Callable[[str], Path]


@pytest.fixture
def there(store: str) -> Remote:
    found = remote(f"{store}/run")
    assert found
    return found


@pytest.fixture
def held(there: Remote) -> Iterator[Lease]:
    lease = Lease(there, "one")
    lease.take()
    yield lease
    lease.release()


def test_a_second_writer_is_refused_while_the_first_one_beats(there: Remote, held: Lease) -> None:
    with pytest.raises(RunFolderError, match="another process is at work in") as refusal:
        Lease(there, "two").take()
    assert f"{there.url} (" in str(refusal.value)
    held.check()


def test_of_the_writers_of_one_folder_here_a_lock_left_behind_is_a_dead_ones(there: Remote) -> None:
    assert there.create(LOCK, json.dumps({"writer": "one", "process": "dead"}).encode())
    lease = Lease(there, "one")
    lease.take()
    lease.release()
    assert there.read(LOCK) is None


@pytest.mark.parametrize("left", [b'{"writer": "two", "process": "dead", "beat": 3}', b"", b"[]"])
def test_a_lock_that_no_longer_changes_is_taken_over(there: Remote, left: bytes) -> None:
    assert there.create(LOCK, left)
    lease = Lease(there, "one")
    lease.take()
    assert json.loads(there.read(LOCK) or b"")["writer"] == "one"
    lease.release()


def test_who_was_overtaken_stops_and_leaves_the_lock_to_the_other(store: str) -> None:
    url = f"{store}/run"
    there = remote(url)
    assert there

    def work() -> None:
        with opened_run(url, {"a": 1}) as run, run:
            there.write(LOCK, b'{"writer": "two", "process": "other"}')
            run._mirror._lease._thread.join()  # type: ignore[attr-defined]
            (run.path / "later.txt").write_text("made since")

    with pytest.raises(RunFolderError, match="another process took over"):
        work()
    assert there.read(LOCK) == b'{"writer": "two", "process": "other"}'
    assert "later.txt" not in there.names()


def test_a_second_process_on_the_same_machine_is_refused_at_once(store: str) -> None:
    url = f"{store}/run"
    with (
        opened_run(url, {"a": 1}),
        pytest.raises(RunFolderError, match="another process is at work"),
        opened_run(url, {"a": 1}),
    ):
        pass


def test_a_second_machine_is_refused_and_takes_its_turn_later(store: str, machine: Machine) -> None:
    url = f"{store}/run"
    with opened_run(url, {"a": 1}):
        machine("second")
        with (
            pytest.raises(RunFolderError, match="another process is at work"),
            opened_run(url, {"a": 1}),
        ):
            pass
    with opened_run(url, {"a": 1}):
        pass
