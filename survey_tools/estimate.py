"""What a fetch will cost, before anything is fetched: files, bytes, requests, disk and time."""

from dataclasses import dataclass

import numpy as np

from survey_tools.amounts import duration, size
from survey_tools.archives.plan import Plan
from survey_tools.surveys import Survey

FILE_SECONDS = 0.5  # of one core to open a file: a frame's bzip2, mostly (docs/benchmarks.md)
CUTOUT_SECONDS = 0.005  # of one core to cut, keep and gather one cutout (docs/benchmarks.md)
RECORD = 5  # [byte] of a pixel on its way: float32, and whether it is saturated
STORED = 4  # [byte] of a pixel in a store: noise does not compress
MUCH = 1e12  # [byte] from which SDSS asks to be told, https://www.sdss.org/dr17/data_access/bulk
AT_ONCE = 3  # downloads side by side


@dataclass(frozen=True)
class Estimate:
    """What a fetch will cost.

    Attributes:
        objects: Of the catalogue.
        reached: Of these, as many as lie on some file.
        cutouts: Of one object and file.
        files: To open.
        downloads: Of these, as many as have to be downloaded.
        bytes: To download.
        requests: To the archive.
        disk: Bytes that store and unfinished work take at most.
        seconds: To expect.
    """

    objects: int
    reached: int
    cutouts: int
    files: int
    downloads: int
    bytes: int
    requests: int
    disk: int
    seconds: float


def estimate(
    plan: Plan, survey: Survey, bands: tuple[str, ...], objects: int, *, workers: int, bandwidth: float, kept: bool
) -> Estimate:
    """What the files of a plan will cost.

    Args:
        plan: Which files hold which objects.
        survey: Its row.
        bands: That are fetched.
        objects: Of the catalogue.
        workers: Tasks at once.
        bandwidth: Of a download [megabyte/s].
        kept: Whether downloaded files are kept.
    """
    sources = plan.sources
    remote = [source for source in sources if source.bytes]
    cutouts = sum(len(source.rows) for source in sources)
    download = sum(source.bytes for source in remote)
    pixels = survey.cutout_size**2
    store, spool = objects * len(bands) * pixels * (STORED + 1), cutouts * pixels * RECORD
    in_use = download if kept else min(workers, len(remote)) * max((source.bytes for source in remote), default=0)
    work = (len(sources) * FILE_SECONDS + cutouts * CUTOUT_SECONDS) / workers
    waits = sum(source.wait for source in remote) / min(workers, AT_ONCE)
    return Estimate(
        objects=objects,
        reached=len(np.unique(np.concatenate([source.rows for source in sources]))) if sources else 0,
        cutouts=cutouts,
        files=len(sources),
        downloads=len(remote),
        bytes=download,
        requests=sum(source.requests for source in remote),
        disk=store + spool + in_use,
        seconds=max(work, download / (bandwidth * 1e6) + waits),
    )


def in_words(cost: Estimate, bandwidth: float) -> list[str]:
    """An estimate as lines for the user."""
    outside = cost.objects - cost.reached
    lines = [
        f"objects   {cost.objects:,}" + (f", {outside:,} of them on no file" if outside else ""),
        f"files     {cost.files:,}" + (f", {cost.downloads:,} to download" if cost.downloads else ", all at hand"),
        f"cutouts   {cost.cutouts:,}",
    ]
    if cost.downloads:
        lines.append(f"download  {size(cost.bytes)} in {cost.requests:,} requests")
    lines.append(f"disk      {size(cost.disk)}, unfinished work included")
    at = f", if downloads come at {bandwidth:g} MB/s" if cost.downloads else ""
    lines.append(f"time      about {duration(cost.seconds)}{at}")
    return lines


def in_a_word(cost: Estimate) -> str:
    """An estimate as one line; "" where nothing has to be downloaded."""
    if not cost.downloads:
        return ""
    return f"{size(cost.bytes)} to download in {cost.requests:,} requests: about {duration(cost.seconds)}"


def courtesy(cost: Estimate, survey: Survey) -> str:
    """What an archive asks of those who take very much; "" for all others."""
    if cost.bytes <= MUCH:
        return ""
    ask = "SDSS asks to be told before (helpdesk@sdss.org), and has" if survey.name == "sdss" else "ask the archive for"
    return (
        f"{size(cost.bytes)} is more than 1 TB: {ask} faster ways than HTTP; bring the files into a folder laid out as "
        "the archive and pass it as --mirror."
    )
