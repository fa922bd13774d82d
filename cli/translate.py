"""`galtrans translate`: FITS in, FITS out; or a store in, a store out."""

import re
from pathlib import Path

import click

from cli.options import (
    device_option,
    engine_of,
    finite,
    given_by,
    overwrite_option,
    run_argument,
    scheduler_option,
    seed_option,
    unit_option,
    verbose_option,
    workers_option,
    zero_point_option,
)
from survey_tools.surveys import SURVEYS

TABLE = "translated.ecsv"
A_BAND = re.compile(r"(?:^|[-_.])([ugriz])(?=[-_.]|$)")  # a band in the name of a file


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


def _depths(ctx: click.Context, param: click.Parameter, value: str | None):
    """Callback of `--depth`."""
    if value is None:
        return None
    from translator.translation.asking import read_depth  # imports torch, which --help can do without

    try:
        return tuple(read_depth(each) for each in value.split(","))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _place(ctx: click.Context, param: click.Parameter, value: tuple[float, float] | None):
    """Callback of `--at`."""
    if value is not None and not (0 <= value[0] < 360 and -90 <= value[1] <= 90):
        raise click.BadParameter(
            f"{value[0]:g} {value[1]:g}: give right ascension (0 to 360) and declination in degrees"
        )
    return value


@click.command()
@run_argument
@click.argument("files", metavar="FILES… | IN.zarr", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option("--to", "target", type=click.Choice(list(SURVEYS)), help="Survey to translate into; needed with FILES.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the results, or OUT.zarr."
)
@click.option(
    "--files-from", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A text file that names more FILES, one on each line.",
)  # fmt: skip
@click.option(
    "--at", type=(float, float), callback=_place, metavar="RA DEC", help="Translate the part around here [deg]."
)
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
    callback=_depths,
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
    given_by(options["unit"], options["zero_point"])
    if options["size"] is not None and options["at"] is None:
        raise click.UsageError("--size is that of the part around --at RA DEC, which is missing")
    if options["like"] is not None and options["at"] is not None:
        raise click.UsageError("--like takes the grid of another file, and --at makes one: give one of them")
    stores = [path for path in files if path.is_dir() and (_is_store(path) or options["target"] is None)]
    if stores and (len(files) > 1 or options["files_from"]):
        raise click.UsageError(f"{stores[0]} is a store: give one store alone, or FITS files alone")
    if not stores and options["target"] is None:
        raise click.UsageError("--to SURVEY is needed with FITS files, which do not say into what to translate them")
    if options["scheduler"]:  # whose workers are at home in other folders
        run, files, out = run.absolute(), [path.absolute() for path in files], out.absolute()
    if stores:
        _translate_store(run, files[0], out, options)
    else:
        _translate_files(run, _found(files, options["files_from"]), out, options)


def _is_store(path: Path) -> bool:
    return path.suffix == ".zarr" or (path / "zarr.json").exists() or (path / "manifest.ecsv").exists()


def _found(files, listed: Path | None) -> list[Path]:
    """All FITS files that are meant: those named, those in folders, and those of a list."""
    from survey_tools.fits.companions import said_by_name  # imports Astropy, which --help can do without
    from survey_tools.fits.reading import SUFFIXES

    named = list(files)
    if listed is not None:
        lines = (line.strip() for line in listed.read_text().splitlines())
        named += [Path(line) for line in lines if line and not line.startswith("#")]
    found = []
    for path in named:
        if path.is_dir():
            inside = sorted(each for each in path.iterdir() if each.name.lower().endswith(SUFFIXES))
            inside = [each for each in inside if not said_by_name(each.name)]
            if not inside:
                raise click.UsageError(f"{path} is a folder without FITS files")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise click.UsageError(f"{listed} names {path}, which is not there")
    if not found:
        raise click.UsageError("no files to translate: give FILES, a folder of them, or --files-from")
    return list(dict.fromkeys(found))


def _objects(files: list[Path]) -> dict[tuple[Path, ...], str]:
    """The files of each object, and its name: files whose names differ in a band's letter alone belong together."""
    groups: dict[tuple[Path, str], dict[str, list[Path]]] = {}
    for path in files:
        stem = _stem(path)
        match = A_BAND.search(stem)
        key = stem[: match.start()] + stem[match.end() :] if match else stem
        groups.setdefault((path.parent, key), {}).setdefault(match[1] if match else "", []).append(path)
    objects = {}
    for (_, key), bands in groups.items():
        single = all(len(paths) == 1 for paths in bands.values())
        if len(bands) > 1 and single and "" not in bands:
            order = sorted(bands, key="ugriz".index)
            objects[tuple(bands[band][0] for band in order)] = key.strip("-_.") or "object"
        else:
            objects |= {(path,): _stem(path) for paths in bands.values() for path in paths}
    return objects


def _stem(path: Path) -> str:
    """A file's name without the endings of FITS and compression."""
    from survey_tools.fits.reading import SUFFIXES

    name = path.name
    ending = max((each for each in SUFFIXES if name.lower().endswith(each)), key=len, default="")
    return name[: len(name) - len(ending)] or name


def _translate_store(run: Path, store: Path, out: Path, options: dict) -> None:
    """Store to store."""
    from survey_tools.store.manifest import DONE
    from translator.translation.asking import How
    from translator.translation.stores import translate_store

    others = [name for name in NOT_OF_STORES if options[name]]
    if others:
        raise click.UsageError(
            f"--{others[0].replace('_', '-')} is for FITS files; stores take --seeing, --depth, --draws, --planes and "
            "--noise"
        )
    there = out.exists() and not options["overwrite"]
    with engine_of(options["workers"], options["scheduler"]) as engine:
        made = translate_store(
            run,
            store,
            out,
            to=options["target"],
            how=How(options["noise"] == "sampled", **{name: options[name] for name in OF_STORES}),
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
    from translator.runs.checkpoint import locate
    from translator.translation.asking import How
    from translator.translation.files import is_made, translate_files
    from translator.translation.translated import row_of_file

    target, objects = options["target"], _objects(files)
    outputs = {paths: out / f"{name}_{target}.fits" for paths, name in objects.items()}
    if len(set(outputs.values())) < len(outputs):
        raise click.UsageError(
            "two of the files have the same name, so their results would; translate them into two folders"
        )
    like = options["like"].absolute() if options["like"] else None
    named = {name: options[name] for name in HOW}
    how = How(noise=options["noise"] == "sampled", like=like, **named)
    at, trained = locate(run, options["device"], elsewhere=bool(options["scheduler"]))
    trained.domain_of(target)
    existing = {} if options["overwrite"] else {paths: made for paths, made in outputs.items() if made.exists()}
    kept = {paths for paths, made in existing.items() if is_made(trained, paths, made, how)}
    others = [made for paths, made in existing.items() if paths not in kept]
    if others:
        raise click.UsageError(
            f"{others[0]} exists already and was made from something else; choose another --out or pass --overwrite"
        )
    todo = {paths: made for paths, made in outputs.items() if paths not in kept}
    with engine_of(options["workers"], options["scheduler"]) as engine:
        outcome = translate_files(at, target, todo, engine, how)
    if kept:
        click.echo(f"{len(kept)} of {len(outputs)} were translated before, from the same and alike")
    for note in outcome.notes:
        click.echo(f"Note: {note}", err=True)
    before = [row_of_file(paths[0].name, outputs[paths]) for paths in outputs if paths in kept]
    if outcome.rows or before:
        _write_table(out / TABLE, before + outcome.rows)
    if outcome.rows:
        click.echo(
            f"{len(outcome.rows)} of {len(todo)} files translated to {SURVEYS[target].title} in {out}; "
            f"{out / TABLE} says how"
        )
    for error in outcome.errors[:-1]:
        click.echo(f"Error: {error}", err=True)
    if outcome.errors:
        raise outcome.errors[-1]


NOT_OF_STORES = ("at", "size", "like", "preview", "unit", "zero_point", "files_from")
OF_STORES = ("seed", "seeing", "depth", "draws", "planes", "force")
HOW = ("seed", "seeing", "depth", "draws", "planes", "at", "size", "unit", "zero_point", "preview", "force")


def _write_table(path: Path, rows: list[dict]) -> None:
    """Write what was done; rows of an earlier call stay where they are of other outputs."""
    from astropy.table import Table, vstack

    from survey_tools.files import whole_file

    table = Table(rows=rows)
    if path.exists():
        try:
            before = Table.read(path)
            before = before[[str(name) not in set(table["output"]) for name in before["output"]]]
            table = vstack([before, table], metadata_conflicts="silent") if len(before) else table
        except (OSError, ValueError, KeyError):  # somebody's own file: it is replaced by what was done now
            pass
    with whole_file(path) as temporary:
        table.write(temporary, format="ascii.ecsv")
