"""`galtrans simulate`: a sky that several surveys see, as archive files or as stores."""

import shlex
from pathlib import Path

import click

import survey_tools
from cli.options import bands_option, overwrite_option, survey_file_option, verbose_option, workers_option


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder to write to.")
@click.option(
    "--surveys",
    help="Surveys that see the sky, with commas: two or more of those that `galtrans surveys` lists.",
    show_default="sdss,cfht",
)
@click.option(
    "--galaxies",
    type=click.IntRange(min=1),
    help="Write stores with this many objects of each survey instead of archive files.",
)
@click.option(
    "--overlap",
    type=click.FloatRange(0, 1),
    help="With --galaxies: share of each survey's objects that the other surveys see as well.  [default: 0.5]",
)
@click.option(
    "--benchmark",
    type=click.Choice(["twin-v1", "twin-v1-small"]),
    help="Write a fixed set of stores, pairs and truth, on which recipes are compared. The small set has a tenth of "
    "the objects.",
)
@bands_option
@workers_option
@click.option("--seed", type=click.IntRange(min=0), show_default="0", help="Random seed.")
@overwrite_option
@survey_file_option
@verbose_option
def simulate(
    out: Path,
    surveys: str | None,
    galaxies: int | None,
    overlap: float | None,
    benchmark: str | None,
    bands: str | None,
    workers: int,
    seed: int | None,
    overwrite: bool,
) -> None:
    """Simulate a sky as several surveys see it: the same galaxies and stars, with each survey's seeing and noise.

    Without --galaxies, the sky is written as the files of the archives (frames, stacks, coadds) with a catalogue
    for each survey, so that `galtrans fetch` can read them. With --galaxies N, objects are drawn directly into stores.
    In both cases, the same images without noise are written to OUT/truth. The same seed gives the same sky for any
    number of workers.

    With --benchmark, the stores are a fixed set that is the same for everyone: unpaired objects of both surveys, pairs
    to train on and to test on, and the test pairs without noise. Two --surveys see the same sky; only what SDSS and
    CFHTLS see of it is compared with a record. After an interruption, the same command resumes.

    \b
    Example:
      galtrans simulate --out sky
      galtrans simulate --galaxies 2000 --out twins --seed 1
      galtrans simulate --surveys des,hsc --galaxies 2000 --out twins
      galtrans simulate --benchmark twin-v1-small --out bench
    """
    there = (out / "simulation.json").exists() and not overwrite  # and made from the same, or the call below refuses
    written = survey_tools.simulate(
        out,
        surveys=surveys,
        galaxies=galaxies,
        overlap=overlap,
        benchmark=benchmark,
        bands=bands,
        seed=seed,
        workers=workers,
        overwrite=overwrite,
    )
    if benchmark:
        next_commands = _after_benchmark(written)
    else:
        next_commands = _after_archive(out, written, bands) if galaxies is None else _after_stores(written)
    click.echo(f"{out} is complete already." if there else f"Wrote {', '.join(str(path) for path in written)}")
    click.echo("Next:")
    for command in next_commands:
        click.echo(f"  galtrans {command}")


def _recipe(names: list[str]) -> str:
    """The recipe to begin with: the paper's networks fit the pixels of its own pair."""
    return "two_step" if names == ["sdss", "cfht"] else "psf_matched"


def _after_archive(out: Path, written: list[Path], bands: str | None) -> list[str]:
    """What to run on archive files."""
    some = f" --bands {bands}" if bands else ""
    files = written[: written.index(out / "truth")]  # of each survey, in the order of the catalogues
    names = ["sdss" if path.name == "sas" else path.name for path in files]
    fetches = [
        f"fetch {name} --catalogue {_quoted(catalogue)} --mirror {_quoted(out if name == 'sdss' else path)}"
        f" --out {name}.zarr{some}"
        for name, path, catalogue in zip(names, files, written[len(files) + 1 :], strict=True)
    ]
    return [*fetches, f"crossmatch {names[0]}.zarr {names[1]}.zarr --out pairs.ecsv --test-size 40"]


def _after_stores(written: list[Path]) -> list[str]:
    """What to run on stores."""
    stores, out = " ".join(map(_quoted, written[:2])), written[0].parent
    pairs = _quoted(out / "pairs.ecsv")
    return [
        f"crossmatch {stores} --out {pairs}",
        f"train {stores} {pairs} --recipe {_recipe([path.stem for path in written[:2]])} --run {_quoted(out / 'run')}",
    ]


def _after_benchmark(written: list[Path]) -> list[str]:
    """What to run on a benchmark sky."""
    both, out = [path for path in written if path.suffix == ".zarr"], written[0].parent
    stores, recipe = " ".join(map(_quoted, both)), _recipe([path.stem for path in both])
    run, truth, pairs = _quoted(out / "run"), _quoted(out / "truth"), _quoted(out / "pairs.ecsv")
    return [
        f"train {stores} {pairs} --recipe {recipe} --run {run}",
        f"evaluate {run} {stores} {pairs} --truth {truth} --out {_quoted(out / 'report')}",
    ]


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
