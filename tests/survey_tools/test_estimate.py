import numpy as np
import pytest

from survey_tools.archives.plan import Plan, Source
from survey_tools.estimate import duration, estimate, in_words, size
from survey_tools.surveys import SDSS


def plan(count, size_of):
    rows = [np.array([row, row + 1]) for row in range(count)]
    return Plan(
        [Source(f"{n}", "r", each, bytes=size_of, requests=1 if size_of else 0) for n, each in enumerate(rows)], []
    )


def cost_of(count, size_of, **changes):
    options = {"workers": 2, "bandwidth": 10.0, "kept": False} | changes
    return estimate(plan(count, size_of), SDSS, ("r",), count + 6, **options)


def test_a_live_job_is_bound_by_its_download():
    cost = cost_of(1000, 4_000_000)
    assert (cost.files, cost.downloads, cost.requests, cost.bytes) == (1000, 1000, 1000, 4_000_000_000)
    assert (cost.objects, cost.reached, cost.cutouts) == (1006, 1001, 2000)
    assert cost.seconds == pytest.approx(400)
    assert cost.disk == 1006 * 64**2 * 5 + 2000 * 64**2 * 5 + 2 * 4_000_000
    assert cost_of(1000, 4_000_000, kept=True).disk - cost.disk == 998 * 4_000_000
    lines = in_words(cost, 10)
    assert lines[0] == "objects   1,006, 5 of them on no file"
    assert lines[3] == "download  4 GB in 1,000 requests"
    assert lines[-1] == "time      about 6.7 min, if downloads come at 10 MB/s"


def test_a_local_job_has_no_download():
    cost = cost_of(10, 0)
    assert (cost.bytes, cost.requests, cost.downloads) == (0, 0, 0)
    assert cost.seconds == pytest.approx((10 * 0.5 + 20 * 0.005) / 2)
    assert not any(line.startswith("download") for line in in_words(cost, 10))


def test_more_than_a_terabyte_says_what_sdss_asks_for():
    assert "helpdesk@sdss.org" in in_words(cost_of(300, 4_000_000_000), 10)[-1]
    assert "helpdesk" not in " ".join(in_words(cost_of(200, 4_000_000_000), 10))


def test_numbers_in_words():
    assert [size(n) for n in (0, 999, 1000, 12_345_678, 1.5e12, 2e15)] == [
        "0 B",
        "999 B",
        "1 kB",
        "12.3 MB",
        "1.5 TB",
        "2e+03 TB",
    ]
    assert [duration(s) for s in (0.1, 40, 200, 20_000, 300_000)] == ["1 s", "40 s", "3.3 min", "5.6 h", "3.5 days"]
