"""`galtrans evaluate`: measure how good translations are, and write a page, a JSON file and a table."""

import click

from cli.options import (
    EXISTING,
    EXISTING_FILE,
    EXISTING_STORE,
    NEW_FOLDER,
    device_option,
    scheduler_option,
    seed_option,
    survey_file_option,
    verbose_option,
    where_of,
    workers_option,
)
from survey_tools.errors import GaltransError


@click.command()
@click.argument("runs", metavar="RUN…", nargs=-1, required=True)
@click.argument("x", metavar="X.zarr", type=EXISTING_STORE)
@click.argument("y", metavar="Y.zarr", type=EXISTING_STORE)
@click.argument("pairs", metavar="PAIRS.ecsv", type=EXISTING)
@click.option("--out", type=NEW_FOLDER, required=True, help="Folder for the report.")
@click.option(
    "--truth",
    type=EXISTING_STORE,
    help="Folder with a store of each survey without noise, such as sdss.zarr, as `galtrans simulate` writes.",
)
@click.option("--require", type=EXISTING_FILE, help="TOML file of requirements. The exit code is 1 if one fails.")
@click.option(
    "--galaxies", type=click.IntRange(min=1), help="Largest number of test galaxies, drawn at random.  [default: all]"
)
@click.option(
    "--draws",
    type=click.IntRange(min=0),
    default=8,
    show_default=True,
    help="Number of noise realisations of some galaxies.",
)
@click.option("--bands", show_default="those of the first run", help="Bands of both stores to take, such as gri.")
@workers_option
@scheduler_option
@device_option
@seed_option
@click.option("--overwrite", is_flag=True, help="Replace an existing report.")
@survey_file_option
@verbose_option
def evaluate(
    runs, x, y, pairs, out, truth, require, galaxies, draws, bands, workers, scheduler, device, seed, overwrite
) -> None:
    """Measure how good the translations of trained runs are, on galaxies that the training never saw.

    Each run translates the test rows of PAIRS.ecsv in both directions. The translations are compared with the images of
    the other survey and, if --truth is given, with the truth without noise. OUT/report.html shows every number with its
    interval, beside its floor (real images against real images), a perfect translator and plain interpolation.
    report.json and galaxies.ecsv have the same numbers for programs. The command prints in how many measures each run
    is closer to the truth than the references and the other runs. A file of requirements has lines such as

    \b
      [sdss_to_cfht]
      aperture_offset.r = { min = -0.02, max = 0.02 }
      [sdss_to_cfht.verdict]
      bilinear = { min_closer = 55, max_farther = 10 }

    \b
    Example:
      galtrans evaluate runs/demo sdss.zarr cfht.zarr pairs.ecsv --truth truth --out report
    """
    import translator

    report = translator.evaluate(
        runs, x, y, pairs, out=out, truth=truth, require=require, galaxies=galaxies, draws=draws, bands=bands,
        device=device, seed=seed, **where_of(workers, scheduler), overwrite=overwrite, tell=click.echo,
    )  # fmt: skip
    click.echo(f"Wrote {', '.join(str(out / name) for name in translator.REPORT_FILES)}")
    requirements = report.content["requirements"]
    failed = [each for each in requirements if not each["holds"]]
    for each in failed:
        click.echo(translator.describe_failure(each), err=True)
    if failed:
        raise GaltransError(
            f"{len(failed)} of {len(requirements)} requirements fail; see {out / translator.REPORT_FILES[0]}"
        )
