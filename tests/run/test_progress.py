"""Progress lines: what people read where there is no terminal."""

import logging
import time

import pytest

from seamaug.clock import Clock
from seamaug.run import progress as module
from seamaug.run.progress import Progress, progress


def test_a_line_says_count_rate_time_left_and_note(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Progress("score", 100, "seeds")
    monkeypatch.setattr(state, "_start", time.monotonic() - 10)
    state.advance(40, resumed=True)
    state.advance(20, "half way")
    line = state.line()
    assert line.startswith("score 60/100 seeds, 2.0/s, 20.")
    assert line.endswith("s left, half way")


def test_lines_are_logged_now_and_then_without_a_terminal(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "_LOG_EVERY", 0.0)
    with (
        caplog.at_level(logging.INFO, "seamaug"),
        progress("embed", 4, "seeds", quiet=False) as bar,
    ):
        bar.to(2)
        bar.to(4)
    assert [record.message[:9] for record in caplog.records] == [
        "embed 2/4",
        "embed 4/4",
        "embed: 4 ",
    ]


def test_the_clock_gives_each_second_to_one_kind_only() -> None:
    watch = Clock()
    with watch.stage("score"):
        time.sleep(0.02)
        with watch.kind("policy"):
            time.sleep(0.04)
    report = watch.report()
    assert report["score"]["policy"] >= 0.04
    assert report["score"]["orchestration"] >= 0.02
    assert sum(report["score"].values()) <= sum(watch.seconds.values()) + 0.01
