import io
import re
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from survey_tools import progress
from survey_tools.progress import Progress, over
from survey_tools.tasks import Engine, run_tasks

ROOT = Path(__file__).parents[2]


@pytest.fixture
def log(monkeypatch, capsys):
    """What is written to a stderr that is no terminal, where a line is due each fiftieth of a second."""
    monkeypatch.setattr(progress, "EVERY", 0.02)
    said = []
    return lambda: said.extend(capsys.readouterr().err.splitlines()) or said


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(progress, "time", Clock())
    return progress.time


def test_a_line_says_how_much_is_done_how_fast_and_for_how_long_still(clock):
    work = Progress(547_000, "cut", "file", facts=lambda: "3.4 GB, 4.7 MB/s")
    clock.now = 720.0
    work.update(1200)
    assert work.line() == (
        "cut: 1,200 of 547,000 files (0.2 %) after 12 min, 1.67 files/s, 3.8 days left; 3.4 GB, 4.7 MB/s"
    )


def test_what_an_earlier_run_has_done_does_not_count_for_the_rate(clock):
    work = Progress(100, "train", "it", done=90)
    clock.now = 60.0
    work.update(2)
    assert work.line() == "train: 92 of 100 iterations (92.0 %) after 60 s, 2 iterations/min, 4 min left"
    clock.now = 3660.0
    assert work.line() == "train: 92 of 100 iterations (92.0 %) after 61 min, 1.97 iterations/h, 4.1 h left"


def test_the_rate_is_that_of_the_last_lines(clock):
    """A thousand that were found done already must not promise an early end."""
    work = Progress(10_000, "cut", "file")
    work.update(1000)
    for minute in range(1, 15):
        clock.now = 60.0 * minute
        work.update(1)
        said = work.line()
    assert "1 files/min, 6.2 days left" in said


def test_of_unknown_totals_and_other_units(clock):
    work = Progress(None, "peaks", "galaxy")
    clock.now = 10.0
    work.update(20)
    assert work.line() == "peaks: 20 galaxies after 10 s, 2 galaxies/s"
    work = Progress(3, "translate", "16 files")
    assert work.line() == "translate: 0 of 3 times 16 files after 1 s"
    work.reach(2, 4)
    assert work.line().startswith("translate: 2 of 4 times 16 files (50.0 %)")


def test_a_log_gets_lines_though_nothing_has_ended_and_a_last_one(log):
    with Progress(2, "cut", "file") as work:
        time.sleep(0.2)
        work.update(2)
    assert log()[0].startswith("cut: 0 of 2 files after")
    assert re.fullmatch(r"cut: 2 of 2 files in [\d.]+ s", log()[-1])


def test_without_a_terminal_there_is_a_line_a_minute(clock, monkeypatch, capsys):
    """Of work that does ninety things a minute for three minutes and a half, by a clock that is set by hand."""
    waited = []

    class Ended:
        def wait(self, seconds):
            waited.append(seconds)
            clock.now += seconds
            work.update(90)
            return len(waited) > 3

    monkeypatch.setattr(progress, "threading", SimpleNamespace(Event=Ended, Thread=threading.Thread))
    work = Progress(500, "training step 1 of 2", "it", facts=lambda: "cycle_x=0.5")
    work._watch()
    assert waited == [60.0] * 4
    assert capsys.readouterr().err.splitlines() == [
        "training step 1 of 2: 90 of 500 iterations (18.0 %) after 60 s, 1.5 iterations/s, 4.6 min left; cycle_x=0.5",
        "training step 1 of 2: 180 of 500 iterations (36.0 %) after 2 min, 1.5 iterations/s, 3.6 min left; cycle_x=0.5",
        "training step 1 of 2: 270 of 500 iterations (54.0 %) after 3 min, 1.5 iterations/s, 2.6 min left; cycle_x=0.5",
    ]


def test_short_and_silent_work_leaves_no_line(log, monkeypatch):
    with Progress(2, "cut", "file", silent=True):
        time.sleep(0.1)
    monkeypatch.setattr(progress, "EVERY", 60.0)
    assert list(over([3, 4], "cut", "file")) == [3, 4]
    assert log() == []


@pytest.mark.parametrize(
    "work",
    [
        lambda: Engine().run(time.sleep, [0.1, 0.1], "rest", "task"),
        lambda: run_tasks(time.sleep, [(0.1,), (0.1,)], 1, "rest"),
        lambda: [time.sleep(each) for each in over([0.1, 0.1], "rest", "task")],
    ],
)
def test_all_that_works_for_long_writes_such_lines(work, log):
    work()
    assert any(line.startswith("rest: 1 of 2 tasks (50.0 %) after") for line in log())
    assert log()[-1].startswith("rest: 2 of 2 tasks in")


def test_a_task_that_fails_ends_with_no_word_of_its_end(log):
    def fail(_):
        time.sleep(0.1)
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        Engine().run(fail, [0], "cut", "file")
    assert not any(" in " in line for line in log())


def test_a_terminal_has_a_bar_and_no_lines(monkeypatch):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "TICK", 0.02)
    monkeypatch.setattr(progress, "EVERY", 0.02)
    with Progress(2, "cut", "file", facts=lambda: "3 MB") as work:
        work.update()
        time.sleep(0.1)
    assert "cut:  50%" in terminal.getvalue()
    assert "3 MB" in terminal.getvalue()
    assert "after" not in terminal.getvalue()


def test_there_is_no_other_bar():
    """All long work is shown by `Progress`; so nothing stays silent in a log."""
    files = [path for folder in ("survey_tools", "translator", "cli") for path in (ROOT / folder).rglob("*.py")]
    with_bars = {path.name for path in files if re.search(r"\btqdm\(", path.read_text())}
    assert with_bars == {"progress.py"}
