"""`galtrans demo`: all steps on a small simulated sky, by the commands that a user would type."""

import json
import os
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

import click

from cli.options import overwrite_option, seed_option, verbose_option, workers_option
from survey_tools.version import VERSION

MARKER = "demo.json"  # states what the demo of a folder was begun with
HELD_OUT = 40  # pairs kept from training, to be translated
WIDTH, BATCH = 32, 4  # channels of the networks, and images of an iteration
RATIOS = {  # shown at the end: a measure of the report, and the function that turns it into a ratio
    "flux ": ("aperture_offset", lambda magnitudes: 10 ** (-0.4 * magnitudes)),
    "noise": ("noise_amplitude", lambda dex: 10**dex),
}


@dataclass(frozen=True)
class DemoSize:
    """The amount of work in a demo.

    Attributes
    ----------
    bands : str
        Bands of the sky.
    iterations : str
        Training iterations of each step. The default takes two minutes on two cores.
    judged : int
        Held-out pairs in the report.
    draws : int
        Draws of each of them.
    """

    bands: str = "ugriz"
    iterations: str = "200,340,40"
    judged: int = 20
    draws: int = 4


FULL = DemoSize()


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
    """Run all steps on a simulated sky, offline and on a CPU, in a few minutes.

    The demo writes a small sky as the files of both archives. From there it does what you would do with real files:
    it fetches both surveys, cross-matches and regrids them, trains the recipe `psf_matched` with narrow networks and
    few iterations, translates galaxies that the training never saw in both directions, and measures how good the
    translations are. The result is OUT/report/report.html. After an interruption, the same command resumes.

    \b
    Example:
      galtrans demo --out galtrans-demo
    """
    run_demo(out, workers, seed, overwrite=overwrite)


def run_demo(out: Path, workers: int = 1, seed: int = 0, *, overwrite: bool = False, size: DemoSize = FULL) -> None:
    """Run every command of the demo, and say what lies where.

    Parameters
    ----------
    out : Path
        Folder to make.
    workers : int
        Processes.
    seed : int
        Seed of everything random.
    overwrite : bool
        Whether to replace a demo of other settings.
    size : DemoSize
        The amount of work.
    """
    _begin(out, {"seed": seed, "version": VERSION}, overwrite)
    _prepare(out, workers, seed, size)
    _train(out, seed, size)
    _translate(out, seed)
    _report(out, seed, workers, size)
    _show(out)


def _begin(out: Path, settings: dict, overwrite: bool) -> None:
    """Make the folder, or accept one that a demo with the same settings has begun."""
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


def _prepare(out: Path, workers: int, seed: int, size: DemoSize) -> None:
    """Simulate, fetch both surveys, cross-match, regrid."""
    sky, parallel = out / "sky", ("--workers", workers)
    bands = () if size.bands == FULL.bands else ("--bands", size.bands)
    _run("simulate", "--out", sky, "--seed", seed, *parallel, *bands)
    _run(
        "fetch", "sdss", "--catalogue", sky / "catalogue.ecsv", "--mirror", sky,
        "--out", out / "sdss.zarr", *parallel, *bands,
    )  # fmt: skip
    _run(
        "fetch", "cfht", "--catalogue", sky / "catalogue_cfht.ecsv", "--mirror", sky / "cfht",
        "--out", out / "cfht.zarr", *parallel, *bands,
    )  # fmt: skip
    pairs = ("--out", out / "pairs.ecsv", "--test-size", HELD_OUT, "--seed", seed)
    if not (out / "pairs.ecsv").exists():
        _run("crossmatch", out / "sdss.zarr", out / "cfht.zarr", *pairs)
    _run("regrid", out / "cfht.zarr", "--like", out / "sdss.zarr", "--out", out / "cfht64.zarr", *parallel)


def _train(out: Path, seed: int, size: DemoSize) -> None:
    """Train the recipe `psf_matched`, narrow and short."""
    stores = out / "sdss.zarr", out / "cfht.zarr", out / "pairs.ecsv"
    short = "--width", WIDTH, "--batch-size", BATCH, "--iterations", size.iterations
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


def _report(out: Path, seed: int, workers: int, size: DemoSize) -> None:
    """Compare translations of held-out galaxies with the other survey's images and with the truth."""
    inputs = out / "run", out / "sdss.zarr", out / "cfht.zarr", out / "pairs.ecsv", "--truth", out / "sky" / "truth"
    how = "--galaxies", size.judged, "--draws", size.draws, "--seed", seed, "--workers", workers
    import translator  # loads torch with the first name that is asked for

    there = [(out / "report" / name).exists() for name in translator.REPORT_FILES]
    if not all(there):  # an interruption may have left a part of a report
        _run("evaluate", *inputs, "--out", out / "report", *how, *(("--overwrite",) if any(there) else ()))


def _show(out: Path) -> None:
    """Print how bright and how noisy the translations are, and where everything is."""
    click.echo("\nHeld-out galaxies, median of translated / truth (flux) and translated / real image (noise):")
    for line in _ratios(json.loads((out / "report" / "report.json").read_text())):
        click.echo(f"  {line}")
    click.echo(f"""
Open {out}/report/report.html first: pictures of galaxies, and every measure of how good they are.
Everything is in {out}:
  report/               the report card: report.html, and the same for programs
  sky/                  the simulated archives: SDSS frames, CFHTLS stacks, catalogues; sky/truth without noise
  sdss.zarr cfht.zarr   the cutouts; try: galtrans info {out}/sdss.zarr
  cfht64.zarr           the CFHTLS cutouts regridded to SDSS pixels
  pairs.ecsv            the cross-match, with its training and test split
  run/                  the trained model; try: tensorboard --logdir {out}/run
  translated/           FITS files to open in DS9 or with astropy

Try next: train it in full on more galaxies (an hour on two cores), or train the model of the paper (a GPU helps):
  galtrans simulate --galaxies 2000 --out sky
  galtrans crossmatch sky/sdss.zarr sky/cfht.zarr --out sky/pairs.ecsv --test-size 100
  galtrans train sky/sdss.zarr sky/cfht.zarr sky/pairs.ecsv --recipe psf_matched --run runs/psf_matched
  galtrans train sky/sdss.zarr sky/cfht.zarr sky/pairs.ecsv --recipe two_step --run runs/two_step""")


def _ratios(report: dict) -> list[str]:
    """One line for each direction and ratio, band by band; a dash stands for a missing value."""
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
    """Print a command as a user would type it, and run it."""
    from cli.main import galtrans

    words = [str(argument) for argument in arguments]
    shown = words if len(words) < 20 else [*words[:2], "…", *words[-6:]]
    click.secho(f"\n$ galtrans {shlex.join(shown).replace(shlex.quote('…'), '…')}", bold=True)
    try:
        galtrans.main(words, prog_name="galtrans", standalone_mode=False)
    except click.Abort:
        raise KeyboardInterrupt from None  # the advice must be about the demo, and not about this command
    except OSError as error:
        error.__notes__ = []
        raise
