"""`galtrans targets` asks the archives for galaxies, and `galtrans archives check` whether they are as expected."""

import math
import os
import sys
from pathlib import Path

import click

from cli.options import finite, overwrite_option, verbose_option
from survey_tools.archives.settings import SERVICES

SUFFIXES = (".ecsv", ".fits", ".csv")

a_number = finite("number to compare with")


def _check_out(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    if value is not None and value.suffix.lower() not in SUFFIXES:
        raise click.BadParameter(f"{value} must end in {', '.join(SUFFIXES)}")
    return value


def _check_where(ctx: click.Context, param: click.Parameter, value: str | None) -> str:
    from survey_tools.archives.sdss.skyserver import check_where

    if value is None:
        return ""
    try:
        return check_where(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _check_sample(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from survey_tools.archives.sdss.samples import SAMPLES

    if value not in SAMPLES:
        raise click.BadParameter(f"{value!r}: known are {', '.join(SAMPLES)}")
    return value


def _check_fields(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    from survey_tools.archives.cfht.vizier import FIELDS

    names = tuple(name.strip().upper() for name in value.split(","))
    if len(set(names)) != len(names) or not set(names) <= set(FIELDS):
        raise click.BadParameter(f"{value!r}: give each field once, out of {','.join(FIELDS)}, with commas between")
    return names


out_option = click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), callback=_check_out,
    help="Catalogue to write: .ecsv, .fits or .csv.",
)  # fmt: skip
limit_option = click.option("--limit", type=click.IntRange(min=1), help="Take the first so many rows only.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Count the rows, and write nothing.")


@click.group()
def targets() -> None:
    """Make a catalogue of galaxies, for `galtrans fetch`, from the archives' own tables.

    Any catalogue of yours with object_id, ra and dec does as well.

    \b
    Example:
      galtrans targets sdss --out sdss-targets.ecsv
      galtrans targets cfht --out cfht-targets.ecsv
    """


@targets.command()
@click.option(
    "--sample", default="main-galaxies", show_default=True, callback=_check_sample,
    help="Sample to take; main-galaxies is that of Pasquet et al. 2019, some 547,000 spectra.",
)  # fmt: skip
@click.option(
    "--where", callback=_check_where,
    help="A further condition in SQL; s is SpecObjAll and p PhotoObjAll.",
)  # fmt: skip
@limit_option
@out_option
@dry_run_option
@overwrite_option
@verbose_option
def sdss(sample: str, where: str, limit: int | None, out: Path | None, dry_run: bool, overwrite: bool) -> None:
    """Spectroscopic galaxies of SDSS DR12, from SkyServer: one row an object, with its frame.

    The table has object_id, ra, dec, redshift, run, rerun, camcol and field, which `galtrans fetch` goes by; rowc and
    colc, Petrosian magnitudes and extinction of each band; and specObjID, zErr, petroRad_r and mode.

    \b
    Example:
      galtrans targets sdss --dry-run
      galtrans targets sdss --out targets.ecsv
      galtrans targets sdss --where "p.ra BETWEEN 208 AND 221 AND p.dec BETWEEN 51 AND 58" --out w3.ecsv
    """
    from survey_tools.archives.sdss import skyserver
    from survey_tools.archives.sdss.samples import SAMPLES
    from survey_tools.archives.settings import read_settings

    _check_target(out, dry_run, overwrite)
    settings = read_settings()
    _say_whom_is_asked(str(settings.ways("skyserver")))
    if dry_run:
        rows = skyserver.count(settings, SAMPLES[sample], where)
        _announce(str(settings.ways("skyserver")), rows, limit, settings.skyserver_rows)
        return
    _write(skyserver.find(settings, SAMPLES[sample], where, limit), out)


@targets.command()
@click.option(
    "--fields", default="W1,W2,W3,W4", show_default=True, callback=_check_fields, help="Fields of CFHTLS Wide.",
)  # fmt: skip
@click.option(
    "--rmin", type=float, default=10.0, show_default=True, callback=a_number,
    help="Brightest Kron-like magnitude in r [AB].",
)  # fmt: skip
@click.option(
    "--rmax", type=float, default=19.7, show_default=True, callback=a_number,
    help="Faintest. The default is our estimate of what gives as many as the paper has, 130,093: see --dry-run.",
)  # fmt: skip
@click.option(
    "--max-class", type=float, callback=a_number,
    help="Largest star/galaxy class in r (rcl; SExtractor: 0 galaxy, 1 star). Stars are left out without it too.",
)  # fmt: skip
@click.option("--where", callback=_check_where, help='A further condition in ADQL, such as "imagA < 19 AND Sfl = 0".')
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
    """Galaxies of CFHTLS Wide T0007, from VizieR's table II/317: neither stars nor masked by TERAPIX (Tfl = 0).

    The table has object_id, ra and dec; Kron-like magnitudes of each band (umagA to zmagA); half-light radius in r
    [pixel], class, flags, which i filter (ifl: 0 i.MP9701, 1 i.MP9702) and reddening.

    \b
    Example:
      galtrans targets cfht --dry-run
      galtrans targets cfht --fields W3 --rmax 18 --out w3.ecsv
    """
    from survey_tools.archives.cfht import vizier
    from survey_tools.archives.settings import read_settings

    _check_target(out, dry_run, overwrite)
    if rmin >= rmax:
        raise click.BadParameter(f"{rmin:g} is not brighter than --rmax {rmax:g}", param_hint="--rmin")
    settings, patches = read_settings(), [vizier.FIELDS[name] for name in fields]
    selection = vizier.TargetSelection(rmin, rmax, max_class, where)
    _say_whom_is_asked(str(settings.ways("vizier_tap")))
    if dry_run:
        numbers = {patch.name: vizier.count(settings, patch, selection) for patch in patches}
        click.echo(", ".join(f"{name} {number}" for name, number in numbers.items()))
        _announce(str(settings.ways("vizier_tap")), sum(numbers.values()), limit, settings.vizier_rows)
        return
    _write(vizier.find(settings, patches, selection, limit), out)


def _check_target(out: Path | None, dry_run: bool, overwrite: bool) -> None:
    """Refuse to go on without a place for what is found."""
    if out is None and not dry_run:
        raise click.UsageError("Missing option '--out'; or pass --dry-run")
    if out is not None and out.exists() and not overwrite and not dry_run:
        raise click.UsageError(f"{out} exists already; choose another --out or pass --overwrite")
    if out is not None and not dry_run:
        out.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(out.parent, os.W_OK):  # it would be a pity to know only when all rows have come
            raise click.UsageError(f"{out.parent} may not be written to; choose another --out")


def _say_whom_is_asked(url: str) -> None:
    """Tell a user at a terminal what is waited for: to count rows takes an archive minutes, and no bar tells of it."""
    if sys.stderr.isatty():
        click.echo(f"Asking {url}; its first answer may take some minutes.", err=True)


def _announce(url: str, rows: int, limit: int | None, at_once: int) -> None:
    """What there is to get."""
    wanted = rows if limit is None else min(rows, limit)
    pages = math.ceil(wanted / at_once)
    click.echo(f"{url} has {rows:,} rows; {wanted:,} wanted, in {pages} page{'' if pages == 1 else 's'} at least")


def _write(found, out: Path) -> None:
    """Write what was found, and say what it is."""
    from survey_tools.archives.targets import write_targets

    write_targets(found, out)
    dropped = "; ".join(f"{number} {reason}" for reason, number in found.dropped.items())
    click.echo(
        f"{found.title}\n{found.received} of {found.counted} rows received\nDropped: {dropped}\n"
        f"Wrote {out}: {len(found.table)} objects"
    )


@click.group()
def archives() -> None:
    """Look after the addresses and limits of the live archives.

    \b
    Example:
      galtrans archives settings
      galtrans archives check
    """


@archives.command()
@verbose_option
def settings() -> None:
    """List the settings: name, value, and the variable of the environment that sets it.

    \b
    Example:
      galtrans archives settings
      GALTRANS_SAS=https://dr12.sdss.org galtrans archives settings
    """
    from dataclasses import fields

    from survey_tools.archives.settings import ArchiveSettings, read_settings, variable

    now, defaults = read_settings(), ArchiveSettings()
    for each in fields(ArchiveSettings):
        value, default = vars(now)[each.name], vars(defaults)[each.name]
        changed = "" if value == default else f" (changed from {default})"
        click.echo(f"{each.name} = {value}{changed}\n  {each.metadata['what']}; {variable(each.name)}")


@archives.command()
@click.option("--only", type=click.Choice(list(SERVICES)), multiple=True, help="Ask this archive; may be repeated.")
@verbose_option
def check(only: tuple[str, ...]) -> None:
    """Ask the live archives what their documentation leaves open, a few megabytes in all and in less than a minute.

    One line a question: the answer, and the setting that it concerns with OK, with NOT OK and a reason, or with FAILED
    where there is no answer. The last line is the verdict. Exit 1 unless all are OK. Where no archive can be reached,
    one line says why.

    \b
    Example:
      galtrans archives check --only cadc
    """
    import time

    from survey_tools.archives.download.reach import unreachable
    from survey_tools.archives.settings import read_settings, variable

    settings, archives, start = read_settings(), only or tuple(SERVICES), time.monotonic()
    if why := unreachable(settings.addresses(archives)):
        click.echo(
            f"Verdict: no archive can be reached from this machine: {why}; is it on the internet? Where it has to go "
            "through a proxy, HTTPS_PROXY names that."
        )
        raise click.exceptions.Exit(1)
    from survey_tools.archives.check import run_checks, verdict  # which takes a second to load

    findings = []
    for asked, finding in run_checks(settings, archives):
        findings.append((asked, finding))
        words = " ".join(f"{asked.question} {finding.answer}".split())
        click.echo(f"{asked.archive}: {words} [{variable(asked.setting)} {finding.verdict}]")
    click.echo(verdict(findings, time.monotonic() - start))
    if not all(finding.good for _, finding in findings):
        raise click.exceptions.Exit(1)
