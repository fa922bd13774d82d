"""`galtrans simulate`: a sky that both surveys see, as archive files or as stores."""

import shlex
from pathlib import Path

import click
from click.core import ParameterSource

from cli.options import bands_option, overwrite_option, seed_option, verbose_option, workers_option
from survey_tools.errors import GaltransError

DEFAULT = ParameterSource.DEFAULT


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
@click.option(
    "--galaxies",
    type=click.IntRange(min=1),
    help="Write stores of this many objects a survey instead of archive files.",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1),
    help="With --galaxies: share of each survey's objects that the other one sees too.  [default: 0.5]",
)
@click.option(
    "--benchmark",
    type=click.Choice(["twin-v1", "twin-v1-small"]),
    help="Write a fixed set of stores, pairs and truth to measure recipes on; the small one is a tenth.",
)
@bands_option
@workers_option
@seed_option
@overwrite_option
@verbose_option
@click.pass_context
def simulate(
    ctx: click.Context,
    out: Path,
    galaxies: int | None,
    overlap: float | None,
    benchmark: str | None,
    bands: str,
    workers: int,
    seed: int,
    overwrite: bool,
) -> None:
    """Make one sky and show it to both surveys: the same galaxies and stars, each survey's own seeing and noise.

    Without --galaxies it is written as the archives' own files (SDSS frames, CFHTLS stacks), with a catalogue for each
    survey, for `galtrans fetch`. With --galaxies N objects are rendered straight into stores. Either way the same
    images without noise go to OUT/truth. The same seed gives the same sky, however many workers draw it.

    With --benchmark the stores are a set that is the same for everyone: unpaired objects of both surveys, pairs to
    train and to test, and the test pairs without noise. After an interruption the same command goes on.

    \b
    Example:
      galtrans simulate --out sky
      galtrans simulate --galaxies 2000 --out twins --seed 1
      galtrans simulate --benchmark twin-v1-small --out bench
    """
    _check_fixed(ctx, benchmark)
    if overlap is not None and galaxies is None:
        raise click.UsageError("--overlap goes with --galaxies; the archive files have their own")
    try:
        from survey_tools.twin_sky.benchmark import simulate_benchmark
        from survey_tools.twin_sky.simulate import MARKER, simulate_archive, simulate_stores
    except ModuleNotFoundError as error:
        if error.name != "galsim":
            raise
        raise GaltransError('the sky is drawn by GalSim, which is missing: pip install "galtrans[sim]"') from error

    there = (out / MARKER).exists() and not overwrite  # and made from the same, or the call below refuses
    settings = {"bands": bands, "seed": seed, "workers": workers, "overwrite": overwrite}
    if benchmark:
        written = simulate_benchmark(out, benchmark, workers=workers, overwrite=overwrite)
        next_commands = _after_benchmark(out)
    elif galaxies is None:
        written, next_commands = simulate_archive(out, **settings), _after_archive(out, bands)
    else:
        settings["overlap"] = 0.5 if overlap is None else overlap
        written, next_commands = simulate_stores(out, galaxies, **settings), _after_stores(out)
    click.echo(f"{out} is complete already." if there else f"Wrote {', '.join(str(path) for path in written)}")
    click.echo("Next:")
    for command in next_commands:
        click.echo(f"  galtrans {command}")


def _check_fixed(ctx: click.Context, benchmark: str | None) -> None:
    """Refuse options that say what is in a sky, where a benchmark does."""
    given = [name for name in ("galaxies", "overlap", "bands", "seed") if ctx.get_parameter_source(name) != DEFAULT]
    if benchmark and given:
        raise click.UsageError(f"--{given[0]} does not go with --benchmark, which is the same for everyone")


def _after_archive(out: Path, bands: str) -> list[str]:
    """What to run on archive files."""
    some = "" if bands == "ugriz" else f" --bands {bands}"
    sdss, cfht = _quoted(out / "catalogue.ecsv"), _quoted(out / "catalogue_cfht.ecsv")
    return [
        f"fetch sdss --catalogue {sdss} --mirror {_quoted(out)} --out sdss.zarr{some}",
        f"fetch cfht --catalogue {cfht} --mirror {_quoted(out / 'cfht')} --out cfht.zarr{some}",
        "crossmatch sdss.zarr cfht.zarr --out pairs.ecsv --test-size 40",
    ]


def _after_stores(out: Path) -> list[str]:
    """What to run on stores."""
    stores = f"{_quoted(out / 'sdss.zarr')} {_quoted(out / 'cfht.zarr')}"
    pairs = _quoted(out / "pairs.ecsv")
    return [
        f"crossmatch {stores} --out {pairs}",
        f"train {stores} {pairs} --recipe two_step --run {_quoted(out / 'run')}",
    ]


def _after_benchmark(out: Path) -> list[str]:
    """What to run on a benchmark sky."""
    stores, pairs = f"{_quoted(out / 'sdss.zarr')} {_quoted(out / 'cfht.zarr')}", _quoted(out / "pairs.ecsv")
    run, truth = _quoted(out / "run"), _quoted(out / "truth")
    return [
        f"train {stores} {pairs} --recipe two_step --run {run}",
        f"evaluate {run} {stores} {pairs} --truth {truth} --out {_quoted(out / 'report')}",
    ]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
