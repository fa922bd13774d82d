"""Commands that bring two stores, or catalogues, together: `crossmatch` and `regrid`."""

import math
from pathlib import Path

import click

from cli.options import (
    NEW_PATH,
    engine_of,
    overwrite_option,
    scheduler_option,
    seed_option,
    verbose_option,
    workers_option,
)


def _check_angle(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value} is not a positive angle; give arcsec, such as 1.0")
    return value


@click.command()
@click.argument("x", type=NEW_PATH)
@click.argument("y", type=NEW_PATH)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help="Pair table to write (ECSV; Parquet for HATS catalogues without stores).",
)  # fmt: skip
@click.option(
    "--radius", type=float, default=1.0, show_default=True, callback=_check_angle,
    help="Largest separation of the catalogue positions [arcsec].",
)  # fmt: skip
@click.option(
    "--max-peak-offset", type=float, default=1.0, show_default=True, callback=_check_angle,
    help="Largest angle between the peaks of both r-band images [arcsec].",
)  # fmt: skip
@click.option(
    "--test-size", type=click.IntRange(min=0), default=0, show_default=True,
    help="Pairs to hold out, in whole groups of galaxies whose cutouts could overlap.",
)  # fmt: skip
@click.option("--x-store", type=NEW_PATH, help="Store with images of objects of X, a HATS catalogue.")
@click.option("--y-store", type=NEW_PATH, help="Store with images of objects of Y.")
@click.option("--x-id", default="object_id", show_default=True, help="Column of a HATS catalogue X that names objects.")
@click.option("--y-id", default="object_id", show_default=True, help="The same of Y.")
@workers_option
@seed_option
@overwrite_option
@verbose_option
def crossmatch(
    x: Path, y: Path, out: Path, radius: float, max_peak_offset: float, test_size: int, x_store: Path | None,
    y_store: Path | None, x_id: str, y_id: str, workers: int, seed: int, overwrite: bool,
) -> None:  # fmt: skip
    """Find the rows of X and Y that are the same galaxy.

    Pairs are one-to-one nearest neighbours on the sphere, kept where the peaks of both r-band images agree. Of two
    stores, the table has x_row, y_row, separation and peak_offset [arcsec], and split (train or test).

    X and Y may also be two HATS catalogues of any size, which LSDB reads (pip install 'galtrans[lsdb]'). With --x-store
    and --y-store the table is that of these stores, made of the catalogues' pairs that have images in both; without, it
    has both identifiers and positions, and no peaks are compared.

    \b
    Examples:
      galtrans crossmatch sdss.zarr cfht.zarr --out pairs.ecsv --test-size 40
      galtrans crossmatch hats/sdss hats/cfht --x-id objid --y-id id --out pairs.parquet
    """
    from survey_tools.files import whole_file
    from survey_tools.matching.hats import Catalogues, is_hats, write_matches
    from survey_tools.matching.pairs import make_pairs

    if out.exists() and not overwrite:
        raise click.UsageError(f"{out} exists already; choose another --out or pass --overwrite")
    catalogues = Catalogues(x, y, x_id, y_id, workers) if is_hats(x) and is_hats(y) else None
    if catalogues is None:
        _check_stores(x, y, is_hats(x) or is_hats(y), x_store or y_store)
    elif (x_store is None) != (y_store is None):
        raise click.UsageError("give both --x-store and --y-store, or neither")
    elif x_store is None:
        _check_catalogues(out, test_size)
        count = write_matches(catalogues, radius, out)
        click.echo(f"{count} pairs within {radius:g} arcsec; no images, so no peaks are compared\nWrote {out}")
        return
    table = make_pairs(
        x_store or x, y_store or y, radius=radius, max_peak_offset=max_peak_offset, test_size=test_size, seed=seed,
        catalogues=catalogues, workers=workers,
    )  # fmt: skip
    with whole_file(out) as temporary:
        table.write(temporary, format="ascii.ecsv")
    _say(table, out)


def _check_stores(x: Path, y: Path, one_is_hats: bool, store: Path | None) -> None:
    """Wrong usage where one of X and Y is a HATS catalogue, or where stores are given beside X and Y."""
    if one_is_hats:
        raise click.UsageError(f"one of {x} and {y} is a HATS catalogue and the other is not; give two, or two stores")
    if store:
        raise click.UsageError(f"{x} and {y} are no HATS catalogues, and --x-store and --y-store go with these only")


def _check_catalogues(out: Path, test_size: int) -> None:
    """Wrong usage where what only images allow is asked of HATS catalogues alone."""
    if test_size:
        raise click.UsageError("--test-size holds out images: give --x-store and --y-store")
    if out.suffix != ".parquet":
        raise click.UsageError(f"pairs of HATS catalogues are written as Parquet: --out {out.with_suffix('.parquet')}")


def _say(table, out: Path) -> None:
    """What was found, for the user."""
    import numpy as np

    dropped, rate = table.meta["dropped_for_peak_offset"], table.meta["false_match_rate"]
    test = int((table["split"] == "test").sum())
    click.echo(
        f"{len(table) + dropped} pairs within {table.meta['radius']:g} arcsec, of which chance alone gives {rate:.2%}\n"
        f"{dropped} dropped: no peak, or peaks more than {table.meta['max_peak_offset']:g} arcsec apart\n"
        f"{len(table)} kept: median separation {np.median(table['separation']):.3f} arcsec, "
        f"median peak offset {np.median(table['peak_offset']):.3f} arcsec\n"
        f"{len(table) - test} to train, {test} to test\n"
        f"Wrote {out}"
    )


@click.command()
@click.argument("y", type=NEW_PATH)
@click.option("--like", type=NEW_PATH, required=True, help="Store whose image size and pixel scale to take.")
@click.option("--out", type=NEW_PATH, required=True, help="Store to make.")
@workers_option
@scheduler_option
@overwrite_option
@verbose_option
def regrid(y: Path, like: Path, out: Path, workers: int, scheduler: str | None, overwrite: bool) -> None:
    """Put the images of store Y on the pixels of another store, flux kept, by bilinear interpolation.

    Centre and orientation of each image stay; rows stay too, so a pair table for Y serves the new store as well.
    After an interruption the same command goes on.

    \b
    Example:
      galtrans regrid cfht.zarr --like sdss.zarr --out cfht64.zarr
    """
    from survey_tools.build.regridded import regrid_store

    there = out.exists() and not overwrite
    if scheduler:  # whose workers are at home in other folders
        y, like, out = y.absolute(), like.absolute(), out.absolute()
    with engine_of(workers, scheduler) as engine:
        store = regrid_store(y, like, out, engine=engine, overwrite=overwrite)
    if there:
        click.echo(f"{out} is complete already.")
    click.echo(
        f"{len(store)} objects in {''.join(store.bands)}, {store.size}×{store.size} pixels of "
        f"{store.pixel_scale:g} arcsec; {int(store.usable.sum())} have every pixel\nWrote {store.path}"
    )
