from dataclasses import replace

import numpy as np
import pytest

from survey_tools.archives.plan import FetchPlan, SourceFile
from survey_tools.build.fetch import courtesy, estimate, in_words
from survey_tools.surveys import CFHT, SDSS


def plan(count, size_of):
    rows = [np.array([row, row + 1]) for row in range(count)]
    return FetchPlan(
        [SourceFile(f"{n}", "r", each, bytes=size_of, requests=1 if size_of else 0) for n, each in enumerate(rows)], []
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
    assert courtesy(cost_of(300, 4_000_000_000), SDSS).startswith("1.2 TB is more than 1 TB: SDSS asks to be told")
    assert "helpdesk" not in courtesy(cost_of(300, 4_000_000_000), CFHT)
    assert courtesy(cost_of(200, 4_000_000_000), SDSS) == ""


def test_an_archive_that_has_to_work_takes_longer():
    waiting = FetchPlan([replace(source, wait=2.0) for source in plan(1000, 4_000_000).sources], [])
    cost = estimate(waiting, SDSS, ("r",), 1001, workers=2, bandwidth=10.0, kept=False)
    assert cost.seconds == pytest.approx(400 + 1000)  # two at once
