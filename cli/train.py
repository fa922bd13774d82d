"""`galtrans train`: train a model on two stores and their pair table."""

import os
from contextlib import contextmanager

import click

from cli.options import EXISTING, EXISTING_STORE, NEW_PATH, seed_option, survey_file_option, verbose_option

POSITIVE = click.IntRange(min=1)


class Counts(click.ParamType):
    """One positive number, or one for each step, such as 300,500,150."""

    name = "N[,N…]"

    def convert(self, value, param, ctx) -> tuple[int, ...]:
        """Return the numbers; raise UsageError if one is not a positive number."""
        if isinstance(value, tuple):
            return value
        try:
            counts = tuple(int(each) for each in str(value).split(","))
        except ValueError:
            counts = (0,)
        if min(counts) < 1:
            self.fail(f"{value!r} is no positive number, nor one for each step such as 300,500,150", param, ctx)
        return counts


@contextmanager
def _gone_on_with(path, resume: bool):
    """Add the option that resumes the run to the advice after Ctrl-C or a full disk."""
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        if not resume and (path / "run.json").exists():
            error.add_note("with --resume")
        raise


@click.command()
@click.argument("x", type=EXISTING_STORE, metavar="X.zarr")
@click.argument("y", type=EXISTING_STORE, metavar="Y.zarr")
@click.argument("pairs", type=EXISTING, metavar="[pairs.ecsv]", required=False)
@click.option(
    "--recipe",
    show_default="two_step, or that of --from",
    help="One of those that `galtrans recipes` lists, or my_module:NAME for a recipe of your own.",
)
@click.option("--run", "--out", "path", type=NEW_PATH, required=True, help="Folder of the run.")
@click.option(
    "--from",
    "start_from",
    metavar="RUN",
    help="Begin from the weights of this run, imported weights too, or of a model of `galtrans models`. What is "
    "measured of the surveys, such as their noise, is measured anew.",
)
@click.option(
    "--iterations",
    type=Counts(),
    show_default="the recipe's",
    help="Iterations of each step: one number for all steps, or one for each, such as 300,500,150. With --resume, more "
    "iterations lengthen the run, even if it has ended: steps that are over keep theirs, and the learning rate of the "
    "present (or last) step goes on as it is at this part of the longer step.",
)
@click.option(
    "--batch-size",
    type=POSITIVE,
    show_default="the recipe's, 24 for two_step",
    help="Number of images of x, of images of y, and of pairs in a batch.",
)
@click.option(
    "--width",
    type=POSITIVE,
    show_default="the recipe's, 64 for two_step",
    help="Width of the networks. Narrower networks are faster.",
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32", "bf16"]),
    show_default="the recipe's",
    help="Precision of convolutions in training. psf_matched uses bf16 if the device supports it; others use float32.",
)
@click.option(
    "--data",
    type=click.Choice(["auto", "device", "stream"]),
    default="auto",
    show_default=True,
    help="Keep all images in the memory of the device, or stream them from the stores. auto keeps them if they fit.",
)
@click.option(
    "--checkpoint-every",
    type=POSITIVE,
    default=500,
    show_default=True,
    help="Number of iterations between checkpoints.",
)
@click.option(
    "--validate-every",
    type=POSITIVE,
    help="Number of iterations between validations: measures of the report on at most 64 pairs that do not train, as "
    "TensorBoard curves. The best state is kept as RUN@best. The pairs are those that the table keeps for validation, "
    "or else a tenth of those that train.",
)
@click.option(
    "--until",
    metavar="MEASURE=VALUE",
    help="End the step in which a measure of a validation is better than this, such as signal_residual=0.07 or "
    "sdss_to_cfht.signal_residual.r=0.07. Without --validate-every, each checkpoint is validated.",
)
@click.option("--patience", type=POSITIVE, help="End a step after this many validations without a better one.")
@click.option("--resume", is_flag=True, help="Resume the run from its newest checkpoint.")
@click.option(
    "--bands", show_default="all that both stores have", help="Bands of both stores to train on, such as gri."
)
@seed_option
@survey_file_option
@verbose_option
def train(
    x,
    y,
    pairs,
    recipe,
    path,
    start_from,
    iterations,
    batch_size,
    width,
    device,
    precision,
    data,
    checkpoint_every,
    validate_every,
    until,
    patience,
    resume,
    bands,
    seed,
) -> None:
    """Train a model to translate between the surveys of two stores.

    X.zarr is the survey with the larger pixels (SDSS) and Y.zarr the other (CFHTLS). Bands that only one of the two has
    are left out. pairs.ecsv comes from `galtrans crossmatch`: its train rows serve as pairs, its test and validation
    rows do not train, and all other objects serve as unpaired images. A recipe that learns from unpaired images alone
    does not need the table; if it is given, the recipe leaves out the same objects as the others do. Ctrl-C saves the
    state and prints how to resume. A training that was resumed ends with the same weights as one that was never
    stopped.

    \b
    Examples:
      galtrans train sdss.zarr cfht.zarr pairs.ecsv --recipe demo --run runs/demo
      galtrans train sdss.zarr cfht.zarr --recipe cyclegan --run runs/cyclegan
      galtrans train sdss.zarr cfht.zarr pairs.ecsv --from sdss-cfhtls --iterations 300,500,150 --run runs/mine
    """
    import translator

    with _gone_on_with(path, resume):
        run = translator.train(
            x, y, pairs, run=path, recipe=recipe, start_from=start_from, iterations=iterations,
            batch_size=batch_size, width=width, seed=seed, device=device, precision=precision, data=data,
            checkpoint_every=checkpoint_every, validate_every=validate_every, until=until, patience=patience,
            resume=resume, bands=bands, tell=click.echo,
        )  # fmt: skip
    if os.environ.get("RANK", "0") == "0":  # of several processes, the first speaks
        click.echo(f"The trained model lies in {path}. Next:")
        click.echo(f"  galtrans translate {path} FILES… --to {run.domains['y'].survey} --out translated")
        click.echo(f"  tensorboard --logdir {path}")
