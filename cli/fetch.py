"""`galtrans fetch`: stores from archives."""

import dataclasses
from collections import Counter
from pathlib import Path

import click

from cli.options import (
    EXISTING_FILE,
    NEW_FOLDER,
    NEW_PATH,
    Size,
    bands_option,
    column_option,
    engine_of,
    given_by,
    overwrite_option,
    scheduler_option,
    unit_option,
    verbose_option,
    workers_option,
    zero_point_option,
)
from survey_tools.surveys import SURVEYS

REASONS = 3  # shown after a fetch
SHOWN = 20  # lines about files


@click.command()
@click.argument("survey", type=click.Choice(list(SURVEYS)))
@click.option(
    "--catalogue",
    type=EXISTING_FILE,
    required=True,
    help="CSV, ECSV, FITS, Parquet or VOTable with object_id, ra, dec [deg, ICRS] and, optionally, redshift and the "
    "SDSS frame: run, rerun, camcol, field. `galtrans targets` makes one.",
)
@column_option
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
    "--fail-away",
    is_flag=True,
    help="Let the objects of files that cannot be reached fail, so that the store is made without them; else the run "
    "ends without a store once all other files are cut, and the same command goes on.",
)
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
    "completes cutouts at the sides of a frame, too (0.35 GB, fetched once); auto: named, if the catalogue does.",
)
@click.option(
    "--psf/--no-psf",
    default=True,
    show_default=True,
    help="sdss: read the psField file of each field, too (0.8 MB), for the seeing at each object, or leave it unknown.",
)
@click.option(
    "--masks/--no-masks",
    default=None,
    help="sdss: download the fpM file of each frame, too (0.05 MB), for which pixels are saturated; by default they "
    "are read where a folder has them, and else the frame itself tells.",
)
@unit_option
@zero_point_option
@click.option("--keep-files", type=NEW_FOLDER, metavar="DIR", help="Keep downloaded files there, for other stores.")
@click.option("--keep-limit", type=Size(), metavar="SIZE", help="Size of DIR, such as 500GB: the oldest files go.")
@workers_option
@scheduler_option
@overwrite_option
@verbose_option
def fetch(survey: str, catalogue: Path, columns: dict[str, str], bands: str, out: Path, **options) -> None:
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
    from survey_tools.archives.download.mirror import Mirror
    from survey_tools.archives.known import ARCHIVES
    from survey_tools.archives.plan import Access
    from survey_tools.build.fetch import work_folder
    from survey_tools.catalogue import read_catalogue

    if options["keep_limit"] is not None and options["keep_files"] is None:
        raise click.UsageError("--keep-limit says how large the folder of --keep-files may become: give that, too")
    given = given_by(options["unit"], options["zero_point"])
    if given and options["mirror"] is None:
        raise click.UsageError("--unit and --zero-point are for files that you have: give their folder by --mirror")
    table = read_catalogue(catalogue, columns)
    mirror, keep = options["mirror"], options["keep_files"]
    if options["scheduler"]:  # whose workers are at home in other folders
        out, keep = out.absolute(), keep and keep.absolute()
        mirror = mirror and Mirror(mirror, work_folder(out)).place
    access = Access(
        work=work_folder(out),
        mirror=mirror,
        keep=keep,
        limit=options["keep_limit"],
        given=given,
    )
    known = ARCHIVES[survey]
    own = known.options(**{each.name: options[each.name] for each in dataclasses.fields(known.options)})
    archive = known.open(access, own)
    if options["dry_run"]:
        if options["retry_failed"] and out.exists():
            table = _failed_of(out, table)
        _say_what_it_takes(archive, table, bands, access, options["workers"])
    else:
        store = _fetch(archive, table, out, bands, access, options)
        if own.seeing:
            _say_where_seeing_is_unknown(store, known.without_seeing)


def _failed_of(out: Path, table):
    """The rows of a catalogue that failed in the store made of it."""
    from survey_tools.errors import StoreError
    from survey_tools.store.zarr_store import open_store

    failed = open_store(out).manifest()["status"] == "failed"
    if len(failed) != len(table):
        raise StoreError(f"{out} has {len(failed)} objects and the catalogue {len(table)}; was it made of another one?")
    if not failed.any():
        raise StoreError(f"{out} has no object that failed; there is nothing to try again")
    return table[failed]


def _say_what_it_takes(archive, table, bands: str, access, workers: int) -> None:
    """Print the files that hold the objects of a catalogue, and what fetching them would take."""
    from survey_tools.build.fetch import courtesy, in_words
    from survey_tools.tasks import Engine

    plan = archive.plan(table, tuple(bands), Engine(workers).run)
    cost = _cost(plan, archive, table, bands, access, workers)
    for source in plan.sources[:SHOWN]:
        click.echo(f"{source.name}: {len(source.rows)} object{'s' if len(source.rows) > 1 else ''}")
    if len(plan.sources) > SHOWN:
        click.echo(f"and {len(plan.sources) - SHOWN:,} more files")
    for line in (*plan.notes, *in_words(cost, access.settings.bandwidth), courtesy(cost, archive.survey)):
        click.echo(line, nl=bool(line))


def _cost(plan, archive, table, bands: str, access, workers: int):
    """What fetching the files of a plan will take."""
    from survey_tools.build.fetch import estimate

    bandwidth, kept = access.settings.bandwidth, access.keep is not None
    return estimate(plan, archive.survey, tuple(bands), len(table), workers=workers, bandwidth=bandwidth, kept=kept)


def _fetch(archive, table, out: Path, bands: str, access, options: dict):
    """Make the store, say what became of the catalogue, and return the store."""
    from survey_tools.build import fetch as build
    from survey_tools.build.fetch import courtesy, in_a_word
    from survey_tools.store.zarr_store import open_store

    def tell(plan) -> None:
        cost = _cost(plan, archive, table, bands, access, options["workers"])
        for line in (*plan.notes, in_a_word(cost), courtesy(cost, archive.survey)):
            click.echo(line, nl=bool(line))

    overwrite = options["overwrite"]
    there = out.exists() and not overwrite
    before = _failures(open_store(out).manifest()) if there and options["retry_failed"] else 0
    if not options["resume"]:
        build.forget(out)
    with engine_of(options["workers"], options["scheduler"]) as workers:
        store = build.fetch(
            archive,
            table,
            out,
            bands=bands,
            engine=workers,
            overwrite=overwrite,
            retry_failed=options["retry_failed"],
            fail_away=options["fail_away"],
            tell=tell,
        )
    manifest = store.manifest()
    if before:
        click.echo(f"Of {before} that had failed, {before - _failures(manifest)} did not fail again.")
    elif there:
        click.echo(f"{out} is complete already.")
    _report(store, manifest)
    return store


def _failures(manifest) -> int:
    """How many objects failed."""
    return int((manifest["status"] == "failed").sum())


def _report(store, manifest) -> None:
    """Say in a paragraph what became of a catalogue."""
    from survey_tools.store.zarr_store import MANIFEST

    status = Counter(manifest["status"])
    gaps = (store.column("coverage") < 1).any(axis=1)
    partial = int(((manifest["status"] == "done") & gaps).sum())
    click.echo(
        f"{len(store)} objects: {status['done']} done ({partial} of them with gaps), {status['outside']} outside, "
        f"{status['failed']} failed. Each is accounted for in {store.path / MANIFEST}."
    )
    reasons = Counter(manifest["reason"][manifest["status"] == "failed"])
    for reason, count in reasons.most_common(REASONS):
        click.echo(f"  {count} failed: {reason}")
    if len(reasons) > REASONS:
        click.echo(f"  and {len(reasons) - REASONS} other reasons")
    if reasons:
        click.echo("The same command with --retry-failed tries what failed again.")


def _say_where_seeing_is_unknown(store, source: str) -> None:
    """Say of how many objects with an image no band has a seeing, which `source` did not give."""
    import numpy as np

    unknown = np.isnan(store.column("psf_fwhm")).all(axis=1) & (store.manifest()["status"] == "done")
    if unknown.any():
        click.echo(f"Of {int(unknown.sum())} objects {source} gave the seeing: their psf_fwhm is NaN.")
