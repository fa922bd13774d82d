"""`galtrans bench`: measure every stage beside a plain alternative."""

import sys
from pathlib import Path

import click

from cli.options import verbose_option
from survey_tools.errors import GaltransError

SCRIPTS = Path(__file__).parents[1] / "benchmarks"
STAGES = ("start_up", "crossmatch", "regrid", "loader", "training", "translate")  # each a script of that name


@click.command()
@click.argument("stages", type=click.Choice(STAGES), nargs=-1, metavar="[STAGE]...")
@click.option("--quick", is_flag=True, help="Use little data, to see whether everything runs, and not how fast.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="JSON file for the results.")
@verbose_option
def bench(stages, quick, out) -> None:
    """Measure how fast this machine is at every stage, or at some, and what bounds it.

    STAGE is start_up, crossmatch, regrid, loader, training or translate. Each is measured beside a plain alternative
    in the same run, so that the ratio holds on a busy machine too. All take some twelve minutes on two cores, most
    of them the training. The scripts lie in the folder benchmarks of a clone of the repository;
    docs/explanation/benchmarks.md has the results, and what was tried.

    \b
    Examples:
      galtrans bench --out figures.json
      galtrans bench crossmatch regrid
    """
    from survey_tools.tasks import run_to_end

    if not SCRIPTS.is_dir():
        raise GaltransError(f"{SCRIPTS} is not there: the benchmarks are run from a clone of the repository")
    words = [*(f"{stage}.py" for stage in stages or STAGES), *(["--quick"] if quick else [])]
    words += ["--out", str(out)] if out else []
    if run_to_end([sys.executable, str(SCRIPTS / "together.py"), *words]):
        raise GaltransError("a benchmark failed; what it said stands above")
