"""`galtrans train`: two stores and their pair table -> a trained run."""

import click

from cli.options import EXISTING_FILE, EXISTING_STORE, NEW_PATH, seed_option, verbose_option

POSITIVE = click.IntRange(min=1)


def _recipe(ctx: click.Context, param: click.Parameter, value: str) -> str:
    from translator.recipes import RECIPES  # imports torch, which --help can do without

    if value not in RECIPES:
        raise click.BadParameter(f"{value!r}: known are {', '.join(RECIPES)}")
    return value


@click.command()
@click.argument("x", type=EXISTING_STORE, metavar="X.zarr")
@click.argument("y", type=EXISTING_STORE, metavar="Y.zarr")
@click.argument("pairs", type=EXISTING_FILE, metavar="pairs.ecsv")
@click.option("--recipe", default="two_step", show_default=True, callback=_recipe, help="Model: two_step or demo.")
@click.option("--run", "path", type=NEW_PATH, required=True, help="Folder of the run.")
@click.option("--iterations", type=POSITIVE, show_default="the recipe's", help="Iterations of each step.")
@click.option(
    "--batch-size", type=POSITIVE, show_default="the recipe's, 24 for two_step", help="Images of x, of y, and pairs."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option(
    "--checkpoint-every", type=POSITIVE, default=500, show_default=True, help="Iterations between checkpoints."
)
@click.option("--resume", is_flag=True, help="Go on with the run, from its newest checkpoint.")
@seed_option
@verbose_option
def train(x, y, pairs, recipe, path, iterations, batch_size, device, checkpoint_every, resume, seed) -> None:
    """Train a model to translate between the surveys of two stores.

    X.zarr is the survey of the larger pixels (SDSS), Y.zarr the other (CFHTLS); pairs.ecsv comes from `galtrans
    crossmatch`. Its train rows serve as pairs, its test rows are never seen, and all other objects as unpaired
    images. Ctrl-C saves and says how to go on; --resume gives the very weights of a run that was never stopped.

    \b
    Example:
      galtrans train sdss.zarr cfht.zarr pairs.ecsv --recipe demo --run runs/demo
    """
    from translator import training
    from translator.selection import describe
    from translator.session import Inputs, Settings, open_session

    settings = Settings(recipe, iterations, batch_size, seed, device, checkpoint_every)
    session = open_session(Inputs(x, y, pairs), path, settings, resume=resume)
    names = {"x": f"unpaired {x.name}", "y": f"unpaired {y.name}", "pairs": f"pairs {pairs.name}"}
    for name, counts in session.counts.items():
        click.echo(f"{names[name]}: {describe(counts)}")
    total, where = sum(session.facts.iterations), session.batches.device
    click.echo(
        f"recipe {recipe}: {total} iterations of {session.facts.batch_size} on {where}, from {session.iteration}"
    )
    training.train(session)
    click.echo(f"The trained model lies in {path}. Next:")
    click.echo(f"  galtrans translate {path} FILES… --to {session.facts.domains['y'].survey} --out translated")
    click.echo(f"  tensorboard --logdir {path}")
