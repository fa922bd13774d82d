"""`galtrans train`: two stores and their pair table -> a trained run."""

from contextlib import contextmanager

import click

from cli.options import EXISTING_FILE, EXISTING_STORE, NEW_PATH, check_recipe, seed_option, verbose_option

POSITIVE = click.IntRange(min=1)


class Counts(click.ParamType):
    """A positive number, or one for each step, such as 300,500,150."""

    name = "N[,N…]"

    def convert(self, value, param, ctx) -> tuple[int, ...]:
        """The numbers; UsageError where one is none."""
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
    """Have the advice that follows Ctrl-C, or a full disk, name the option with which the run goes on."""
    try:
        yield
    except (KeyboardInterrupt, OSError) as error:
        if not resume and (path / "run.json").exists():
            error.add_note("with --resume")
        raise


@click.command()
@click.argument("x", type=EXISTING_STORE, metavar="X.zarr")
@click.argument("y", type=EXISTING_STORE, metavar="Y.zarr")
@click.argument("pairs", type=EXISTING_FILE, metavar="[pairs.ecsv]", required=False)
@click.option(
    "--recipe",
    default="two_step",
    show_default=True,
    callback=check_recipe,
    help="Model: one of those that `galtrans recipes` lists, or my_module:NAME for a Recipe in a module of your own.",
)
@click.option("--run", "--out", "path", type=NEW_PATH, required=True, help="Folder of the run.")
@click.option(
    "--iterations",
    type=Counts(),
    show_default="the recipe's",
    help="Iterations of each step: one number for all, or one for each, such as 300,500,150.",
)
@click.option(
    "--batch-size", type=POSITIVE, show_default="the recipe's, 24 for two_step", help="Images of x, of y, and pairs."
)
@click.option(
    "--width", type=POSITIVE, show_default="the recipe's, 64 for two_step", help="Of the networks: narrower is faster."
)
@click.option("--device", default="auto", show_default=True, help="cpu, cuda or auto.")
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32", "bf16"]),
    show_default="the recipe's",
    help="Of convolutions in training. psf_matched takes bf16 where the device computes in it, others float32.",
)
@click.option(
    "--data",
    type=click.Choice(["auto", "device", "stream"]),
    default="auto",
    show_default=True,
    help="Keep all images in the device's memory, or read them ahead of their use; auto keeps them where they fit.",
)
@click.option(
    "--checkpoint-every", type=POSITIVE, default=500, show_default=True, help="Iterations between checkpoints."
)
@click.option("--resume", is_flag=True, help="Go on with the run, from its newest checkpoint.")
@seed_option
@verbose_option
def train(
    x, y, pairs, recipe, path, iterations, batch_size, width, device, precision, data, checkpoint_every, resume, seed
) -> None:
    """Train a model to translate between the surveys of two stores.

    X.zarr is the survey of the larger pixels (SDSS), Y.zarr the other (CFHTLS); pairs.ecsv comes from `galtrans
    crossmatch`. Its train rows serve as pairs, its test rows are never seen, and all other objects as unpaired
    images. A recipe that learns from unpaired images alone can do without the table; given it, such a recipe leaves
    the same objects out as the others do. Ctrl-C saves and says how to go on; --resume gives the very weights of a
    run that was never stopped.

    \b
    Examples:
      galtrans train sdss.zarr cfht.zarr pairs.ecsv --recipe demo --run runs/demo
      galtrans train sdss.zarr cfht.zarr --recipe cyclegan --run runs/cyclegan
    """
    from translator.data.selection import describe
    from translator.recipes import RECIPES
    from translator.runs.device import keep_memory
    from translator.runs.recipe_names import find_recipe
    from translator.training import loop
    from translator.training.ranks import joined
    from translator.training.session import TrainingInputs, TrainingSettings, open_together

    if pairs is None and find_recipe(recipe).reads_pairs:
        unpaired = ", ".join(name for name, row in RECIPES.items() if not row.reads_pairs)
        raise click.UsageError(
            f"recipe {recipe} needs a pair table: make one with `galtrans crossmatch {x} {y} --out pairs.ecsv`, or "
            f"train a recipe that reads none ({unpaired})"
        )
    with _gone_on_with(path, resume), joined(device) as (share, device):
        settings = TrainingSettings(
            recipe, iterations, batch_size, seed, device, checkpoint_every, width, precision, data
        )
        session = open_together(TrainingInputs(x, y, pairs), path, settings, share, resume=resume)
        say = click.echo if share.rank == 0 else lambda line: None
        names = {"x": f"unpaired {x.name}", "y": f"unpaired {y.name}", "pairs": "pairs"}
        for name, counts in session.selection.counts.items():
            say(f"{names[name]}: {describe(counts)}")
        total, where = sum(session.facts.iterations), str(session.batches.device)
        where += f", one of {share.count} processes" if share.count > 1 else ""
        say(f"recipe {recipe}: {total} iterations of {session.facts.batch_size} on {where}, from {session.iteration}")
        say(session.batches.data)
        if session.batches.device.type == "cpu":
            keep_memory()
        loop.train(session)
        say(f"The trained model lies in {path}. Next:")
        say(f"  galtrans translate {path} FILES… --to {session.facts.domains['y'].survey} --out translated")
        say(f"  tensorboard --logdir {path}")
