"""`galtrans targets` asks the archives for galaxies, and `galtrans archives check` whether they are as expected."""

import math
import os
import sys
from pathlib import Path

import click

import survey_tools
from cli.options import finite, overwrite_option, verbose_option

SUFFIXES = (".ecsv", ".fits", ".csv")

a_number = finite("number to compare with")


def _check_out(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"{value} must end in {', '.join(SUFFIXES)}")
    return value


def _parse_fields(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    return tuple(name.strip().upper() for name in value.split(","))


out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), callback=_check_out,
    help="Catalogue to write: .ecsv, .fits or .csv.",
)  # fmt: skip
limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help="Largest number of rows; the first ones are taken."
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Count the rows and write nothing.")


@click.group()
def targets() -> None:
    """Make a catalogue of galaxies for `galtrans fetch` from the tables of the archives.

    You may also use any catalogue of your own that has object_id, ra and dec.

    \b
    Example:
      galtrans targets sdss --out sdss-targets.ecsv
      galtrans targets cfht --out cfht-targets.ecsv
    """


@targets.command()
@click.option(
    "--sample", default="main-galaxies", show_default=True,
    help="Name of the sample. main-galaxies is that of Pasquet et al. 2019, about 547,000 spectra.",
)  # fmt: skip
@click.option(
    "--where", default="",
    help="A further condition in SQL, in which s is SpecObjAll and p is PhotoObjAll.",
)  # fmt: skip
@limit_option
@out_option
@dry_run_option
@overwrite_option
@verbose_option
def sdss(sample: str, where: str, limit: int | None, out: Path | None, dry_run: bool, overwrite: bool) -> None:
    """Find spectroscopic galaxies of SDSS DR12 at SkyServer. Each row is an object with its frame.

    The table has object_id, ra, dec, redshift, run, rerun, camcol and field, which `galtrans fetch` needs; rowc and
    colc, Petrosian magnitudes and extinction of each band; and specObjID, zErr, petroRad_r and mode.

    \b
    Example:
      galtrans targets sdss --dry-run
      galtrans targets sdss --out targets.ecsv
      galtrans targets sdss --where "p.ra BETWEEN 208 AND 221 AND p.dec BETWEEN 51 AND 58" --out w3.ecsv
    """
    _find("sdss", {"sample": sample, "where": where}, limit, out, dry_run, overwrite)


@targets.command()
@click.option(
    "--fields", default="W1,W2,W3,W4", show_default=True, callback=_parse_fields, help="Fields of CFHTLS Wide.",
)  # fmt: skip
@click.option(
    "--rmin", type=float, default=10.0, show_default=True, callback=a_number,
    help="Brightest Kron-like magnitude in r [AB].",
)  # fmt: skip
@click.option(
    "--rmax", type=float, default=19.7, show_default=True, callback=a_number,
    help="Faintest Kron-like magnitude in r [AB]. The default is our estimate of the limit that gives as many "
    "galaxies as the paper has, 130,093; --dry-run counts them.",
)  # fmt: skip
@click.option(
    "--max-class", type=float, callback=a_number,
    help="Largest star/galaxy class in r (column rcl of SExtractor: 0 is a galaxy, 1 a star). Stars are always left "
    "out.",
)  # fmt: skip
@click.option("--where", default="", help='A further condition in ADQL, such as "imagA < 19 AND Sfl = 0".')
@limit_option
@out_option
@dry_run_option
@overwrite_option
@verbose_option
def cfht(
    fields: tuple[str, ...],
    rmin: float,
    rmax: float,
    max_class: float | None,
    where: str,
    limit: int | None,
    out: Path | None,
    dry_run: bool,
    overwrite: bool,
) -> None:
    """Find galaxies of CFHTLS Wide T0007 in table II/317 of VizieR. Stars and masked objects (Tfl > 0) are left out.

    The table has object_id, ra and dec; Kron-like magnitudes of each band (umagA to zmagA); half-light radius in r
    [pixel], class, flags, which i filter (ifl: 0 i.MP9701, 1 i.MP9702) and reddening.

    \b
    Example:
      galtrans targets cfht --dry-run
      galtrans targets cfht --fields W3 --rmax 18 --out w3.ecsv
    """
    selection = {"fields": fields, "rmin": rmin, "rmax": rmax, "max_class": max_class, "where": where}
    _find("cfht", selection, limit, out, dry_run, overwrite)


def _find(survey: str, selection: dict, limit: int | None, out: Path | None, dry_run: bool, overwrite: bool) -> None:
    """Count the rows of a selection, or find and write them."""
    _check_target(out, dry_run, overwrite)
    if not dry_run:
        _report(survey_tools.find_targets(survey, **selection, limit=limit, out=out, tell=_say_whom_is_asked), out)
        return
    counted = survey_tools.count_targets(survey, **selection, tell=_say_whom_is_asked)
    if "fields" in selection:
        click.echo(", ".join(f"{name} {number}" for name, number in counted.rows.items()))
    _announce(counted.url, sum(counted.rows.values()), limit, counted.at_once)


def _check_target(out: Path | None, dry_run: bool, overwrite: bool) -> None:
    """Raise UsageError if there is no place for the result."""
    if out is None and not dry_run:
        raise click.UsageError("Missing option '--out'; or pass --dry-run")
    if out is not None and out.exists() and not overwrite and not dry_run:
        raise click.UsageError(f"{out} exists already; choose another --out or pass --overwrite")
    if out is not None and not dry_run:
        out.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(out.parent, os.W_OK):  # it would be a pity to know only when all rows have come
            raise click.UsageError(f"{out.parent} may not be written to; choose another --out")


def _say_whom_is_asked(url: str) -> None:
    """Tell a user at a terminal which archive is asked, because it may take minutes to count rows."""
    if sys.stderr.isatty():
        click.echo(f"Asking {url}; its first answer may take some minutes.", err=True)


def _announce(url: str, rows: int, limit: int | None, at_once: int) -> None:
    """Print how many rows there are."""
    wanted = rows if limit is None else min(rows, limit)
    pages = math.ceil(wanted / at_once)
    click.echo(f"{url} has {rows:,} rows; {wanted:,} wanted, in {pages} page{'' if pages == 1 else 's'} at least")


def _report(found, out: Path) -> None:
    """Print what was found and written."""
    dropped = "; ".join(f"{number} {reason}" for reason, number in found.dropped.items())
    click.echo(
        f"{found.title}\n{found.received} of {found.counted} rows received\nDropped: {dropped}\n"
        f"Wrote {out}: {len(found.table)} objects"
    )


@click.group()
def archives() -> None:
    """Show and check the addresses and limits of the live archives.

    \b
    Example:
      galtrans archives settings
      galtrans archives check
    """


@archives.command()
@verbose_option
def settings() -> None:
    """List the settings with their values, and the environment variable that changes each.

    \b
    Example:
      galtrans archives settings
      GALTRANS_SAS=https://dr12.sdss.org galtrans archives settings
    """
    for each in survey_tools.archive_settings():
        changed = "" if each.value == each.default else f" (changed from {each.default})"
        click.echo(f"{each.name} = {each.value}{changed}\n  {each.what}; {each.variable}")


@archives.command()
@click.option(
    "--only",
    multiple=True,
    help="Ask only this archive: sdss, cadc, vizier, legacy or ps1. The option may be repeated.",
)
@verbose_option
def check(only: tuple[str, ...]) -> None:
    """Ask the live archives whether they answer as galtrans expects. It takes a few megabytes and less than a minute.

    Each question has one line: the answer, the setting that it concerns, and OK, NOT OK with a reason, or FAILED if
    there was no answer. The last line is the verdict. The exit code is 1 unless all are OK. If no archive can be
    reached, one line says why.

    \b
    Example:
      galtrans archives check --only cadc
    """
    if not survey_tools.check_archives(only, tell=click.echo):
        raise click.exceptions.Exit(1)
