"""`galtrans fetch`: a store from an archive."""

from collections import Counter
from pathlib import Path

import click

import survey_tools
from cli.options import (
    EXISTING,
    NEW_FOLDER,
    NEW_PATH,
    Size,
    bands_option,
    column_option,
    overwrite_option,
    scheduler_option,
    survey_file_option,
    unit_option,
    verbose_option,
    where_of,
    workers_option,
    zero_point_option,
)

REASONS = 3  # reasons of failures that are shown after a fetch
SHOWN = 20  # files that are listed
SHARED = ("mirror", "unit", "zero_point", "keep_files", "keep_limit")  # with an estimate


class Fetch(click.Command):
    """The command, with the options that only some archives have: they are read when the command is used."""

    _given: list[click.Parameter]
    _whole = False

    @property
    def params(self) -> list[click.Parameter]:
        """The options of all archives, and then those of some."""
        if not self._whole:
            self._whole = True
            self._given += [_option(each) for each in survey_tools.archive_options()]
        return self._given

    @params.setter
    def params(self, given: list[click.Parameter]) -> None:
        self._given = list(given)


def _option(each) -> click.Option:
    """Return the option of the command line for one that only some archives have."""
    name = each.name.replace("_", "-")
    meaning = " ".join(f"{survey}: {what}" for survey, what in each.meaning.items())
    return click.Option(
        ["/".join("--" + word for word in ((name, f"no-{name}") if each.is_flag else (name,)))],
        default=None,
        type=click.Choice(each.choices) if each.choices else None,
        show_default=each.default or False,
        help=meaning,
    )


@click.command(cls=Fetch)
@click.argument("survey")
@click.option(
    "--catalogue",
    type=EXISTING,
    required=True,
    help="Catalogue (CSV, ECSV, FITS, Parquet or VOTable) with object_id, ra, dec [deg, ICRS] and, optionally, "
    "redshift and, for sdss, the frame: run, rerun, camcol, field. `galtrans targets` makes one.",
)
@column_option
@click.option(
    "--mirror",
    help="Folder, http(s) URL of an index page, or address such as s3://bucket/folder, with files of the survey. It is "
    "read instead of the live archive. It has any names and subfolders, except for sdss, where it has the layout of "
    "the Science Archive Server (ROOT/sas/dr12/boss/photoObj/frames/...). `galtrans surveys` says which surveys need "
    "it.",
)
@click.option("--out", type=NEW_PATH, required=True, help="Store to make, such as sdss.zarr.")
@bands_option
@click.option("--dry-run", is_flag=True, help="Print what would be fetched and how much it would cost. Fetch nothing.")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="Resume an interrupted fetch, or begin again."
)
@click.option("--retry-failed", is_flag=True, help="Try the failed objects of a finished store again.")
@click.option(
    "--fail-away",
    is_flag=True,
    help="If files cannot be reached, let their objects fail and finish the store without them. By default the command "
    "cuts all other files, ends without a store, and can be repeated to resume.",
)
@unit_option
@zero_point_option
@click.option(
    "--keep-files", type=NEW_FOLDER, metavar="DIR", help="Folder in which downloaded files stay, for other stores."
)
@click.option(
    "--keep-limit",
    type=Size(),
    metavar="SIZE",
    help="Largest size of DIR, such as 500GB. The oldest files are deleted.",
)
@click.option(
    "--partition-rows",
    type=click.IntRange(min=1),
    metavar="N",
    help="Make a partitioned store: a store for each HEALPix pixel of at most N objects. The catalogue, which may be a "
    "folder of Parquet files such as a HATS catalogue, is then read block by block.",
)
@workers_option
@scheduler_option
@overwrite_option
@survey_file_option
@verbose_option
def fetch(survey: str, catalogue: Path, columns: dict[str, str], bands: str, out: Path, **options) -> None:
    """Cut every object of a catalogue out of the archive of SURVEY and write a store.

    SURVEY is the name of any survey that `galtrans surveys` lists. SDSS frames are resampled onto a grid with north up;
    images of the other surveys keep their own pixels. After an interruption, the same command resumes.
    OUT/manifest.ecsv says for each object whether it is done, outside, or failed, and why.

    \b
    Examples:
      galtrans targets sdss --sample main-galaxies --limit 200 --out targets.ecsv
      galtrans fetch sdss --catalogue targets.ecsv --out sdss.zarr --dry-run
      galtrans fetch sdss --catalogue targets.ecsv --out sdss.zarr
    \b
      galtrans simulate --out sky
      galtrans fetch sdss --catalogue sky/catalogue.ecsv --mirror sky --out sdss.zarr
    \b
      galtrans fetch hsc --catalogue targets.ecsv --mirror my_coadds --out hsc.zarr
    """
    workers, scheduler = options.pop("workers"), options.pop("scheduler")
    own = {each.name: options[each.name] for each in survey_tools.archive_options()}
    given = dict(columns=columns, bands=bands, **{name: options[name] for name in SHARED}, **own)
    if options["dry_run"]:
        _say_what_it_takes(
            survey_tools.estimate(
                catalogue, survey, out, **given, workers=workers, retry_failed=options["retry_failed"]
            )
        )
        return
    there = out.exists() and not options["overwrite"]
    before = _failures(survey_tools.open_store(out).manifest()) if there and options["retry_failed"] else 0
    how = {name: options[name] for name in ("resume", "overwrite", "retry_failed", "fail_away", "partition_rows")}
    store = survey_tools.fetch(catalogue, survey, out, **given, **how, **where_of(workers, scheduler), tell=click.echo)
    if options["partition_rows"] is not None:
        facts = dict(survey_tools.describe(store))
        click.echo(f"{facts['objects']}; {facts['partitions']}\nWrote {out}")
        return
    manifest = store.manifest()
    if before:
        click.echo(f"Of {before} that had failed, {before - _failures(manifest)} did not fail again.")
    elif there:
        click.echo(f"{out} is complete already.")
    _report(store, manifest)


def _say_what_it_takes(cost) -> None:
    """Print the files that hold the objects of a catalogue, and what fetching them would take."""
    for name, count in list(cost.files.items())[:SHOWN]:
        click.echo(f"{name}: {count} object{'s' if count > 1 else ''}")
    if len(cost.files) > SHOWN:
        click.echo(f"and {len(cost.files) - SHOWN:,} more files")
    for line in cost.lines:
        click.echo(line)


def _failures(manifest) -> int:
    """Return the number of objects that failed."""
    return int((manifest["status"] == "failed").sum())


def _report(store, manifest) -> None:
    """Print what became of the catalogue."""
    status = Counter(manifest["status"])
    gaps = (store.column("coverage") < 1).any(axis=1)
    partial = int(((manifest["status"] == "done") & gaps).sum())
    click.echo(
        f"{len(store)} objects: {status['done']} done ({partial} of them with gaps), {status['outside']} outside, "
        f"{status['failed']} failed. Each is accounted for in {store.manifest_path}."
    )
    reasons = Counter(manifest["reason"][manifest["status"] == "failed"])
    for reason, count in reasons.most_common(REASONS):
        click.echo(f"  {count} failed: {reason}")
    if len(reasons) > REASONS:
        click.echo(f"  and {len(reasons) - REASONS} other reasons")
    if reasons:
        click.echo("The same command with --retry-failed tries what failed again.")
