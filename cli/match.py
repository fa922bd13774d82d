"""Commands that bring two stores together: `crossmatch` and `regrid`."""

import math
from pathlib import Path

import click

from cli.options import NEW_PATH, overwrite_option, seed_option, verbose_option, workers_option


def _check_angle(ctx: click.Context, param: click.Parameter, value: float) -> float:
    if not (math.isfinite(value) and value > 0):
        raise click.BadParameter(f"{value} is not a positive angle; give arcsec, such as 1.0")
    return value


@click.command()
@click.argument("x", type=NEW_PATH)
@click.argument("y", type=NEW_PATH)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="Pair table to write (ECSV)."
)
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
@seed_option
@overwrite_option
@verbose_option
def crossmatch(
    x: Path, y: Path, out: Path, radius: float, max_peak_offset: float, test_size: int, seed: int, overwrite: bool
) -> None:
    """Find the rows of the stores X and Y that are the same galaxy.

    Pairs are one-to-one nearest neighbours on the sphere, kept where the peaks of both r-band images agree. The table
    has x_row, y_row, separation and peak_offset [arcsec], and split (train or test).

    \b
    Example:
      galtrans crossmatch sdss.zarr cfht.zarr --out pairs.ecsv --test-size 40
    """
    from survey_tools.atomic import whole_file
    from survey_tools.pairs import make_pairs

    if out.exists() and not overwrite:
        raise click.UsageError(f"{out} exists already; choose another --out or pass --overwrite")
    table = make_pairs(x, y, radius=radius, max_peak_offset=max_peak_offset, test_size=test_size, seed=seed)
    with whole_file(out) as temporary:
        table.write(temporary, format="ascii.ecsv")
    _say(table, out)


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
@overwrite_option
@verbose_option
def regrid(y: Path, like: Path, out: Path, workers: int, overwrite: bool) -> None:
    """Put the images of store Y on the pixels of another store, flux kept, by bilinear interpolation.

    Centre and orientation of each image stay; rows stay too, so a pair table for Y serves the new store as well.
    After an interruption the same command goes on.

    \b
    Example:
      galtrans regrid cfht.zarr --like sdss.zarr --out cfht64.zarr
    """
    from survey_tools.regridded import regrid_store

    there = out.exists() and not overwrite
    store = regrid_store(y, like, out, workers=workers, overwrite=overwrite)
    if there:
        click.echo(f"{out} is complete already.")
    click.echo(
        f"{len(store)} objects in {''.join(store.bands)}, {store.size}×{store.size} pixels of "
        f"{store.pixel_scale:g} arcsec; {int(store.usable.sum())} have every pixel\nWrote {store.path}"
    )
