import math
import os

import pytest

from survey_tools.errors import GaltransError
from survey_tools.processes import run_tasks


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


def test_nothing_to_do():
    assert run_tasks(pow, [], 2, "nothing") == []
