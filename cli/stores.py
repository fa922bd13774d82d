"""`galtrans verify`, `info` and `export`: what is in a store, whether it is sound, and FITS files out of it."""

import re
from pathlib import Path

import click

from cli.options import EXISTING_STORE, NEW_PATH, overwrite_option, verbose_option, workers_option

SHOWN = 20  # lines about what is wrong
A_SLICE = re.compile(r"\s*(\d+)?\s*(?:(:)\s*(\d+)?\s*)?")


@click.command()
@click.argument("store", type=EXISTING_STORE)
@workers_option
@verbose_option
def verify(store: Path, workers: int) -> None:
    """Check STORE: every file against its checksum, every pixel against the columns and the manifest.

    \b
    Example:
      galtrans verify sdss.zarr
    """
    from survey_tools.errors import StoreError
    from survey_tools.store.verify import verify as check
    from survey_tools.store.zarr_store import open_store
    from survey_tools.tasks import Engine

    wrong = check(store, Engine(workers))
    for line in wrong[:SHOWN]:
        click.echo(line)
    if len(wrong) > SHOWN:
        click.echo(f"and {len(wrong) - SHOWN:,} more")
    if wrong:
        raise StoreError(f"{store} is damaged in {len(wrong)} places; make it again, or take it from a copy")
    click.echo(f"{store} is sound: {len(open_store(store)):,} objects.")


@click.command()
@click.argument("store", type=NEW_PATH)
@verbose_option
def info(store: Path) -> None:
    """Say what STORE holds: objects, sky, noise, seeing, size, and what it was made from.

    Of a store that is being made, or that an interrupted command has left, it says how far it is. STORE may also be the
    folder of a training, or the name of a model that comes with galtrans.

    \b
    Examples:
      galtrans info sdss.zarr
      galtrans info runs/two_step
    """
    from survey_tools.store.summary import summarise, summarise_begun
    from survey_tools.store.zarr_store import open_store

    run = _run_of(store)
    if run is not None:
        from translator.runs.in_words import summarise_run

        lines = summarise_run(run)
    else:
        lines = summarise(open_store(store)) if store.exists() else summarise_begun(store)
    for label, text in lines:
        click.echo(f"{label:<14}{text}")


def _run_of(path: Path) -> Path | None:
    """The folder of the run that is meant; None where it is none."""
    if path.exists() or path.with_name(f"{path.name}.part").exists():
        return path if (path / "run.json").is_file() else None
    from translator.runs.built_in import find_model

    return find_model(str(path))


@click.command()
@click.argument("store", type=NEW_PATH)
@click.option("--rows", "wanted", required=True, help="Rows, counted from 0: 0:10, or 3, or 0:10,25,40: and so on.")
@click.option("--out", type=NEW_PATH, required=True, help="Folder for the files.")
@click.option("--preview", is_flag=True, help="Write a PNG beside each file.")
@overwrite_option
@verbose_option
def export(store: Path, wanted: str, out: Path, preview: bool, overwrite: bool) -> None:
    """Write rows of STORE as FITS files: an image HDU a band in nanomaggies, with WCS, and its mask.

    Files that are there already, from the same rows of the same store, stay: so an interrupted export is gone on with
    by the same command.

    \b
    Example:
      galtrans export sdss.zarr --rows 0:10 --out sdss_fits
    """
    from survey_tools.fits.export import export_files
    from survey_tools.store.zarr_store import open_store

    opened = open_store(store)
    rows = _parse_rows(wanted, len(opened))
    made = export_files(opened, rows, out, overwrite=overwrite)
    if preview:
        from survey_tools.progress import over
        from translator.translation.preview import write_store_preview

        for path in over(made.paths, "pictures", "file"):
            picture = path.with_suffix(".png")
            if path not in made.kept or not picture.exists():
                write_store_preview(opened, int(path.name.split("_")[0]), picture)
    missing = len(rows) - len(made.paths)
    why = f"; {missing} have no image, {store / 'manifest.ecsv'} says why" if missing else ""
    if made.kept:
        click.echo(f"{len(made.kept)} of {len(rows)} rows were in {out} before, from the same store.")
    click.echo(f"Wrote {len(made.paths) - len(made.kept)} of {len(rows)} rows to {out}{why}.")


def _parse_rows(text: str, count: int) -> list[int]:
    """Rows that a list of numbers and ranges names, each once and in that order; wrong usage where one is not there."""
    rows: list[int] = []
    for part in text.split(","):
        match = A_SLICE.fullmatch(part)
        if not match or not part.strip():
            raise click.BadParameter(
                f"{part!r} is no row; give numbers and ranges such as 0:10,25", param_hint="--rows"
            )
        first, colon, last = match.groups()
        start = int(first or 0)
        stop = int(last) if last else (count if colon else start + 1)
        if start >= count or (not colon and stop > count):
            raise click.BadParameter(f"{part.strip()}: the store has rows 0 to {count - 1}", param_hint="--rows")
        rows += range(start, min(stop, count))
    return list(dict.fromkeys(rows))
