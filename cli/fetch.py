"""`galtrans fetch`, `info` and `export`: stores from archives, what is in them, and FITS files out of them."""

import re
from collections import Counter
from pathlib import Path

import click

from cli.options import (
    EXISTING_FILE,
    NEW_PATH,
    bands_option,
    overwrite_option,
    verbose_option,
    workers_option,
)

REASONS = 3  # shown after a fetch
A_SLICE = re.compile(r"\s*(\d+)?\s*(?:(:)\s*(\d+)?\s*)?")


@click.command()
@click.argument("survey", type=click.Choice(["sdss", "cfht"]))
@click.option(
    "--catalogue",
    type=EXISTING_FILE,
    required=True,
    help="CSV, ECSV, FITS, Parquet or VOTable with object_id, ra, dec [deg, ICRS] and, optionally, redshift and the "
    "SDSS frame: run, rerun, camcol, field.",
)
@click.option(
    "--mirror",
    required=True,
    help="Folder, or http(s) URL, of the archive's files: for sdss laid out as the Science Archive Server "
    "(ROOT/sas/dr12/boss/photoObj/frames/...), for cfht any folder of T0007 stacks, plain or .fits.fz.",
)
@click.option("--out", type=NEW_PATH, required=True, help="Store to make, such as sdss.zarr.")
@bands_option
@workers_option
@overwrite_option
@verbose_option
def fetch(survey: str, catalogue: Path, mirror: str, out: Path, bands: str, workers: int, overwrite: bool) -> None:
    """Cut every object of a catalogue from archive files of SURVEY into a store.

    SDSS frames are resampled to 64 x 64 pixels of 0.396", north up; CFHTLS stacks keep their own pixels, 136 x 136 of
    0.186". An interrupted run is gone on with by the same command. OUT/manifest.ecsv says what became of each object.

    \b
    Example:
      galtrans simulate --out sky
      galtrans fetch sdss --catalogue sky/catalogue.ecsv --mirror sky --out sdss.zarr
    """
    from survey_tools import build
    from survey_tools.catalogue import read_catalogue
    from survey_tools.surveys import SURVEYS

    table = read_catalogue(catalogue)
    there = out.exists() and not overwrite
    store = build.fetch(SURVEYS[survey], table, mirror, out, bands=bands, workers=workers, overwrite=overwrite)
    if there:
        click.echo(f"{out} is complete already.")
    _report(store)


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
