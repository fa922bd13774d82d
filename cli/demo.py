"""`galtrans demo`: the whole way on a small simulated sky, by the very commands that a user would type."""

import json
import os
import shlex
import shutil
from pathlib import Path

import click

from cli.evaluate import FILES
from cli.options import overwrite_option, seed_option, verbose_option, workers_option
from survey_tools.version import VERSION

MARKER = "demo.json"  # of a folder: what its demo was begun with
HELD_OUT = 40  # pairs kept from training, to be translated
JUDGED = 20, 4  # of which are in the report, and how often those are translated with other noise: the rest is patience
WIDTH, BATCH, ITERATIONS = 32, 4, "200,340,40"  # of networks and steps: what two cores do in two minutes
RATIOS = {  # at the end: measure of the report, and what makes a ratio of it
    "flux ": ("aperture_offset", lambda magnitudes: 10 ** (-0.4 * magnitudes)),
    "noise": ("noise_amplitude", lambda dex: 10**dex),
}


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
    ones: fetch both surveys, cross-match, regrid, train (the recipe `psf_matched`, narrow and short), translate
    galaxies that training never saw, both ways, and say how good they are: OUT/report/report.html. After an
    interruption the same command goes on.

    \b
    Example:
      galtrans demo --out galtrans-demo
    """
    _begin(out, {"seed": seed, "version": VERSION}, overwrite)
    _prepare(out, workers, seed)
    _train(out, seed)
    _translate(out, seed)
    _report(out, seed, workers)
    _show(out)


def _begin(out: Path, settings: dict, overwrite: bool) -> None:
    """Make the folder, or find in it what a demo of the same settings has left."""
    marker = out / MARKER
    if out.exists() and any(out.iterdir()):
        same = marker.exists() and json.loads(marker.read_text()) == settings
        if same and not overwrite:
            return
        if not overwrite:
            raise click.UsageError(f"{out} exists already; choose another --out or pass --overwrite")
        if not marker.exists() and not (out / "sky").is_dir():
            raise click.UsageError(
                f"{out} was not made by `galtrans demo`, so it is not replaced; choose another --out"
            )
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    temporary = marker.with_suffix(".new")
    temporary.write_text(json.dumps(settings))
    os.replace(temporary, marker)


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
    if not (out / "pairs.ecsv").exists():
        _run("crossmatch", out / "sdss.zarr", out / "cfht.zarr", *pairs)
    _run("regrid", out / "cfht.zarr", "--like", out / "sdss.zarr", "--out", out / "cfht64.zarr", *parallel)


def _train(out: Path, seed: int) -> None:
    """Train the recipe `psf_matched`, narrow and short."""
    stores = out / "sdss.zarr", out / "cfht.zarr", out / "pairs.ecsv"
    short = "--width", WIDTH, "--batch-size", BATCH, "--iterations", ITERATIONS
    go_on = ("--resume",) if (out / "run" / "run.json").exists() else ()
    _run("train", *stores, "--recipe", "psf_matched", *short, "--run", out / "run", "--seed", seed, *go_on)


def _translate(out: Path, seed: int) -> None:
    """Write the held-out galaxies as FITS and translate them both ways."""
    from astropy.table import Table

    pairs = Table.read(out / "pairs.ecsv")
    test = pairs[pairs["split"] == "test"]
    rows = {"sdss": test["x_row"], "cfht": test["y_row"]}
    for survey, target in (("sdss", "cfht"), ("cfht", "sdss")):
        wanted = ",".join(str(row) for row in rows[survey])
        _run("export", out / f"{survey}.zarr", "--rows", wanted, "--out", out / "fits" / survey)
        files = sorted((out / "fits" / survey).glob("*.fits"))
        _run("translate", out / "run", *files, "--to", target, "--out", out / "translated" / target, "--seed", seed)


def _report(out: Path, seed: int, workers: int) -> None:
    """Hold translations of held-out galaxies against the other survey's images and the truth."""
    inputs = out / "run", out / "sdss.zarr", out / "cfht.zarr", out / "pairs.ecsv", "--truth", out / "sky" / "truth"
    galaxies, draws = JUDGED
    how = "--galaxies", galaxies, "--draws", draws, "--seed", seed, "--workers", workers
    there = [(out / "report" / name).exists() for name in FILES]
    if not all(there):  # a part of a report is what an interruption has left
        _run("evaluate", *inputs, "--out", out / "report", *how, *(("--overwrite",) if any(there) else ()))


def _show(out: Path) -> None:
    """Say how bright and how noisy translations are, and what lies where."""
    click.echo("\nHeld-out galaxies, median of translated / truth (flux) and translated / real image (noise):")
    for line in _ratios(json.loads((out / "report" / "report.json").read_text())):
        click.echo(f"  {line}")
    click.echo(f"""
Open {out}/report/report.html first: pictures of galaxies, and every measure of how good they are.
Everything lies in {out}:
  report/               the report card: report.html, and the same for programs
  sky/                  the simulated archives: SDSS frames, CFHTLS stacks, catalogues; sky/truth without noise
  sdss.zarr cfht.zarr   the cutouts; try: galtrans info {out}/sdss.zarr
  cfht64.zarr           the CFHTLS cutouts regridded to SDSS pixels
  pairs.ecsv            the cross-match, with its training and test split
  run/                  the trained model; try: tensorboard --logdir {out}/run
  translated/           FITS files to open in DS9 or with astropy

Try next: train it in full on more galaxies (an hour on two cores), or the paper's model (a GPU helps):
  galtrans simulate --galaxies 2000 --out sky
  galtrans crossmatch sky/sdss.zarr sky/cfht.zarr --out sky/pairs.ecsv --test-size 100
  galtrans train sky/sdss.zarr sky/cfht.zarr sky/pairs.ecsv --recipe psf_matched --run runs/psf_matched
  galtrans train sky/sdss.zarr sky/cfht.zarr sky/pairs.ecsv --recipe two_step --run runs/two_step""")


def _ratios(report: dict) -> list[str]:
    """A line a direction and ratio, band by band; a dash where the report has no value."""
    lines = []
    for each in report["directions"].values():
        heading = f"{each['from']} to {each['to']}"
        for word, (measure, ratio) in RATIOS.items():
            values = each["values"][measure]["run"]["value"]
            shown = ["   –" if value is None else f"{ratio(value):4.2f}" for value in values]
            cells = [f"{band} {value}" for band, value in zip(each["bands"], shown, strict=True)]
            lines.append(f"{heading:15} {word}  {'  '.join(cells)}")
    return lines


def _run(*arguments: object) -> None:
    """Show a command as a user would type it, and run it."""
    from cli.main import galtrans

    words = [str(argument) for argument in arguments]
    shown = words if len(words) < 20 else [*words[:2], "…", *words[-6:]]
    click.secho(f"\n$ galtrans {shlex.join(shown).replace(shlex.quote('…'), '…')}", bold=True)
    try:
        galtrans.main(words, prog_name="galtrans", standalone_mode=False)
    except click.Abort:
        raise KeyboardInterrupt from None  # it is the demo that goes on, without what the command says of itself
    except OSError as error:
        error.__notes__ = []
        raise
