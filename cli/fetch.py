"""`galtrans fetch`: a store from an archive."""

from collections import Counter
from pathlib import Path

import click

import survey_tools
from cli.options import (
    EXISTING_FILE,
    NEW_FOLDER,
    NEW_PATH,
    Size,
    bands_option,
    column_option,
    overwrite_option,
    scheduler_option,
    unit_option,
    verbose_option,
    where_of,
    workers_option,
    zero_point_option,
)

REASONS = 3  # reasons of failures that are shown after a fetch
SHOWN = 20  # files that are listed
SHARED = (
    "mirror",
    "unit",
    "zero_point",
    "keep_files",
    "keep_limit",
    "psf",
    "masks",
    "how",
    "frames",
)  # with an estimate


@click.command()
@click.argument("survey")
@click.option(
    "--catalogue",
    type=EXISTING_FILE,
    required=True,
    help="Catalogue (CSV, ECSV, FITS, Parquet or VOTable) with object_id, ra, dec [deg, ICRS] and, optionally, "
    "redshift and the SDSS frame: run, rerun, camcol, field. `galtrans targets` makes one.",
)
@column_option
@click.option(
    "--mirror",
    help="Folder, or http(s) URL, with the files of the archive. It is read instead of the live archive. For sdss it "
    "has the layout of the Science Archive Server (ROOT/sas/dr12/boss/photoObj/frames/...); for cfht it is any folder "
    "of T0007 stacks.",
)
@click.option("--out", type=NEW_PATH, required=True, help="Store to make, such as sdss.zarr.")
@bands_option
@click.option("--dry-run", is_flag=True, help="Print what would be fetched and how much it would cost. Fetch nothing.")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Resume an interrupted fetch, or begin again."
)
@click.option("--retry-failed", is_flag=True, help="Try the failed objects of a finished store again.")
@click.option(
    "--fail-away",
    is_flag=True,
    help="If files cannot be reached, let their objects fail and finish the store without them. By default the command "
    "cuts all other files, ends without a store, and can be repeated to resume.",
)
@click.option(
    "--how",
    type=click.Choice(["auto", "tiles", "windows"]),
    show_default="auto",
    help="cfht, live archive: download whole tiles of 1.5 GB, or windows that the archive cuts. auto takes the faster "
    "way.",
)
@click.option(
    "--frames",
    type=click.Choice(["auto", "named", "list"]),
    show_default="auto",
    help="sdss: use the frames that the catalogue names, or find them at each position in the list of all fields. The "
    "list (0.35 GB, fetched once) also completes cutouts at the edges of a frame. auto means named if the catalogue "
    "has the columns.",
)
@click.option(
    "--psf/--no-psf",
    default=None,
    show_default="psf",
    help="sdss: also read the psField file of each field (0.8 MB), which gives the seeing at each object. Without it "
    "the seeing is unknown.",
)
@click.option(
    "--masks/--no-masks",
    default=None,
    help="sdss: also download the fpM file of each frame (0.05 MB), which says which pixels are saturated. By default "
    "these files are read if a local folder has them; otherwise the frame itself tells.",
)
@unit_option
@zero_point_option
@click.option(
    "--keep-files", type=NEW_FOLDER, metavar="DIR", help="Folder in which downloaded files stay, for other stores."
)
@click.option(
    "--keep-limit",
    type=Size(),
    metavar="SIZE",
    help="Largest size of DIR, such as 500GB. The oldest files are deleted.",
)
@workers_option
@scheduler_option
@overwrite_option
@verbose_option
def fetch(survey: str, catalogue: Path, columns: dict[str, str], bands: str, out: Path, **options) -> None:
    """Cut every object of a catalogue out of the archive of SURVEY (sdss or cfht) and write a store.

    SDSS DR12 frames are resampled to 64 x 64 pixels of 0.396" with north up. CFHTLS T0007 stacks keep their own pixels,
    136 x 136 of 0.186". After an interruption, the same command resumes. OUT/manifest.ecsv says for each object whether
    it is done, outside, or failed, and why.

    \b
    Examples:
      galtrans targets sdss --sample main-galaxies --limit 200 --out targets.ecsv
      galtrans fetch sdss --catalogue targets.ecsv --out sdss.zarr --dry-run
      galtrans fetch sdss --catalogue targets.ecsv --out sdss.zarr
    \b
      galtrans simulate --out sky
      galtrans fetch sdss --catalogue sky/catalogue.ecsv --mirror sky --out sdss.zarr
    """
    workers, scheduler = options.pop("workers"), options.pop("scheduler")
    given = dict(columns=columns, bands=bands, **{name: options[name] for name in SHARED})
    if options["dry_run"]:
        _say_what_it_takes(
            survey_tools.estimate(
                catalogue, survey, out, **given, workers=workers, retry_failed=options["retry_failed"]
            )
        )
        return
    there = out.exists() and not options["overwrite"]
    before = _failures(survey_tools.open_store(out).manifest()) if there and options["retry_failed"] else 0
    how = {name: options[name] for name in ("resume", "overwrite", "retry_failed", "fail_away")}
    store = survey_tools.fetch(catalogue, survey, out, **given, **how, **where_of(workers, scheduler), tell=click.echo)
    manifest = store.manifest()
    if before:
        click.echo(f"Of {before} that had failed, {before - _failures(manifest)} did not fail again.")
    elif there:
        click.echo(f"{out} is complete already.")
    _report(store, manifest)


def _say_what_it_takes(cost) -> None:
    """Print the files that hold the objects of a catalogue, and what fetching them would take."""
    for name, count in list(cost.files.items())[:SHOWN]:
        click.echo(f"{name}: {count} object{'s' if count > 1 else ''}")
    if len(cost.files) > SHOWN:
        click.echo(f"and {len(cost.files) - SHOWN:,} more files")
    for line in cost.lines:
        click.echo(line)


def _failures(manifest) -> int:
    """Return the number of objects that failed."""
    return int((manifest["status"] == "failed").sum())


def _report(store, manifest) -> None:
    """Print what became of the catalogue."""
    status = Counter(manifest["status"])
    gaps = (store.column("coverage") < 1).any(axis=1)
    partial = int(((manifest["status"] == "done") & gaps).sum())
    click.echo(
        f"{len(store)} objects: {status['done']} done ({partial} of them with gaps), {status['outside']} outside, "
        f"{status['failed']} failed. Each is accounted for in {store.manifest_path}."
    )
    reasons = Counter(manifest["reason"][manifest["status"] == "failed"])
    for reason, count in reasons.most_common(REASONS):
        click.echo(f"  {count} failed: {reason}")
    if len(reasons) > REASONS:
        click.echo(f"  and {len(reasons) - REASONS} other reasons")
    if reasons:
        click.echo("The same command with --retry-failed tries what failed again.")
