"""`galtrans fetch`, `verify`, `info` and `export`: stores from archives, and what is in them."""

import re
from collections import Counter
from pathlib import Path

import click

from cli.options import (
    EXISTING_FILE,
    EXISTING_STORE,
    NEW_PATH,
    bands_option,
    overwrite_option,
    verbose_option,
    workers_option,
)

REASONS = 3  # shown after a fetch
SHOWN = 20  # lines about files
A_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([kMGT]?B)\s*", re.IGNORECASE)
UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
A_SLICE = re.compile(r"\s*(\d+)?\s*(?:(:)\s*(\d+)?\s*)?")


class Size(click.ParamType):
    """Bytes, with a unit: 500GB."""

    name = "size"

    def convert(self, value, param, ctx) -> int:
        """The number of bytes."""
        match = A_SIZE.fullmatch(str(value))
        if not match:
            self.fail(f"{value!r}: give a number and kB, MB, GB or TB, such as 500GB", param, ctx)
        return int(float(match[1]) * UNITS[match[2].upper()])


@click.command()
@click.argument("survey", type=click.Choice(["sdss", "cfht"]))
@click.option(
    "--catalogue",
    type=EXISTING_FILE,
    required=True,
    help="CSV, ECSV, FITS, Parquet or VOTable with object_id, ra, dec [deg, ICRS] and, optionally, redshift and the "
    "SDSS frame: run, rerun, camcol, field. `galtrans targets` makes one.",
)
@click.option(
    "--mirror",
    help="Folder, or http(s) URL, of the archive's files, in place of the live archive: for sdss laid out as the "
    "Science Archive Server (ROOT/sas/dr12/boss/photoObj/frames/...), for cfht any folder of T0007 stacks.",
)
@click.option("--out", type=NEW_PATH, required=True, help="Store to make, such as sdss.zarr.")
@bands_option
@click.option("--dry-run", is_flag=True, help="Say what would be fetched, and what it would take; fetch nothing.")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Go on with an interrupted run, or begin anew."
)
@click.option("--retry-failed", is_flag=True, help="Of a finished store, try what failed again.")
@click.option(
    "--how",
    type=click.Choice(["auto", "tiles", "windows"]),
    default="auto",
    show_default=True,
    help="cfht, live: whole tiles of 1.5 GB, or windows that the archive cuts; auto takes what is sooner done.",
)
@click.option(
    "--frames",
    type=click.Choice(["auto", "named", "list"]),
    default="auto",
    show_default=True,
    help="sdss: the frames that the catalogue names, or those that the list of all fields has at each position, which "
    "completes cutouts at the sides of a frame, too (0.5 GB, fetched once); auto: named, if the catalogue does.",
)
@click.option("--psf", is_flag=True, help="sdss, live: fetch psField files as well, for the seeing at each object.")
@click.option("--keep-files", type=NEW_PATH, metavar="DIR", help="Keep downloaded files there, for other stores.")
@click.option("--keep-limit", type=Size(), metavar="SIZE", help="Size of DIR, such as 500GB: the oldest files go.")
@workers_option
@click.option("--scheduler", metavar="URL", help="Work on a Dask cluster: tcp://host:port (docs/fetch.md).")
@overwrite_option
@verbose_option
def fetch(survey: str, catalogue: Path, bands: str, out: Path, **options) -> None:
    """Cut every object of a catalogue out of the archive of SURVEY, into a store.

    SDSS DR12 frames are resampled to 64 x 64 pixels of 0.396", north up; CFHTLS T0007 stacks keep their own pixels,
    136 x 136 of 0.186". An interrupted run is gone on with by the same command. OUT/manifest.ecsv says what became of
    each object: done, outside, or failed and why.

    \b
    Examples:
      galtrans targets sdss --sample main-galaxies --limit 200 --out targets.ecsv
      galtrans fetch sdss --catalogue targets.ecsv --out sdss.zarr --dry-run
      galtrans fetch sdss --catalogue targets.ecsv --out sdss.zarr
    \b
      galtrans simulate --out sky
      galtrans fetch sdss --catalogue sky/catalogue.ecsv --mirror sky --out sdss.zarr
    """
    from survey_tools.archives.access import Access
    from survey_tools.archives.known import ARCHIVES
    from survey_tools.build import work_folder
    from survey_tools.catalogue import read_catalogue

    if options["keep_limit"] is not None and options["keep_files"] is None:
        raise click.UsageError("--keep-limit says how large the folder of --keep-files may become: give that, too")
    table = read_catalogue(catalogue)
    access = Access(
        work=work_folder(out),
        mirror=options["mirror"],
        keep=options["keep_files"],
        limit=options["keep_limit"],
        psf=options["psf"],
        how=options["how"],
        frames=options["frames"],
    )
    archive = ARCHIVES[survey](access)
    if options["dry_run"]:
        _say_what_it_takes(archive, table, bands, access, options["workers"])
    else:
        _fetch(archive, table, out, bands, options)


def _say_what_it_takes(archive, table, bands: str, access, workers: int) -> None:
    """Print the files that hold the objects of a catalogue, and what fetching them would take."""
    from survey_tools.estimate import estimate, in_words
    from survey_tools.tasks import Engine

    plan = archive.plan(table, tuple(bands), Engine(workers).run)
    bandwidth, kept = access.settings.bandwidth, access.keep is not None
    cost = estimate(plan, archive.survey, tuple(bands), len(table), workers=workers, bandwidth=bandwidth, kept=kept)
    for source in plan.sources[:SHOWN]:
        click.echo(f"{source.name}: {len(source.rows)} object{'s' if len(source.rows) > 1 else ''}")
    if len(plan.sources) > SHOWN:
        click.echo(f"and {len(plan.sources) - SHOWN:,} more files")
    for line in (*plan.notes, *in_words(cost, bandwidth)):
        click.echo(line)


def _fetch(archive, table, out: Path, bands: str, options: dict) -> None:
    """Make the store, and say what became of the catalogue."""
    from survey_tools import build
    from survey_tools.tasks import engine

    overwrite = options["overwrite"]
    there = out.exists() and not overwrite
    if not options["resume"]:
        build.forget(out)
    with engine(options["workers"], options["scheduler"]) as workers:
        if workers.client is not None:
            click.echo(f"{workers.workers} workers; watch them at {workers.client.dashboard_link}")
        store = build.fetch(
            archive,
            table,
            out,
            bands=bands,
            engine=workers,
            overwrite=overwrite,
            retry_failed=options["retry_failed"],
        )
    if there:
        failed = int((store.manifest()["status"] == "failed").sum())
        more = (
            f" --retry-failed tries the {failed} that failed again." if failed and not options["retry_failed"] else ""
        )
        click.echo(f"{out} is complete already.{more}")
    _report(store)


@click.command()
@click.argument("store", type=EXISTING_STORE)
@workers_option
@verbose_option
def verify(store: Path, workers: int) -> None:
    """Check STORE: every file against its checksum, every pixel against the columns and the manifest.

    \b
    Example:
      galtrans verify sdss.zarr
    """
    from survey_tools.errors import StoreError
    from survey_tools.store import open_store
    from survey_tools.tasks import Engine
    from survey_tools.verify import verify as check

    wrong = check(store, Engine(workers))
    for line in wrong[:SHOWN]:
        click.echo(line)
    if len(wrong) > SHOWN:
        click.echo(f"and {len(wrong) - SHOWN:,} more")
    if wrong:
        raise StoreError(f"{store} is damaged in {len(wrong)} places; make it again, or take it from a copy")
    click.echo(f"{store} is sound: {len(open_store(store)):,} objects.")


@click.command()
@click.argument("store", type=NEW_PATH)
@verbose_option
def info(store: Path) -> None:
    """Say what STORE holds: objects, sky, noise, seeing, size, and what it was made from.

    \b
    Example:
      galtrans info sdss.zarr
    """
    from survey_tools.store import open_store
    from survey_tools.summary import summarise

    for label, text in summarise(open_store(store)):
        click.echo(f"{label:<12}{text}")


@click.command()
@click.argument("store", type=NEW_PATH)
@click.option("--rows", "wanted", required=True, help="Rows, counted from 0: 0:10, or 3, or 0:10,25,40: and so on.")
@click.option("--out", type=NEW_PATH, required=True, help="Folder for the files.")
@overwrite_option
@verbose_option
def export(store: Path, wanted: str, out: Path, overwrite: bool) -> None:
    """Write rows of STORE as FITS files: an image HDU a band in nanomaggies, with WCS, and its mask.

    \b
    Example:
      galtrans export sdss.zarr --rows 0:10 --out sdss_fits
    """
    from survey_tools.export import export as write
    from survey_tools.store import open_store

    opened = open_store(store)
    rows = _parse_rows(wanted, len(opened))
    paths = write(opened, rows, out, overwrite=overwrite)
    missing = len(rows) - len(paths)
    why = f"; {missing} have no image, {store / 'manifest.ecsv'} says why" if missing else ""
    click.echo(f"Wrote {len(paths)} of {len(rows)} rows to {out}{why}.")


def _report(store) -> None:
    """Say in a paragraph what became of a catalogue."""
    from survey_tools.store import MANIFEST

    manifest = store.manifest()
    status = Counter(manifest["status"])
    partial = int(((manifest["status"] == "done") & (manifest["reason"] != "")).sum())
    click.echo(
        f"{len(store)} objects: {status['done']} done ({partial} of them with gaps), {status['outside']} outside, "
        f"{status['failed']} failed. Each is accounted for in {store.path / MANIFEST}."
    )
    reasons = Counter(manifest["reason"][manifest["status"] == "failed"])
    for reason, count in reasons.most_common(REASONS):
        click.echo(f"  {count} failed: {reason}")
    if len(reasons) > REASONS:
        click.echo(f"  and {len(reasons) - REASONS} other reasons")


def _parse_rows(text: str, count: int) -> list[int]:
    """Rows that a list of numbers and ranges names, each once and in that order; wrong usage where one is not there."""
    rows: list[int] = []
    for part in text.split(","):
        match = A_SLICE.fullmatch(part)
        if not match or not part.strip():
            raise click.BadParameter(
                f"{part!r} is no row; give numbers and ranges such as 0:10,25", param_hint="--rows"
            )
        first, colon, last = match.groups()
        start = int(first or 0)
        stop = int(last) if last else (count if colon else start + 1)
        if start >= count or (not colon and stop > count):
            raise click.BadParameter(f"{part.strip()}: the store has rows 0 to {count - 1}", param_hint="--rows")
        rows += range(start, min(stop, count))
    return list(dict.fromkeys(rows))
