"""`galtrans demo`: the whole way on a small simulated sky, by the very commands that a user would type."""

import shlex
import shutil
from pathlib import Path

import click

from cli.options import overwrite_option, seed_option, verbose_option, workers_option

HELD_OUT = 40  # pairs kept from training, to be translated
SHOWN = 4, 3  # galaxies on the page, SDSS to CFHT and back


@click.command()
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), default=Path("galtrans-demo"), show_default=True,
    help="Folder to make.",
)  # fmt: skip
@workers_option
@seed_option
@overwrite_option
@verbose_option
def demo(out: Path, workers: int, seed: int, overwrite: bool) -> None:
    """Go the whole way on a simulated sky, offline and on a CPU, in a few minutes.

    A small sky is written as both archives' own files; from there on everything is what you would do with real
    ones: fetch both surveys, cross-match, regrid, train (the narrow and short recipe `demo`), translate galaxies
    that training never saw, both ways, and look at them: OUT/demo.png.

    \b
    Example:
      galtrans demo --out galtrans-demo
    """
    if out.exists():
        if not overwrite:
            raise click.UsageError(f"{out} exists already; choose another --out or pass --overwrite")
        if not (out / "sky").is_dir() and any(out.iterdir()):
            raise click.UsageError(
                f"{out} was not made by `galtrans demo`, so it is not replaced; choose another --out"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True)
    _prepare(out, workers, seed)
    _train(out, seed)
    held_out = _translate(out, seed)
    _fetch_truth(out, held_out, workers)
    _show(out, held_out)


def _prepare(out: Path, workers: int, seed: int) -> None:
    """Simulate, fetch both surveys, cross-match, regrid."""
    sky, parallel = out / "sky", ("--workers", workers)
    _run("simulate", "--out", sky, "--seed", seed, *parallel)
    _run("fetch", "sdss", "--catalogue", sky / "catalogue.ecsv", "--mirror", sky, "--out", out / "sdss.zarr", *parallel)
    _run(
        "fetch", "cfht", "--catalogue", sky / "catalogue_cfht.ecsv", "--mirror", sky / "cfht",
        "--out", out / "cfht.zarr", *parallel,
    )  # fmt: skip
    pairs = ("--out", out / "pairs.ecsv", "--test-size", HELD_OUT, "--seed", seed)
    _run("crossmatch", out / "sdss.zarr", out / "cfht.zarr", *pairs)
    _run("regrid", out / "cfht.zarr", "--like", out / "sdss.zarr", "--out", out / "cfht64.zarr", *parallel)


def _train(out: Path, seed: int) -> None:
    """Train the recipe `demo`."""
    stores = out / "sdss.zarr", out / "cfht.zarr", out / "pairs.ecsv"
    _run("train", *stores, "--recipe", "demo", "--run", out / "run", "--seed", seed)


def _translate(out: Path, seed: int):
    """Write the held-out galaxies as FITS and translate them both ways; returns their rows of the pair table."""
    from translator.demo_page import held_out_pairs

    held_out = held_out_pairs(out)
    for survey, rows, target in (("sdss", "x_row", "cfht"), ("cfht", "y_row", "sdss")):
        wanted = ",".join(str(row) for row in held_out[rows])
        _run("export", out / f"{survey}.zarr", "--rows", wanted, "--out", out / "fits" / survey)
        files = sorted((out / "fits" / survey).glob("*.fits"))
        _run("translate", out / "run", *files, "--to", target, "--out", out / "translated" / target, "--seed", seed)
    return held_out


def _fetch_truth(out: Path, held_out, workers: int) -> None:
    """Fetch the held-out galaxies from the noise-free sky, which is laid out as the archives are."""
    from survey_tools.catalogue import read_catalogue

    for survey, rows, name in (("sdss", "x_row", "catalogue"), ("cfht", "y_row", "catalogue_cfht")):
        listed = read_catalogue(out / "sky" / f"{name}.ecsv")[held_out[rows]]
        listed.write(out / f"held_out_{survey}.ecsv")
        mirror = out / "sky" / "truth" / ("" if survey == "sdss" else "cfht")
        catalogue = "--catalogue", out / f"held_out_{survey}.ecsv"
        _run(
            "fetch", survey, *catalogue, "--mirror", mirror, "--out", out / f"truth_{survey}.zarr", "--workers", workers
        )


def _show(out: Path, held_out) -> None:
    """Draw the page and say what lies where."""
    from translator.demo_page import draw_demo_page

    figures = draw_demo_page(out, held_out, SHOWN)
    click.echo("\nHeld-out galaxies, median of translated / target:")
    for line in figures:
        click.echo(f"  {line}")
    click.echo(f"""
Everything lies in {out}:
  demo.png              original, translated, target and noise-free truth; look at this first
  sky/                  the simulated archives: SDSS frames, CFHTLS stacks, catalogues; sky/truth without noise
  sdss.zarr cfht.zarr   the cutouts; try: galtrans info {out}/sdss.zarr
  cfht64.zarr           the CFHTLS cutouts regridded to SDSS pixels
  pairs.ecsv            the cross-match, with its training and test split
  run/                  the trained model; try: tensorboard --logdir {out}/run
  translated/           FITS files to open in DS9 or with astropy

Try next: train the paper's model itself on more galaxies (a GPU helps):
  galtrans simulate --galaxies 2000 --out sky
  galtrans crossmatch sky/sdss.zarr sky/cfht.zarr --out sky/pairs.ecsv --test-size 100
  galtrans train sky/sdss.zarr sky/cfht.zarr sky/pairs.ecsv --recipe two_step --run runs/two_step""")


def _run(*arguments: object) -> None:
    """Show a command as a user would type it, and run it."""
    from cli.main import galtrans

    words = [str(argument) for argument in arguments]
    shown = words if len(words) < 20 else [*words[:2], "…", *words[-6:]]
    click.secho(f"\n$ galtrans {shlex.join(shown).replace(shlex.quote('…'), '…')}", bold=True)
    galtrans.main(words, prog_name="galtrans", standalone_mode=False)
