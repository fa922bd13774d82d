"""`galtrans crossmatch` and `galtrans regrid`: match two stores, and put one on the pixels of another."""

from pathlib import Path

import click

import survey_tools
from cli.options import (
    A_STORE,
    NEW_PATH,
    overwrite_option,
    scheduler_option,
    seed_option,
    survey_file_option,
    verbose_option,
    where_of,
    workers_option,
)


@click.command()
@click.argument("x", type=A_STORE)
@click.argument("y", type=A_STORE)
@click.option(
    "--out", type=NEW_PATH, required=True,
    help="Pair table to write (ECSV; Parquet for HATS catalogues without stores; a folder for partitioned stores).",
)  # fmt: skip
@click.option(
    "--radius", type=float, default=1.0, show_default=True,
    help="Largest separation of the catalogue positions [arcsec].",
)  # fmt: skip
@click.option(
    "--max-peak-offset", type=float, default=1.0, show_default=True,
    help="Largest angle between the peaks of both r-band images [arcsec].",
)  # fmt: skip
@click.option(
    "--test-size", type=click.IntRange(min=0), default=0, show_default=True,
    help="Number of pairs to hold out. Galaxies whose cutouts could overlap are held out together.",
)  # fmt: skip
@click.option(
    "--validation-size", type=click.IntRange(min=0), default=0, show_default=True,
    help="Number of pairs to hold out besides, by which a training is watched (`galtrans train … --validate-every`).",
)  # fmt: skip
@click.option("--x-store", type=NEW_PATH, help="Store with images of the objects of X, if X is a HATS catalogue.")
@click.option("--y-store", type=NEW_PATH, help="Store with images of the objects of Y.")
@click.option(
    "--x-id", default="object_id", show_default=True, help="Column of a HATS catalogue X that identifies objects."
)
@click.option(
    "--y-id", default="object_id", show_default=True, help="Column of a HATS catalogue Y that identifies objects."
)
@workers_option
@scheduler_option
@seed_option
@overwrite_option
@survey_file_option
@verbose_option
def crossmatch(
    x: Path, y: Path, out: Path, radius: float, max_peak_offset: float, test_size: int,
    validation_size: int, x_store: Path | None, y_store: Path | None, x_id: str, y_id: str, workers: int,
    scheduler: str | None, seed: int, overwrite: bool,
) -> None:  # fmt: skip
    """Find the rows of X and Y that show the same galaxy.

    Pairs are one-to-one nearest neighbours on the sphere. A pair is kept if the peaks of both r-band images agree. For
    two stores, the table has x_row, y_row, separation and peak_offset [arcsec], and split (train, validation or test).

    X and Y may also be two HATS catalogues of any size, which LSDB reads (pip install 'galtrans[lsdb]'). With --x-store
    and --y-store, the table has the rows of these stores, for the pairs of the catalogues that have images in both.
    Without them, it has the identifiers and positions of both objects, and no peaks are compared.

    Of two partitioned stores, each partition of X is one task; OUT is a folder with a Parquet file for each. After an
    interruption, the same command resumes.

    \b
    Examples:
      galtrans crossmatch sdss.zarr cfht.zarr --out pairs.ecsv --test-size 40
      galtrans crossmatch hats/sdss hats/cfht --x-id objid --y-id id --out pairs.parquet
      galtrans crossmatch sdss-parts cfht-parts --out pairs --test-size 2500
    """
    found = survey_tools.crossmatch(
        x, y, radius=radius, max_peak_offset=max_peak_offset, test_size=test_size, validation_size=validation_size,
        seed=seed, out=out, x_store=x_store, y_store=y_store, x_id=x_id, y_id=y_id, **where_of(workers, scheduler),
        overwrite=overwrite, tell=click.echo,
    )  # fmt: skip
    if isinstance(found, Path):
        click.echo(
            f"{_rows_of(found)} pairs within {radius:g} arcsec; no images, so no peaks are compared\nWrote {out}"
        )
    elif hasattr(found, "colnames"):
        _say(found, out)
    else:
        _say_in_short(found)


def _rows_of(path: Path) -> int:
    """Return the number of rows of a Parquet file."""
    import pyarrow.parquet

    return pyarrow.parquet.ParquetFile(path).metadata.num_rows


def _say_in_short(pairs) -> None:
    """Print what was found in partitioned stores."""
    meta, count = pairs.meta, len(pairs)
    dropped, rate = meta["dropped_for_peak_offset"], meta["false_match_rate"]
    click.echo(
        f"{count + dropped:,} pairs within {meta['radius']:g} arcsec, of which chance alone gives {rate:.2%}\n"
        f"{dropped:,} dropped: no peak, or peaks more than {meta['max_peak_offset']:g} arcsec "
        f"apart\n{meta['train']:,} to train, {meta['validation']:,} to validate, {meta['test']:,} to test\n"
        f"Wrote {pairs.path}"
    )


def _say(table, out: Path) -> None:
    """Print what was found."""
    import numpy as np

    dropped, rate = table.meta["dropped_for_peak_offset"], table.meta["false_match_rate"]
    test, validation = (int((table["split"] == split).sum()) for split in ("test", "validation"))
    others = f", {validation} to validate" if validation else ""
    click.echo(
        f"{len(table) + dropped} pairs within {table.meta['radius']:g} arcsec, of which chance alone gives {rate:.2%}\n"
        f"{dropped} dropped: no peak, or peaks more than {table.meta['max_peak_offset']:g} arcsec apart\n"
        f"{len(table)} kept: median separation {np.median(table['separation']):.3f} arcsec, "
        f"median peak offset {np.median(table['peak_offset']):.3f} arcsec\n"
        f"{len(table) - test - validation} to train{others}, {test} to test\n"
        f"Wrote {out}"
    )


@click.command()
@click.argument("y", type=A_STORE)
@click.option("--like", type=A_STORE, required=True, help="Store whose image size and pixel scale to take.")
@click.option("--out", type=NEW_PATH, required=True, help="Store to make.")
@workers_option
@scheduler_option
@overwrite_option
@survey_file_option
@verbose_option
def regrid(y: Path, like: Path, out: Path, workers: int, scheduler: str | None, overwrite: bool) -> None:
    """Put the images of store Y on the pixels of another store by bilinear interpolation, and keep their flux.

    Each image keeps its centre and orientation. The rows stay the same, so that a pair table of Y also serves the new
    store. After an interruption, the same command resumes.

    \b
    Example:
      galtrans regrid cfht.zarr --like sdss.zarr --out cfht64.zarr
    """
    there = out.exists() and not overwrite
    store = survey_tools.regrid(y, like, out, **where_of(workers, scheduler), overwrite=overwrite, tell=click.echo)
    if there:
        click.echo(f"{out} is complete already.")
    click.echo(
        f"{len(store)} objects in {''.join(store.bands)}, {store.size}×{store.size} pixels of "
        f"{store.pixel_scale:g} arcsec; {int(store.usable.sum())} have every pixel\nWrote {store.path}"
    )
