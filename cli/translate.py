"""`galtrans translate`: translate FITS files into FITS files, or a store into a store."""

from pathlib import Path

import click

from cli.options import (
    StorePath,
    device_option,
    finite,
    overwrite_option,
    run_argument,
    scheduler_option,
    seed_option,
    survey_file_option,
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
@click.argument("files", metavar="FILES… | IN.zarr", nargs=-1, type=StorePath(exists=True, path_type=Path))
@click.option("--to", "target", help="Survey to translate into, such as cfht. It is needed with FILES.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder for the results, or OUT.zarr.",
)
@click.option(
    "--files-from", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Text file that names more FILES, one on each line.",
)  # fmt: skip
@click.option("--at", type=(float, float), metavar="RA DEC", help="Translate only the part around this position [deg].")
@click.option(
    "--size",
    type=click.FloatRange(min=1),
    callback=finite("size"),
    help="Side of that part [arcsec]. The default is 25.",
)
@click.option(
    "--seeing",
    callback=_numbers,
    metavar="ARCSEC",
    help="Seeing of the translation (FWHM of stars): one number, or one for each band.",
)
@click.option(
    "--depth",
    help="Noise of the translation: 25.2mag (5 sigma within 2 arcsec), or 0.002nanomaggy per pixel.",
)
@click.option(
    "--like", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="FITS file whose grid, seeing and depth the translation gets.",
)  # fmt: skip
@click.option(
    "--draws",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    help="Number of random draws to write beside the best guess.",
)
@click.option(
    "--planes", is_flag=True, help="Write SIGNAL, SIGMA and MASK beside each band, or such arrays of a store."
)
@click.option(
    "--noise",
    type=click.Choice(["sampled", "none"]),
    default="sampled",
    show_default=True,
    help="Whether to add noise.",
)
@unit_option
@zero_point_option
@click.option(
    "--force", is_flag=True, help="Also translate inputs that say that they are of another survey or synthetic."
)
@click.option("--preview", is_flag=True, help="Write a PNG of input, translation and uncertainty beside each file.")
@device_option
@click.option(
    "--precision",
    type=click.Choice(["float32", "bf16", "auto"]),
    default="float32",
    show_default=True,
    help="Precision in which networks multiply. auto is bf16 where the device is clearly faster with it.",
)
@workers_option
@scheduler_option
@seed_option
@overwrite_option
@survey_file_option
@verbose_option
def translate(run: Path, files: tuple[Path, ...], out: Path, **options) -> None:
    """Translate FITS images, or a whole store, with a trained model.

    RUN is the folder of a training, or the name of a model that comes with galtrans (`galtrans models` lists them).

    Each of FILES has one image HDU for each band, named by EXTNAME or FILTER, or a (band, row, col) cube. It needs a
    WCS and a calibration. Files of single bands whose names differ only in the letter of the band (m51-g.fits,
    m51-r.fits) are one object. A folder stands for the FITS files in it. If the model can read such images, they may
    have any size, missing bands and gaps. Each result shows the same sky at the pixel scale of the survey given by
    --to, and has SYNTH = T in its header, so that nobody takes it for an observation. OUT/translated.ecsv lists the
    translations.

    If a store IN.zarr is given, every row becomes a row of the store given by --out. A row that cannot be translated is
    NaN, and OUT/manifest.ecsv says why. --planes adds the arrays signal and sigma, and --draws K adds draw_1 to draw_K.
    The column consistency says for each row and band whether to trust it. After an interruption, the same command
    resumes.

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
    """Print what became of a store."""
    if there:
        click.echo(f"{out} is complete already.")
    done = int((made.manifest()["status"] == "done").sum())
    click.echo(
        f"{done} of {len(made)} objects translated to {made.survey['title']}, {made.size}×{made.size} pixels of "
        f"{made.pixel_scale:g} arcsec; {out / 'manifest.ecsv'} says what became of the others\n"
        f"Synthetic: {made.synthetic}\nWrote {made.path}"
    )


def _say_files(made, out: Path) -> None:
    """Print what became of files; the error of one that could not be translated ends the command."""
    kept, wanted = len(made.kept), made.wanted
    if kept:
        click.echo(f"{kept} of {wanted} were translated before with the same settings, and are kept")
    for note in made.notes:
        click.echo(f"Note: {note}", err=True)
    new = len(made.paths) - kept
    if new:
        click.echo(f"{new} of {wanted - kept} files translated to {made.survey} in {out}; {out / TABLE} says how")
    for error in made.errors[:-1]:
        click.echo(f"Error: {error}", err=True)
    if made.errors:
        raise made.errors[-1]
