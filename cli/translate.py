"""`galtrans translate`: FITS in, FITS out; or a store in, a store out."""

from pathlib import Path

import click

from cli.options import (
    device_option,
    engine_of,
    overwrite_option,
    scheduler_option,
    seed_option,
    verbose_option,
    workers_option,
)
from survey_tools.surveys import SURVEYS


@click.command()
@click.argument("run", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument(
    "files", metavar="FILES… | IN.zarr", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path)
)
@click.option("--to", "target", type=click.Choice(list(SURVEYS)), help="Survey to translate into; needed with FILES.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results, or OUT.zarr."
)
@click.option(
    "--noise", type=click.Choice(["sampled", "none"]), default="sampled", show_default=True, help="Noise to add."
)
@device_option
@workers_option
@scheduler_option
@seed_option
@overwrite_option
@verbose_option
def translate(run: Path, files: tuple[Path, ...], out: Path, **options) -> None:
    """Translate FITS images, or a whole store, with the trained model in folder RUN.

    Each of FILES has one image HDU a band, named by EXTNAME or FILTER, or a (band, row, col) cube, in nanomaggies
    and with a WCS. Each result has the same centre on the sky, the pixel scale and noise of the survey given by
    --to, and SYNTH = T in its header, so that nobody takes it for an observation.

    Of a store IN.zarr every row becomes a row of the store given by --out; what cannot be translated is NaN, and
    OUT/manifest.ecsv says why. After an interruption the same command goes on.

    \b
    Examples:
      galtrans translate runs/two_step sdss_fits/*.fits --to cfht --out translated
      galtrans translate runs/two_step sdss.zarr --out translated.zarr
    """
    stores = [path for path in files if path.is_dir()]
    if stores and len(files) > 1:
        raise click.UsageError(f"{stores[0]} is a folder: give one store alone, or FITS files alone")
    if not stores and options["target"] is None:
        raise click.UsageError("--to SURVEY is needed with FITS files, which do not say into what to translate them")
    if options["scheduler"]:  # whose workers are at home in other folders
        run, files, out = run.absolute(), [path.absolute() for path in files], out.absolute()
    if stores:
        _translate_store(run, files[0], out, options)
    else:
        _translate_files(run, files, out, options)


def _translate_store(run: Path, store: Path, out: Path, options: dict) -> None:
    """Store to store."""
    from survey_tools.gather import DONE
    from translator.translate_store import translate_store

    there = out.exists() and not options["overwrite"]
    with engine_of(options["workers"], options["scheduler"]) as engine:
        made = translate_store(
            run,
            store,
            out,
            to=options["target"],
            noise=options["noise"] == "sampled",
            seed=options["seed"],
            device=options["device"],
            engine=engine,
            overwrite=options["overwrite"],
        )
    if there:
        click.echo(f"{out} is complete already.")
    done = int((made.manifest()["status"] == DONE).sum())
    click.echo(
        f"{done} of {len(made)} objects translated to {made.survey['title']}, {made.size}×{made.size} pixels of "
        f"{made.pixel_scale:g} arcsec; {out / 'manifest.ecsv'} says what became of the others\n"
        f"Synthetic: {made.synthetic}\nWrote {made.path}"
    )


def _translate_files(run: Path, files: list[Path], out: Path, options: dict) -> None:
    """FITS to FITS; all that can be translated are, before the error of another ends the command."""
    from translator.loaded import locate
    from translator.translate import translate_files

    target = options["target"]
    outputs = {path: out / f"{path.name.split('.fit')[0]}_{target}.fits" for path in files}
    if len(set(outputs.values())) < len(outputs):
        raise click.UsageError(
            "two of the files have the same name, so their results would; translate them into two folders"
        )
    existing = [output for output in outputs.values() if output.exists()]
    if existing and not options["overwrite"]:
        raise click.UsageError(f"{existing[0]} exists already; choose another --out or pass --overwrite")
    at, trained = locate(run, options["device"], elsewhere=bool(options["scheduler"]))
    trained.domain_of(target)
    with engine_of(options["workers"], options["scheduler"]) as engine:
        failed = translate_files(at, target, outputs, engine, noise=options["noise"] == "sampled", seed=options["seed"])
    if len(failed) < len(files):
        click.echo(f"{len(files) - len(failed)} of {len(files)} files translated to {SURVEYS[target].title} in {out}")
    for error in failed[:-1]:
        click.echo(f"Error: {error}", err=True)
    if failed:
        raise failed[-1]
