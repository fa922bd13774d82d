"""`galtrans ingest`: a store from images that people already have."""

from pathlib import Path

import click

import survey_tools
from cli.options import (
    EXISTING_FILE,
    NEW_PATH,
    column_option,
    overwrite_option,
    survey_file_option,
    unit_option,
    verbose_option,
    zero_point_option,
)

REASONS = 3  # reasons of failures that are shown at the end


@click.command()
@click.argument("files", type=click.Path(exists=True, path_type=Path), nargs=-1, required=True, metavar="FILE...")
@click.option("--survey", required=True, help="Survey that the images are of: any name that `galtrans surveys` lists.")
@click.option("--out", type=NEW_PATH, required=True, help="Store to make, such as sdss.zarr.")
@click.option(
    "--positions", type=EXISTING_FILE,
    help="Catalogue whose row i is image i: object_id, ra, dec [deg, ICRS] and, optionally, redshift. By default the "
    "positions in the files are used.",
)  # fmt: skip
@column_option
@click.option("--key", default="", help="Name of the array of images, if an .npz or HDF5 file has several arrays.")
@click.option(
    "--axes", type=click.Choice(["NHWC", "NCHW", "auto"], case_sensitive=False), default="auto", show_default=True,
    help="Order of the axes of a cube: bands last (NHWC) or first (NCHW). auto decides by the shape.",
)  # fmt: skip
@unit_option
@zero_point_option
@click.option(
    "--zeros", type=click.Choice(["auto", "data", "missing"]), default="auto", show_default=True,
    help="Whether pixels of exactly 0 are data or missing. auto: they are data, except where the survey marks missing "
    "pixels by 0, and except for solid blocks of zeros at an edge of a noisy image.",
)  # fmt: skip
@click.option(
    "--stretched",
    is_flag=True,
    help="The cubes hold the stretched intensity of the paper, sign(F) (sqrt(|F| + 1) - 1).",
)
@click.option(
    "--bands", show_default="all of the survey",
    help="Bands of the cubes, in their order; or bands to read from FITS files, such as gri.",
)  # fmt: skip
@overwrite_option
@survey_file_option
@verbose_option
def ingest(
    files: tuple[Path, ...], survey: str, out: Path, positions: Path | None, columns: dict[str, str], key: str,
    axes: str, unit: str | None, zero_point: float | None, zeros: str, stretched: bool, bands: str, overwrite: bool,
) -> None:  # fmt: skip
    """Make a store from images that you have: cubes in .npz, .npy or HDF5, or FITS cutouts with a WCS.

    Several FILEs are read one after the other. A FILE may be a folder of FITS files, with one file per object, or one
    file per object and band; the latter are grouped by position. Images must have the size and pixel scale of the
    survey's cutouts. After an interruption, the same command resumes. OUT/manifest.ecsv says what became of each image.

    \b
    Example: the public set of Pasquet et al. (2019), the authors' own examples, your cutouts
      galtrans ingest sdss.npz --survey sdss --out sdss.zarr
      galtrans ingest img_test_examples.npz --survey sdss --key img_test_SDSS_rescaled --stretched --out x.zarr
      galtrans ingest cutouts/ --survey cfht --bands gri --unit counts --out cfht.zarr
    """
    unstretch = None
    if stretched:
        from translator import unstretch
    there = out.exists() and not overwrite
    store = survey_tools.ingest(
        files, survey, out, positions=positions, columns=columns, bands=bands, key=key, axes=axes, unit=unit,
        zero_point=zero_point, zeros=zeros, unstretch=unstretch, overwrite=overwrite,
    )  # fmt: skip
    if there:
        click.echo(f"{out} is complete already.")
    _report(store)


def _report(store) -> None:
    """Print what became of the images."""
    from collections import Counter

    import numpy as np

    manifest = store.manifest()
    done, failed = manifest["status"] == "done", manifest["status"] == "failed"
    placed = np.isfinite(store.column("ra"))
    gaps = int((done & ~store.usable).sum())
    click.echo(
        f"{len(store)} images: {done.sum()} done ({gaps} of them with gaps), {failed.sum()} failed. "
        f"Each is accounted for in {store.manifest_path}."
    )
    reasons = Counter(manifest["reason"][failed])
    for reason, count in reasons.most_common(REASONS):
        click.echo(f"  {count} failed: {reason}")
    if len(reasons) > REASONS:
        click.echo(f"  and {len(reasons) - REASONS} other reasons")
    if not placed.all():
        click.echo(
            f"{(~placed).sum()} have no position: they train, and take part in no cross-match; --positions TABLE adds "
            "positions"
        )
