"""`galtrans verify`, `info`, `convert`, `partition` and `export`: check a store, describe it, write it anew."""

import re
from pathlib import Path

import click

import survey_tools
from cli.options import (
    A_STORE,
    EXISTING_STORE,
    NEW_PATH,
    Size,
    overwrite_option,
    scheduler_option,
    verbose_option,
    where_of,
    workers_option,
)
from survey_tools.errors import StoreError

SHOWN = 20  # faults that are listed
A_SLICE = re.compile(r"\s*(\d+)?\s*(?:(:)\s*(\d+)?\s*)?")


@click.command()
@click.argument("store", type=EXISTING_STORE)
@workers_option
@scheduler_option
@verbose_option
def verify(store: Path, workers: int, scheduler: str | None) -> None:
    """Check STORE: compare every file with its checksum, and every pixel with the columns and the manifest.

    \b
    Example:
      galtrans verify sdss.zarr
    """
    wrong = survey_tools.verify(store, workers=where_of(workers, scheduler)["workers"])
    for line in wrong[:SHOWN]:
        click.echo(line)
    if len(wrong) > SHOWN:
        click.echo(f"and {len(wrong) - SHOWN:,} more")
    if wrong:
        raise StoreError(f"{store} is damaged in {len(wrong)} places; make it again, or take it from a copy")
    click.echo(f"{store} is sound: {len(survey_tools.open_store(store)):,} objects.")


@click.command()
@click.argument("store", type=EXISTING_STORE)
@click.argument("out", type=NEW_PATH)
@workers_option
@scheduler_option
@overwrite_option
@verbose_option
def convert(store: Path, out: Path, workers: int, scheduler: str | None, overwrite: bool) -> None:
    """Write STORE again as OUT in the newest schema, with the same pixels to the bit, and check it.

    Columns, manifest, settings and planes stay. Stores of schema version 1 need no conversion to be used; in schema
    version 2 they have a hundredth of the files, and single objects are read many times faster. After an interruption,
    the same command resumes.

    \b
    Example:
      galtrans convert sdss.zarr sdss-2.zarr
    """
    there = out.exists() and not overwrite
    made = survey_tools.convert(store, out, **where_of(workers, scheduler), overwrite=overwrite, tell=click.echo)
    if there:
        click.echo(f"{out} is complete already.")
    click.echo(f"{len(made):,} objects in {''.join(made.bands)}\nWrote {made.path}")


@click.command()
@click.argument("store", type=A_STORE)
@verbose_option
def info(store: Path) -> None:
    """Describe STORE: its objects, sky, noise, seeing and size, and what it was made from.

    For an unfinished store, the command prints how much is done. STORE may also be the folder of a training, or the
    name of a model that comes with galtrans.

    \b
    Examples:
      galtrans info sdss.zarr
      galtrans info s3://bucket/sdss.zarr
      galtrans info runs/two_step
    """
    run = None
    known = isinstance(store, str) or any((store / name).exists() for name in ("zarr.json", "partitions.json"))
    if not known:  # then torch, which runs need, need not be loaded
        import translator

        run = translator.find_run(store)
    lines = survey_tools.describe(store) if run is None else translator.describe_run(run)
    for label, text in lines:
        click.echo(f"{label:<14}{text}")


@click.command()
@click.argument("store", type=EXISTING_STORE)
@click.argument("out", type=NEW_PATH)
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=131_072,
    show_default=True,
    help="Largest number of objects of a partition.",
)
@workers_option
@scheduler_option
@overwrite_option
@verbose_option
def partition(store: Path, out: Path, rows: int, workers: int, scheduler: str | None, overwrite: bool) -> None:
    """Split STORE into a partitioned store OUT: one store for each HEALPix pixel, in a folder laid out as a HATS
    catalogue.

    A pixel is split in four while it has more objects than --rows. STORE stays as it is. After an interruption, the
    same command resumes.

    \b
    Example:
      galtrans partition sdss.zarr sdss-parts --rows 100000
    """
    there = out.exists() and not overwrite
    made = survey_tools.partition(
        store, out, rows=rows, **where_of(workers, scheduler), overwrite=overwrite, tell=click.echo
    )
    if there:
        click.echo(f"{out} is complete already.")
    click.echo(f"{len(made):,} objects in {len(made.partitions):,} partitions\nWrote {out}")


@click.command()
@click.argument("store", type=A_STORE)
@click.option(
    "--to",
    type=click.Choice(["fits", "webdataset", "hats"]),
    default="fits",
    show_default=True,
    help="Form: a FITS file for each row; WebDataset, tar files of samples; or HATS, Parquet files by sky.",
)
@click.option(
    "--rows",
    "wanted",
    show_default="all rows",
    help="Rows, counted from 0, such as 0:10, or 3, or 0:10,25,40:",
)
@click.option("--bands", show_default="all of the store", help="Bands to write, such as gri.")
@click.option("--out", type=NEW_PATH, required=True, help="Folder for the files.")
@click.option(
    "--name",
    show_default="that of the store",
    help="Name of the data set, with which tar files begin. Not for FITS.",
)
@click.option(
    "--shard-size",
    type=Size(),
    default="500MB",
    show_default=True,
    help="Size of a tar file, or of the pixels of a Parquet file before compression, at most. Not for FITS.",
)
@click.option(
    "--license",
    default="",
    show_default="none is stated",
    help="Licence that the data card states, such as cc-by-4.0. Not for FITS.",
)
@click.option("--preview", is_flag=True, help="Write a PNG beside each FITS file.")
@overwrite_option
@verbose_option
def export(
    store: Path,
    to: str,
    wanted: str | None,
    bands: str | None,
    out: Path,
    name: str | None,
    shard_size: int,
    license: str,
    preview: bool,
    overwrite: bool,
) -> None:
    """Write rows of STORE as FITS files, as WebDataset or as a HATS catalogue.

    In a FITS file each band is an image HDU in nanomaggies with a WCS, and has a mask. WebDataset and HATS come with
    croissant.json (a description for programs), README.md (a data card) and checksums, and leave out objects whose
    status in the manifest is not done.

    Existing files that were written from the same rows of the same store are kept. Therefore the same command resumes
    an interrupted export.

    \b
    Examples:
      galtrans export sdss.zarr --rows 0:10 --out sdss_fits
      galtrans export sdss.zarr --to webdataset --out sdss_shards
      galtrans export sdss.zarr --to hats --bands gri --out sdss_hats
    """
    if preview and to != "fits":
        raise click.BadParameter(
            f"pictures are written beside FITS files, and not with --to {to}", param_hint="--preview"
        )
    opened = survey_tools.open_store(store)
    rows = _parse_rows(wanted, len(opened)) if wanted is not None else None
    made = survey_tools.export(
        opened, rows, out, to=to, bands=bands, name=name, shard_size=shard_size, license=license, overwrite=overwrite
    )
    if to != "fits":
        for reason, count in made.left_out.items():
            click.echo(f"Left out {_counted(count, 'object')}: {reason}; the manifest of the store says why.")
        kept = f" ({len(made.kept):,} of them were there before)" if made.kept else ""
        files = f"{_counted(len(made.paths), 'data file')}{kept}, croissant.json, README.md"
        click.echo(f"Wrote {_counted(made.count, 'object')} to {out}: {files}.")
        return
    if preview:
        import translator

        pictures = {int(path.name.split("_")[0]): path.with_suffix(".png") for path in made.paths}
        old = {path.with_suffix(".png") for path in made.kept}
        new = {row: path for row, path in pictures.items() if path not in old or not path.exists()}
        translator.preview(opened, new)
    count = len(made.paths) + sum(made.left_out.values())
    missing = sum(made.left_out.values())
    why = f"; {missing} have no image, {store / 'manifest.ecsv'} says why" if missing else ""
    if made.kept:
        click.echo(f"{len(made.kept)} of {count} rows were in {out} before, from the same store.")
    click.echo(f"Wrote {len(made.paths) - len(made.kept)} of {count} rows to {out}{why}.")


def _counted(count: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _parse_rows(text: str, count: int) -> list[int]:
    """Return the rows that a list of numbers and ranges names, each once and in that order."""
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
