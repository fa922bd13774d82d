"""Options that several commands share, so that they are spelt and behave alike everywhere."""

import logging
import math
import os
import re
from contextlib import contextmanager
from pathlib import Path

import click

from survey_tools.surveys import SURVEYS

EXISTING_STORE = click.Path(exists=True, file_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
NEW_PATH = click.Path(path_type=Path)
A_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([kMGT]?B)\s*", re.IGNORECASE)
UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
WAIT, DEFAULT_WAIT = "galtrans.wait_for_workers", 10.0  # [min]: where a command keeps it, and what it is by default
AN_ADDRESS = re.compile(r"(?:[a-z]+://)?[^\s/:]+:\d+/?|[a-z]+://\S+")


def _set_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        logging.getLogger().setLevel(logging.INFO)


def _set_wait(ctx: click.Context, param: click.Parameter, value: float) -> None:
    ctx.meta[WAIT] = value


def _check_bands(ctx: click.Context, param: click.Parameter, value: str) -> str:
    known = tuple(dict.fromkeys(band for survey in SURVEYS.values() for band in survey.bands))
    if not value or len(set(value)) != len(value) or not set(value) <= set(known):
        raise click.BadParameter(f"{value!r}: give each band once, out of {''.join(known)}, such as gri")
    return "".join(band for band in known if band in value)


def finite(what: str):
    """Callback of an option that takes a number: one that is not finite is no `what`."""

    def check(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise click.BadParameter(f"{value} is no {what}")
        return value

    return check


def _parse_columns(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    from survey_tools.catalogue import KEYS  # imports SciPy, which --help can do without

    columns: dict[str, str] = {}
    for each in value:
        ours, equals, own = (part.strip() for part in each.partition("="))
        if not equals or not own or ours not in KEYS:
            raise click.BadParameter(f"{each!r}: give NAME=COLUMN, where NAME is one of {', '.join(KEYS)}")
        if ours in columns:
            raise click.BadParameter(f"{ours} is given twice, as {columns[ours]} and as {own}")
        columns[ours] = own
    return columns


def check_recipe(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Callback of an option that names a recipe."""
    from survey_tools.errors import RunError
    from translator.runs.recipe_names import find_recipe  # imports torch, which --help can do without

    try:
        find_recipe(value)
    except RunError as error:
        raise click.BadParameter(str(error)) from error
    return value


class Size(click.ParamType):
    """Bytes, with a unit: 500GB."""

    name = "size"

    def convert(self, value, param, ctx) -> int:
        """The number of bytes."""
        match = A_SIZE.fullmatch(str(value))
        if not match:
            self.fail(f"{value!r}: give a number and kB, MB, GB or TB, such as 500GB", param, ctx)
        return int(float(match[1]) * UNITS[match[2].upper()])


def check_scheduler(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Callback of an option that names a Dask scheduler."""
    if value is not None and not AN_ADDRESS.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no address of a Dask scheduler; give one such as tcp://host:8786")
    return value


@contextmanager
def engine_of(workers: int, scheduler: str | None):
    """Threads of this process, or a cluster, of which the user is told."""
    from survey_tools.tasks import dashboard, engine  # imports Dask, which --help can do without

    wait = click.get_current_context().meta.get(WAIT, DEFAULT_WAIT)
    with engine(workers, scheduler, 60 * wait) as working:
        if working.client is not None:
            count, link = len(working.client.nthreads()), dashboard(working.client)
            where = f"; watch them at {link}" if link else ""
            click.echo(f"{count} worker{'' if count == 1 else 's'} on the cluster{where}")
        yield working


class UnitOption(click.ParamType):
    """A unit of pixels, in any spelling that FITS files have."""

    name = "unit"

    def convert(self, value, param, ctx) -> str:
        """The unit as it was written."""
        from survey_tools.fits.calibration import read_unit  # imports Astropy, which --help can do without

        if read_unit(str(value)).kind not in ("flux", "brightness", "counts"):
            self.fail(
                f"{value!r}: give one of flux, such as nanomaggy, uJy or MJy/sr, or counts, of the survey's own zero "
                "point",
                param,
                ctx,
            )
        return str(value).strip()


def given_by(unit: str | None, zero_point: float | None):
    """What a user says of the calibration, as `calibration.Given`; UsageError where it is said twice."""
    from survey_tools.fits.calibration import Given, read_unit

    if unit is not None and zero_point is not None and read_unit(unit).kind != "counts":
        raise click.UsageError("--unit and --zero-point say the same: give one of them")
    return Given(unit, zero_point)


class RunPath(click.ParamType):
    """A trained run: its folder, or the name of a model that comes with galtrans."""

    name = "run"

    def convert(self, value, param, ctx) -> Path:
        """Where the run is."""
        from translator.runs.built_in import find_model

        path = Path(value)
        if path.is_dir():
            return path
        if path.exists():
            self.fail(f"{value!r} is a file, and a run is a folder with run.json; galtrans train makes one", param, ctx)
        found = find_model(str(value))
        if found is None:
            self.fail(f"{value!r} is neither a folder nor a built-in model; `galtrans models` lists these", param, ctx)
        return found


run_argument = click.argument("run", type=RunPath())
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, or auto: a GPU if there is one."
)
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, expose_value=False, callback=_set_verbose, help="Say more about what is done."
)
_scheduler = click.option(
    "--scheduler",
    metavar="URL",
    callback=check_scheduler,
    help="Work on a Dask cluster that shares this file system: tcp://host:port (docs/how-to/cluster.md).",
)
_wait_for_workers = click.option(
    "--wait-for-workers",
    type=click.FloatRange(min=0),
    metavar="MINUTES",
    default=DEFAULT_WAIT,
    show_default=True,
    expose_value=False,
    callback=_set_wait,
    help="With --scheduler: how long to wait while the cluster has no worker, before the command ends.",
)


def scheduler_option(command):
    """The options of a command that works on a cluster; it gets `scheduler`, and `engine_of` knows the other."""
    return _scheduler(_wait_for_workers(command))


overwrite_option = click.option("--overwrite", is_flag=True, help="Replace the output where it exists.")
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="Parallel tasks.",
)
column_option = click.option(
    "--column",
    "columns",
    metavar="NAME=COLUMN",
    multiple=True,
    callback=_parse_columns,
    help="The catalogue's own name of a column, such as ra=RA_DEG; may be given several times. NAME is object_id, ra, "
    "dec, l and b (Galactic), position (of SkyCoord), redshift, run, rerun, camcol or field.",
)
unit_option = click.option(
    "--unit",
    type=UnitOption(),
    metavar="UNIT",
    help="Unit of the pixels of files that state none, or contradict themselves: nanomaggy, uJy, MJy/sr and the like, "
    "or counts, whose zero point is the survey's or that of --zero-point.",
)
zero_point_option = click.option(
    "--zero-point",
    type=float,
    metavar="MAG",
    callback=finite("magnitude; give one such as 30.0"),
    help="AB magnitude of one unit of the pixels of files that state none, or contradict themselves.",
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed.")
bands_option = click.option(
    "--bands", default="ugriz", show_default=True, callback=_check_bands, help="Bands to take, such as gri."
)
