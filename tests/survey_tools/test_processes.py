import math
import os
import signal
import subprocess
import sys

import pytest

from survey_tools.errors import GaltransError
from survey_tools.tasks import run_tasks, run_to_end


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_arguments(workers):
    assert run_tasks(pow, [(value, 2) for value in range(5)], workers, "square") == [0, 1, 4, 9, 16]


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_is_raised(workers):
    with pytest.raises(ValueError, match="math domain"):
        run_tasks(math.sqrt, [(4,), (-1,), (9,)], workers, "root")


def test_a_process_that_dies_is_an_error_that_says_so():
    with pytest.raises(GaltransError, match="--workers"):
        run_tasks(os._exit, [(1,), (1,)], 2, "die")


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path):
    script = tmp_path / "mine.py"
    script.write_text(
        "from survey_tools.tasks import run_tasks\nprint(run_tasks(pow, [(1, 2), (2, 2)], 2, 'square'))\n"
    )
    said = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False, env=os.environ)
    assert said.returncode == 1
    last = said.stderr.strip().splitlines()[-1]
    assert last.startswith("survey_tools.errors.GaltransError: ")
    assert 'put them below `if __name__ == "__main__":`, or ask for one worker' in last
    assert said.stderr.count("Traceback") <= 2  # its own, and that of its cause


def test_nothing_to_do():
    assert run_tasks(pow, [], 2, "nothing") == []


def test_a_command_gives_its_exit_status_and_may_be_silent(capfd):
    command = [sys.executable, "-c", "import sys; print('here'); sys.exit(3)"]
    assert [run_to_end(command, silent=silent) for silent in (True, False)] == [3, 3]
    assert capfd.readouterr().out == "here\n"


def test_a_command_that_is_interrupted_is_waited_for_as_it_tidies_up(tmp_path):
    child = f"""
import pathlib, time
made = pathlib.Path({str(tmp_path / "made")!r})
try:
    made.touch()
    time.sleep(60)
except KeyboardInterrupt:
    time.sleep(0.5)
    made.unlink()
"""
    parent = f"import sys; from survey_tools.tasks import run_to_end; run_to_end([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent], start_new_session=True, stderr=subprocess.PIPE)
    while not (tmp_path / "made").exists():
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=60)[1]
    assert not (tmp_path / "made").exists()
