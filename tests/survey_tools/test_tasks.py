import threading
import time

import pytest

from survey_tools.tasks import run


@pytest.mark.parametrize("workers", [1, 3])
def test_results_are_in_the_order_of_the_items(workers):
    def square(number):
        time.sleep(0.001 * (10 - number))
        return number**2

    assert run(square, range(10), workers, desc="square", unit="number") == [n**2 for n in range(10)]
    assert run(square, [], workers, desc="square", unit="number") == []


def test_tasks_run_side_by_side():
    together = threading.Barrier(3, timeout=20)
    run(lambda _: together.wait(), range(3), 3, desc="wait", unit="task")


def test_what_a_task_raises_ends_the_run():
    def fail(number):
        raise OSError(f"no {number}")

    with pytest.raises(OSError, match="no "):
        run(fail, range(3), 2, desc="fail", unit="task")
