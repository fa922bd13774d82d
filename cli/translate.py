"""`galtrans translate`: FITS in, FITS out; or a store in, a store out."""

from pathlib import Path

import click

from cli.options import (
    device_option,
    finite,
    overwrite_option,
    run_argument,
    scheduler_option,
    seed_option,
    unit_option,
    verbose_option,
    where_of,
    workers_option,
    zero_point_option,
)

TABLE = "translated.ecsv"  # within OUT


def _numbers(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Callback of an option that takes a number, or one for each band."""
    if value is None:
        return None
    try:
        found = tuple(float(each) for each in value.split(","))
    except ValueError as error:
        raise click.BadParameter(
            f"{value!r}: give a number, or one for each band, such as 0.7 or 0.8,0.7,0.6"
        ) from error
    if not all(0 < each < 60 for each in found):
        raise click.BadParameter(f"{value!r}: give arcsec between 0 and 60")
    return found


def _listed(files: tuple[Path, ...], listed: Path | None) -> list[Path]:
    """All files that are named, by the command and by its list."""
    named = list(files)
    if listed is not None:
        lines = (line.strip() for line in listed.read_text().splitlines())
        named += [Path(line) for line in lines if line and not line.startswith("#")]
        missing = [path for path in named if not path.exists()]
        if missing:
            raise click.UsageError(f"{listed} names {missing[0]}, which is not there")
    if not named:
        raise click.UsageError("no files to translate: give FILES, a folder of them, or --files-from")
    return named


@click.command()
@run_argument
@click.argument("files", metavar="FILES… | IN.zarr", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--to", "target", help="Survey to translate into, such as cfht; needed with FILES.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results, or OUT.zarr."
)
@click.option(
    "--files-from", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A text file that names more FILES, one on each line.",
)  # fmt: skip
@click.option("--at", type=(float, float), metavar="RA DEC", help="Translate the part around here [deg].")
@click.option(
    "--size", type=click.FloatRange(min=1), callback=finite("size"), help="Side of that part [arcsec]; by default 25."
)
@click.option(
    "--seeing",
    callback=_numbers,
    metavar="ARCSEC",
    help="FWHM of stars that is wanted; one number, or one for each band.",
)
@click.option(
    "--depth",
    help="Noise that is wanted: 25.2mag (5 sigma within 2 arcsec) or 0.002nanomaggy a pixel.",
)
@click.option(
    "--like", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A FITS file whose grid, seeing and depth are wanted.",
)  # fmt: skip
@click.option(
    "--draws", type=click.IntRange(0, 64), default=0, show_default=True, help="Draws to write beside the best guess."
)
@click.option("--planes", is_flag=True, help="Write SIGNAL, SIGMA and MASK beside each band; of a store, such arrays.")
@click.option(
    "--noise", type=click.Choice(["sampled", "none"]), default="sampled", show_default=True, help="Noise to add."
)
@unit_option
@zero_point_option
@click.option("--force", is_flag=True, help="Translate inputs, too, that say they are of another survey, or synthetic.")
@click.option("--preview", is_flag=True, help="Write a PNG of input, translation and uncertainty beside each file.")
@device_option
@workers_option
@scheduler_option
@seed_option
@overwrite_option
@verbose_option
def translate(run: Path, files: tuple[Path, ...], out: Path, **options) -> None:
    """Translate FITS images, or a whole store, with a trained model.

    RUN is the folder of a training, or the name of a model that comes with galtrans (`galtrans models` lists them).

    Each of FILES has one image HDU a band, named by EXTNAME or FILTER, or a (band, row, col) cube, with a WCS and a
    calibration. Files of one band each that differ in the band's letter (m51-g.fits, m51-r.fits) are one object; a
    folder stands for the FITS files in it. Images may have any size, lack bands and have gaps where the model reads
    such. Each result shows the same sky at the pixel scale of the survey given by --to, and has SYNTH = T in its
    header, so that nobody takes it for an observation. OUT/translated.ecsv says what was made of what.

    Of a store IN.zarr every row becomes a row of the store given by --out; what cannot be translated is NaN, and
    OUT/manifest.ecsv says why. --planes adds the arrays signal and sigma, and --draws K draw_1 to draw_K; the column
    consistency says for each row and band whether to believe it. After an interruption the same command goes on.

    \b
    Examples:
      galtrans translate sdss-cfhtls my_galaxy.fits --to cfht --out translated --planes --preview
      galtrans translate sdss-cfhtls frame-*.fits.bz2 --to cfht --out field
      galtrans translate sdss-cfhtls frame-*.fits.bz2 --to cfht --at 38.5716 -7.0991 --seeing 0.6 --out galaxy
      galtrans translate runs/two_step sdss_fits/*.fits --to cfht --out translated
      galtrans translate runs/two_step sdss.zarr --out translated.zarr
    """
    import translator

    workers, scheduler = options.pop("workers"), options.pop("scheduler")
    paths, depth, overwrite = _listed(files, options.pop("files_from")), options.pop("depth"), options["overwrite"]
    there = out.exists() and not overwrite
    made = translator.translate(
        run,
        paths,
        to=options.pop("target"),
        out=out,
        depth=None if depth is None else depth.split(","),
        noise=options.pop("noise") == "sampled",
        tell=click.echo,
        **where_of(workers, scheduler),
        **options,
    )
    if isinstance(made, translator.Translations):
        _say_files(made, out)
    else:
        _say_store(made, out, there)


def _say_store(made, out: Path, there: bool) -> None:
    """Say what became of a store."""
    if there:
        click.echo(f"{out} is complete already.")
    done = int((made.manifest()["status"] == "done").sum())
    click.echo(
        f"{done} of {len(made)} objects translated to {made.survey['title']}, {made.size}×{made.size} pixels of "
        f"{made.pixel_scale:g} arcsec; {out / 'manifest.ecsv'} says what became of the others\n"
        f"Synthetic: {made.synthetic}\nWrote {made.path}"
    )


def _say_files(made, out: Path) -> None:
    """Say what became of files; the error of one that could not be translated ends the command."""
    kept, wanted = len(made.kept), made.wanted
    if kept:
        click.echo(f"{kept} of {wanted} were translated before, from the same and alike")
    for note in made.notes:
        click.echo(f"Note: {note}", err=True)
    new = len(made.paths) - kept
    if new:
        click.echo(f"{new} of {wanted - kept} files translated to {made.survey} in {out}; {out / TABLE} says how")
    for error in made.errors[:-1]:
        click.echo(f"Error: {error}", err=True)
    if made.errors:
        raise made.errors[-1]
