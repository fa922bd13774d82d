"""Options that several commands share, so that they have the same name and behaviour everywhere."""

import logging
import math
import os
import re
from pathlib import Path

import click


class StorePath(click.Path):
    """A path, or the address of a store, such as s3://bucket/sdss.zarr, as text."""

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> object:
        """Leave an address as it is."""
        return value if isinstance(value, str) and "://" in value else super().convert(value, param, ctx)


EXISTING_STORE = StorePath(exists=True, file_okay=False, path_type=Path)
A_STORE = StorePath(path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING = click.Path(exists=True, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
NEW_PATH = click.Path(path_type=Path)
A_SIZE = re.compile(r"\s*(\d+(?:\.\d*)?)\s*([kMGT]?B)\s*", re.IGNORECASE)
UNITS = {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
WAIT, DEFAULT_WAIT = "galtrans.wait_for_workers", 10.0  # [min]: the key under which it is kept, and its default
AN_ADDRESS = re.compile(r"(?:[a-z]+://)?[^\s/:]+:\d+/?|[a-z]+://\S+")


def _set_verbose(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        logging.getLogger().setLevel(logging.INFO)


def _set_wait(ctx: click.Context, param: click.Parameter, value: float) -> None:
    ctx.meta[WAIT] = value


def finite(what: str):
    """Return the callback of an option whose number must be finite; `what` names the quantity in the message."""

    def check(ctx: click.Context, param: click.Parameter, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise click.BadParameter(f"{value} is no {what}")
        return value

    return check


def _parse_columns(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> dict[str, str]:
    columns: dict[str, str] = {}
    for each in value:
        ours, equals, own = (part.strip() for part in each.partition("="))
        if not equals or not own or not ours:
            raise click.BadParameter(f"{each!r}: give NAME=COLUMN, such as ra=RA_DEG")
        if ours in columns:
            raise click.BadParameter(f"{ours} is given twice, as {columns[ours]} and as {own}")
        columns[ours] = own
    return columns


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
    """Check the address of a Dask scheduler (the callback of an option)."""
    if value is not None and not AN_ADDRESS.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no address of a Dask scheduler; give one such as tcp://host:8786")
    return value


def _load_surveys(ctx: click.Context, param: click.Parameter, value: tuple[Path, ...]) -> None:
    """Add the surveys of files (the callback of an option)."""
    if value:
        import survey_tools

        for path in value:
            survey_tools.load_surveys(path)


def where_of(workers: int, scheduler: str | None) -> dict:
    """Return the arguments that tell a function of the front door where its tasks run."""
    wait = click.get_current_context().meta.get(WAIT, DEFAULT_WAIT)
    return {"workers": scheduler or workers, "wait_for_workers": 60 * wait}


survey_file_option = click.option(
    "--survey-file",
    type=EXISTING_FILE,
    multiple=True,
    metavar="FILE.py",
    is_eager=True,
    expose_value=False,
    callback=_load_surveys,
    help="Python file with surveys of your own (docs/how-to/add_a_survey.md). The option may be repeated.",
)
run_argument = click.argument("run")
device_option = click.option(
    "--device", default="auto", show_default=True, help="cpu, cuda, or auto, which takes a GPU if there is one."
)
verbose_option = click.option(
    "-v", "--verbose", is_flag=True, expose_value=False, callback=_set_verbose, help="Print more messages."
)
_scheduler = click.option(
    "--scheduler",
    metavar="URL",
    callback=check_scheduler,
    help="Address of a Dask cluster that shares this file system and does the work: tcp://host:port "
    "(docs/how-to/cluster.md).",
)
_wait_for_workers = click.option(
    "--wait-for-workers",
    type=click.FloatRange(min=0),
    metavar="MINUTES",
    default=DEFAULT_WAIT,
    show_default=True,
    expose_value=False,
    callback=_set_wait,
    help="With --scheduler: how long to wait while the cluster has no worker. Then the command ends.",
)


def scheduler_option(command):
    """Add the options of a command that can work on a cluster; `where_of` reads the waiting time."""
    return _scheduler(_wait_for_workers(command))


overwrite_option = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
workers_option = click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=os.cpu_count() or 1,
    show_default="all cores",
    help="Number of parallel tasks.",
)
column_option = click.option(
    "--column",
    "columns",
    metavar="NAME=COLUMN",
    multiple=True,
    callback=_parse_columns,
    help="Name that the catalogue has for a column, such as ra=RA_DEG. The option may be repeated. NAME is object_id, "
    "ra, dec, l and b (Galactic), position (a SkyCoord), redshift, run, rerun, camcol or field.",
)
unit_option = click.option(
    "--unit",
    metavar="UNIT",
    help="Unit of the pixels, for files that state no unit or contradict themselves: nanomaggy, uJy, MJy/sr and "
    "others, or counts. The zero point of counts is that of the survey or of --zero-point.",
)
zero_point_option = click.option(
    "--zero-point",
    type=float,
    metavar="MAG",
    callback=finite("magnitude; give one such as 30.0"),
    help="AB magnitude of one unit of the pixels, for files that state none or contradict themselves.",
)
seed_option = click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Random seed.")
bands_option = click.option("--bands", show_default="all of the survey", help="Bands to use, such as gri.")
