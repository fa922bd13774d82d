import io
import itertools
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest

from survey_tools import progress, tasks
from survey_tools.errors import GaltransError
from survey_tools.tasks import Engine, engine, run


@pytest.fixture(scope="module")
def scheduler(any_port):
    """The address of a Dask cluster of two workers in this process."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1", **any_port
    ) as cluster:
        yield cluster.scheduler_address


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


def test_more_tasks_than_a_batch_and_their_traffic(monkeypatch):
    monkeypatch.setattr(tasks, "BATCH", 4)
    moved = []
    result = Engine(2).run(abs, range(-11, 0), "abs", "n", traffic=lambda value: moved.append(value) or value)
    assert result == list(range(11, 0, -1))
    assert sorted(moved) == list(range(1, 12))


def test_a_bar_moves_while_a_task_is_at_work(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    came = itertools.count(0, 250_000)
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(progress, "TICK", 0.02)
    Engine().run(time.sleep, [0.15], "sleep", "task", traffic=lambda _: 10, live=lambda: next(came))
    bars = sys.stderr.getvalue().split("\r")
    moved = [bar for bar in bars if "| 0/1 [" in bar and "kB, " in bar and "B/s" in bar]
    assert any("250 kB" in bar for bar in moved)
    assert any("500 kB" in bar for bar in moved)
    assert "| 1/1 [" in bars[-1]


def test_a_cluster_gives_the_same_with_few_at_once(scheduler):
    with engine(1, scheduler) as cluster:
        assert cluster.workers == 2
        assert cluster.run(abs, range(-30, 0), "abs", "n", most=3) == list(range(30, 0, -1))
        assert cluster.run(abs, [], "abs", "n") == []
        with pytest.raises(ValueError, match="invalid literal"):
            cluster.run(int, ["1", "one"], "int", "n")


def test_workers_that_are_lost_end_the_run_so_that_it_can_be_gone_on_with(scheduler, monkeypatch):
    from distributed import Future, KilledWorker

    def lost(self):
        raise KilledWorker("abs", None, 3)

    with engine(1, scheduler) as cluster:
        monkeypatch.setattr(Future, "result", lost)
        with pytest.raises(ConnectionError, match="lost its workers"):
            cluster.run(abs, [1], "abs", "n")
        monkeypatch.undo()


def test_no_scheduler_and_other_versions_are_said(scheduler, monkeypatch):
    monkeypatch.setattr(tasks, "VERSION", "0.0.1")
    monkeypatch.setattr(tasks, "_version", lambda: "0.0.2")
    with pytest.raises(GaltransError, match=r"has galtrans 0.0.2, and this is 0.0.1"), engine(1, scheduler):
        pass
    monkeypatch.setattr(tasks, "PATIENCE", "0.3s")
    with (
        pytest.raises(ConnectionError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"),
        engine(1, "tcp://127.0.0.1:9"),
    ):
        pass


@pytest.fixture
def hasty(monkeypatch):
    """A cluster is looked at often."""
    monkeypatch.setattr(tasks, "LOOK", 0.05)
    monkeypatch.setattr(tasks, "LONELY", 0.2)


def test_a_cluster_without_workers_is_said_to_be_so_and_waited_for_no_longer_than_stated(any_port, hasty, caplog):
    from distributed import LocalCluster

    facts = {"n_workers": 0, "threads_per_worker": 1, "processes": False, "protocol": "tcp", "host": "127.0.0.1"}
    with LocalCluster(**facts, **any_port) as cluster:
        with engine(3, cluster.scheduler_address, wait=0.5) as lonely:
            assert lonely.workers == 3
            with pytest.raises(ConnectionError, match=r"no worker for 1 s: start some.*--wait-for-workers"):
                lonely.run(abs, [-1, -2], "abs", "n")
        assert [record.message for record in caplog.records if record.name == "survey_tools.tasks"] == [
            "the cluster has no worker; waiting for one, for 1 s at most"
        ]
        with engine(3, cluster.scheduler_address, wait=60) as patient:
            threading.Timer(0.3, cluster.scale, [1]).start()
            assert patient.run(abs, [-1, -2], "abs", "n") == [1, 2]


def test_the_last_worker_is_lost(any_port, hasty):
    """Nobody is left to say so: the scheduler keeps the tasks for a worker that may come."""
    from distributed import LocalCluster

    facts = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "protocol": "tcp", "host": "127.0.0.1"}
    with LocalCluster(**facts, **any_port) as cluster, engine(1, cluster.scheduler_address, wait=0.5) as left_alone:
        assert left_alone.run(abs, [-1], "abs", "n") == [1]
        cluster.scale(0)
        with pytest.raises(ConnectionError, match="no worker for 1 s"):
            left_alone.run(abs, [-2], "abs", "n")


@pytest.mark.parametrize(("page", "there"), [(b"<html>Status</html>", True), (b"<p>Dask needs bokeh</p>", False)])
def test_a_dashboard_is_one_that_answers(page, there):
    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/status" else 404)
            self.end_headers()
            self.wfile.write(page)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}"
        assert tasks.dashboard(SimpleNamespace(dashboard_link=f"{at}/status")) == (f"{at}/status" if there else "")
        assert tasks.dashboard(SimpleNamespace(dashboard_link=f"{at}/other")) == ""
        server.shutdown()
    assert tasks.dashboard(SimpleNamespace(dashboard_link=f"{at}/status")) == ""
    assert tasks.dashboard(SimpleNamespace(dashboard_link=None)) == ""
